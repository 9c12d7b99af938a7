"""What can go wrong, and the exit status that says so. It imports nothing of ours, so that everything may import it.

    AgentError                    status 1   partial
    ├── UsageError                2          the command line
    ├── DeletesRefused            3          a safety guard withheld deletes
    ├── ListingInconsistent       3          a listing contradicts itself: absence proves nothing
    ├── MapError                  65         a map file or one of its mappings
    ├── StoreUnavailable          69         S3 cannot be reached, reports a fault, or answers nonsense
    ├── DirectoryError            73         the local directory cannot be read or written
    │   └── DiskFull
    ├── SoftwareError             70         a bug
    ├── LockHeld                  75         another run is active
    ├── AccessDenied              77         credentials missing, expired or denied
    ├── ConfigError               78         the config file
    ├── HookError                 1          a command of `hooks` failed
    └── EntryError                1          one entry could not be mirrored
        ├── IntegrityError                   bytes that are not what the ETag or length promised
        ├── SourceChanged                    another version than the listed one
        ├── Blocked                          what it would replace was kept; the status of the cause
        └── EntryUnreadable                  it exists, but cannot be read (archived, special file)

    Cancelled                     1          the run ended early; no Exception, so that no handler swallows it
    ├── Interrupted               130, 143   SIGINT, SIGTERM
    └── RunTimedOut                          run_timeout

Names end in "Error" unless they name a state. Messages: the subject first, then the fact, then
what was expected; the command line adds the remedy. Never a credential.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_FULL = 13
"""https://sqlite.org/rescode.html#full; `sqlite3` itself takes a while to import."""


class Reported(BaseException):
    """What the package raises on purpose: exceptions that know their exit status and how the log shows them."""

    exit_status = 1
    """The exit status of the process when this is all that went wrong."""
    cause = "partial"
    """The name of that status, for logs."""
    remedy = ""
    """What the operator can do, one sentence, empty when the message says it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        if remedy:
            self.remedy = remedy

    def fields(self) -> dict[str, str]:
        """Return the fields of a log event about it; `remedy` only where there is one."""
        remedy = {"remedy": self.remedy} if self.remedy else {}
        return {"error": str(self), "cause": self.cause, **remedy}


class AgentError(Reported, Exception):
    """The base of every error of this package."""


class UsageError(AgentError):
    """The command line does not fit together."""

    exit_status = 2
    cause = "usage"


class DeletesRefused(AgentError):
    """A safety guard withheld deletes."""

    exit_status = 3
    cause = "refused"


class ListingInconsistent(AgentError):
    """A listing breaks a rule of completeness, so what it leaves out may still be there."""

    exit_status = 3
    cause = "refused"
    remedy = (
        "nothing was changed; run again, and if it persists, report it to the store's vendor"
    )


class InvalidInput(AgentError):
    """A file that people write is wrong; every problem is named, each with its place in the file."""

    def __init__(self, subject: str, problems: Sequence[str], *, remedy: str = "") -> None:
        super().__init__(f"{subject}: " + "; ".join(problems), remedy=remedy)
        self.subject = subject
        self.problems = tuple(problems)


class MapError(InvalidInput):
    """A map file, or one mapping in it, cannot be used."""

    exit_status = 65
    cause = "dataerr"
    remedy = "fix the map file; `s32s-agent --check` lists every problem"


class ConfigError(InvalidInput):
    """The config file cannot be used."""

    exit_status = 78
    cause = "config"


class StoreUnavailable(AgentError):
    """S3 cannot be reached, or something that is not S3 answers."""

    exit_status = 69
    cause = "unavailable"
    remedy = "check the network, s3.endpoint_url and the proxy settings"


class DirectoryError(AgentError):
    """A local directory cannot be read or written."""

    exit_status = 73
    cause = "cantcreat"
    remedy = "check the path, its file system, and the permissions of the agent's user"


class DiskFull(DirectoryError):
    """The disk, its inodes or a quota are used up."""

    remedy = "free space on the disk or raise the quota; the old files are untouched"


def is_disk_full(error: Exception) -> bool:
    """Return whether an error of the operating system or of SQLite means a full disk."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return bool(getattr(error, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL)


class SoftwareError(AgentError):
    """A bug; its traceback is in the log."""

    exit_status = 70
    cause = "software"
    remedy = "please report it, with the traceback from the log"


class LockHeld(AgentError):
    """Another run is active."""

    exit_status = 75
    cause = "tempfail"
    remedy = "the next run tries again"


class AccessDenied(AgentError):
    """Credentials are missing, expired, or do not allow the request."""

    exit_status = 77
    cause = "noperm"
    remedy = "check the credentials and the bucket policy (samples are in etc/iam)"


class HookError(AgentError):
    """A command of `hooks` could not be started, failed, or took too long."""

    cause = "hook"


class EntryError(AgentError):
    """One entry could not be mirrored; the others are not affected."""

    remedy = "fix it, or exclude it with `ignore`; no other entry is affected"


class IntegrityError(EntryError):
    """The bytes that came are not the bytes that were promised."""

    remedy = "the next run tries again; if that fails too, check the store, and any proxy in between"


class SourceChanged(EntryError):
    """The source holds another version than the listed one, or none."""

    remedy = "the next run takes the new version"


class Blocked(EntryError):
    """What the entry would replace had to go first, and was kept.

    Args:
        key: the entry's.
        reason: why, as a half sentence.
        because: what this is a consequence of; its status and cause are taken over.
    """

    def __init__(self, key: str, reason: str, because: Exception) -> None:
        super().__init__(
            f'"{key}" not written: what it would replace was kept because {reason}'
        )
        if isinstance(because, AgentError):
            self.exit_status, self.cause = because.exit_status, because.cause


class EntryUnreadable(EntryError):
    """The entry exists but cannot be read now, or replaced, since something is mounted on it; what is there stays."""


class Cancelled(Reported):
    """The run has to end before its work is done.

    As `asyncio.CancelledError` it is no Exception: no handler of failures, of whatever kind, can swallow it. What
    was done is whole, and the next run resumes there.
    """

    cause = "stopped"
    remedy = "the next run resumes where this one stopped"


class Interrupted(Cancelled):
    """A signal asked the run to end.

    Args:
        signal_number: 2 or 15; the exit status is 128 more.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_status = 128 + signal_number


class RunTimedOut(Cancelled):
    """`run_timeout` ran out."""

    cause = "timeout"
    remedy = "raise run_timeout, or let the next run resume"


class ExitStatus(NamedTuple):
    """What a status of the process means."""

    cause: str
    """Its name in logs and reports; "" for success."""
    meaning: str
    """When the process exits with it, in Markdown."""


_STOPPED = ExitStatus(
    "stopped", "SIGINT (130) or SIGTERM (143); the next run resumes where this one stopped"
)
EXIT_STATUSES = {
    0: ExitStatus("", "every mapping is in sync"),
    1: ExitStatus(
        "partial",
        "some entries failed or were skipped, a hook failed, `sync.run_timeout` was reached, or mappings failed for"
        " different causes",
    ),
    2: ExitStatus("usage", "the command line is wrong, or its options do not go together"),
    3: ExitStatus(
        "refused",
        "a guard withheld deletes: too many of them, an empty or missing source, or a listing that contradicts itself",
    ),
    65: ExitStatus("dataerr", "a map file or a mapping is wrong"),
    69: ExitStatus(
        "unavailable",
        "S3 cannot be reached, reports a fault of its own, or something else answers",
    ),
    70: ExitStatus("software", "a bug; its traceback is in the log"),
    73: ExitStatus(
        "cantcreat",
        "a local directory cannot be read or written, the disk is full, or other users can write `state_dir`",
    ),
    75: ExitStatus("tempfail", "another run holds the lock"),
    77: ExitStatus("noperm", "credentials are missing, expired or denied"),
    78: ExitStatus(
        "config",
        "the config file is wrong, other users can write it or `~/.aws`, or the locale's file names are not UTF-8",
    ),
    130: _STOPPED,
    143: _STOPPED,
}
"""What operators read about the statuses; the classes above decide them."""
