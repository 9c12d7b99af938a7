"""Name the drop-in that is missing when the sandbox of a systemd unit refuses access to a directory.

Only an error's remedy changes, and only in a unit of systemd.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.config.locations import is_inside
from s32s_agent.errors import AgentError, DeletesRefused, DirectoryError, EntryError
from s32s_agent.text import printable

_CGROUPS = Path("/proc/self/cgroup")
_UNIT = re.compile(r"/([^/\n]+\.service)$", re.MULTILINE)
_TRANSIENT = re.compile(r"run-(?:u\d+|r[0-9a-f]+)\.service")
"""The unit that systemd-run makes for one command, as the documents run `--check`."""
_SERVICE = "s32s-agent.service"
_LOCAL = (DirectoryError, DeletesRefused, EntryError)
_HOMES = ("/home", "/root", "/run/user")
"""What ProtectHome= hides."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit that this process runs in."""

    name: str
    user: str
    state_directory: str = ""
    """The directory of StateDirectory=, which the unit may write; "" without one."""


def running_unit(environ: Mapping[str, str], cgroups: str) -> Unit | None:
    """Return the unit that this process runs in; None outside of one.

    Args:
        environ: `INVOCATION_ID` is set in units, but also in a terminal that a unit has started.
        cgroups: the text of /proc/self/cgroup.
    """
    found = _UNIT.search(cgroups)
    if not environ.get("INVOCATION_ID") or not found:
        return None
    # Such a unit disappears when it ends: the drop-in belongs to the service in whose place it runs.
    name = _SERVICE if _TRANSIENT.fullmatch(found[1]) else found[1]
    user = environ.get("USER", "the unit's user")
    return Unit(name, user, environ.get("STATE_DIRECTORY", ""))


def advise(
    error: AgentError,
    directory: str,
    environ: Mapping[str, str] = os.environ,
    cgroups: Path = _CGROUPS,
) -> None:
    """Replace the remedy of an error that a unit's sandbox may have caused.

    Args:
        error: its `__cause__` is the `OSError` that caused it.
        directory: what the unit must be able to write: a mapping's directory, or `state_dir`.
        environ: the environment of the process.
        cgroups: the file that names the process's control groups.
    """
    number = _error_number(error)
    if number is None or not environ.get("INVOCATION_ID"):
        return
    try:
        text = cgroups.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # no Linux, or no /proc: no unit either
    if unit := running_unit(environ, text):
        exists = os.path.isdir(directory)  # noqa: PTH112 - Path raises where this user may not look
        error.remedy = remedy(number, directory, unit, exists=exists) or error.remedy


def _error_number(error: AgentError) -> int | None:
    """Return the system's error number; None when something else than a local file caused the error."""
    cause = error.__cause__
    return cause.errno if isinstance(error, _LOCAL) and isinstance(cause, OSError) else None


def remedy(number: int, directory: str, unit: Unit, *, exists: bool) -> str:
    """Return the remedy; "" where the sandbox cannot be the cause.

    | error | where | remedy |
    |---|---|---|
    | EROFS | a directory that contains the unit's own state | state_dir |
    | EROFS | elsewhere | ReadWritePaths=, of a directory that exists |
    | EACCES | below a home directory | ProtectHome=tmpfs and BindPaths= |
    | EACCES | elsewhere | permissions in the file system |
    | EPERM, EINVAL | any | the capability to change owners |
    | EXDEV | any | no mount inside, across which nothing can be renamed to the trash |
    """
    if number == errno.EROFS:
        return _read_only(directory, unit, exists=exists)
    edit = _edit(unit)
    path, quoted = _word(directory), shlex.quote(directory)
    if number == errno.EACCES and any(is_inside(directory, home) for home in _HOMES):
        return f"{edit} ProtectHome=tmpfs, and on a separate line: BindPaths={path}"
    if number == errno.EACCES:
        return (
            f"run: chown -R {unit.user} {quoted}, or: setfacl -R -m u:{unit.user}:rwX {quoted}"
        )
    if number in (errno.EPERM, errno.EINVAL):
        return "the unit may not change owners (sync.owner); an immutable file needs chattr -i"
    if number == errno.EXDEV:
        mount = f"something is mounted inside {path}, as BindPaths= does"
        return f"{mount}: mount the whole directory, or use one mapping for each mount"
    return ""


def _read_only(directory: str, unit: Unit, *, exists: bool) -> str:
    if unit.state_directory and is_inside(unit.state_directory, directory):
        return f"set state_dir to {unit.state_directory}, which the unit may write"
    # A path that does not exist would keep the unit from starting at all.
    make = f"run: install -d -o {unit.user} {shlex.quote(directory)}; then "
    return f"{'' if exists else make}{_edit(unit)} ReadWritePaths={_word(directory)}"


def _edit(unit: Unit) -> str:
    return f"run: systemctl edit {shlex.quote(unit.name)}, and write below [Service]:"


def _word(path: str) -> str:
    """Return a path as systemd.syntax(7) expects a word."""
    escaped = printable(path).replace("%", "%%")
    return f'"{escaped}"' if " " in path else escaped
