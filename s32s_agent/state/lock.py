"""Lock the state, so that one run uses it at a time.

The kernel holds the lock, so a run that is killed leaves none behind. The file itself is never removed, because another
run may already wait for its lock. Knows nothing of what a run does.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from s32s_agent.errors import DirectoryError, LockHeld
from s32s_agent.text import printable

_POLL_SECONDS = 0.1
_MAX_HOLDER_SIZE = 4096
"""Bytes."""
_REMEDIES = {
    errno.EACCES: "state_dir must belong to the user that runs the agent; was it once run as root?",
    errno.EPERM: "state_dir must belong to the user that runs the agent; was it once run as root?",
    errno.ELOOP: "remove the symbolic link; the agent does not follow one here",
    errno.ENOENT: "create state_dir, owned by the user that runs the agent",
    errno.ENOLCK: "state_dir must be on a local file system",
    errno.EROFS: "state_dir must be writable; its file system is mounted read-only",
}

if sys.platform == "win32":  # pragma: no cover - tests run on Linux
    import msvcrt

    _FLAGS = os.O_RDWR | os.O_CREAT | os.O_BINARY | os.O_NOINHERIT
    # On Windows no other process can read a locked byte, so that byte is far behind the text about the holder.
    _LOCKED_BYTE = 1 << 30

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    _FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def hold(
    path: str,
    *,
    wait_seconds: float,
    holder: Mapping[str, object],
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the lock while the block runs.

    Args:
        path: The lock file; created when absent, in a directory that exists.
        wait_seconds: How long to wait for another run; 0 tries once.
        holder: What other runs report about this one: `run_id`, `started`; the process id is added.
        waiting: Called some times a second while it waits.

    Raises:
        LockHeld: Another run still holds it.
        DirectoryError: The file cannot be created, opened or locked.
    """
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _acquire(descriptor, path, wait_seconds, waiting)
        try:
            _write_holder(descriptor, {"pid": os.getpid(), **holder})
            yield
        finally:
            # No run is to be named that has ended; only messages need it, so an error here changes nothing.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            _unlock(descriptor)
    finally:
        os.close(descriptor)


def read_holder(path: str) -> dict[str, object]:
    """Read what is known of the run that holds the lock, or held it when it was killed; empty when nothing is known."""
    try:
        descriptor = os.open(path, _FLAGS & ~os.O_CREAT)
    except OSError:
        return {}
    try:
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, path: str, wait_seconds: float, waiting: Callable[[], None]
) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            if _try_lock(descriptor):
                return
        except OSError as error:
            raise _unusable(path, error) from error
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise LockHeld(
                f'"{printable(path)}": locked by another run ({_describe(_read_holder(descriptor))})',
                remedy="let it finish, or wait for it with --lock-wait",
            )
        waiting()
        time.sleep(min(_POLL_SECONDS, remaining))


def _describe(holder: Mapping[str, object]) -> str:
    """Describe the holder with what is known of it."""
    labels = (("pid", "pid"), ("started", "since"), ("run_id", "run_id"))
    known = (
        f"{label} {printable(str(holder[name]))}" for name, label in labels if name in holder
    )
    return ", ".join(known) or "holder unknown"


def _write_holder(descriptor: int, holder: Mapping[str, object]) -> None:
    data = json.dumps(holder, default=str).encode()
    # The lock is held without it: a full disk only makes the message of another run shorter.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data)


def _read_holder(descriptor: int) -> dict[str, object]:
    # Another run may be writing it, and another program may have written it: any text can be here.
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        document = json.loads(os.read(descriptor, _MAX_HOLDER_SIZE))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _unusable(path: str, error: OSError) -> DirectoryError:
    return DirectoryError(
        f'"{printable(path)}": cannot be locked: {error.strerror}',
        remedy=_REMEDIES.get(error.errno or 0, "check state_dir and its permissions"),
    )
