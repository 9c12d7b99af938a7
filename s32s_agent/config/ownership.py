"""Check that no other user could have written what the agent trusts. Changes nothing. POSIX only.

Whoever can write the config, the state, or a directory above them decides what a privileged program deletes. The
rules are those of sshd and sudo.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.config.directories import aws_files, walk_path
from s32s_agent.errors import ConfigError, DirectoryError
from s32s_agent.text import printable

_ROOT = 0


@dataclass(frozen=True, slots=True)
class TrustProblem:
    """Why a path is not trusted."""

    path: str
    fact: str
    remedy: str

    @property
    def message(self) -> str:
        """The problem as a sentence."""
        return f'"{printable(self.path)}" {self.fact}'


def require_trusted_config(path: str) -> None:
    """Refuse a config file that another user may write or replace; one that does not exist passes.

    Raises:
        ConfigError: it is such a file, or not a regular file.
    """
    if problem := trust_problem(path):
        raise ConfigError(printable(path), [problem.message], remedy=problem.remedy)


def require_trusted_aws_files(ca_bundle: str | None, environ: Mapping[str, str]) -> None:
    """Refuse files of the AWS chain that another user may write.

    A profile can name a program to run, and a CA bundle says which server is the right one.

    Raises:
        ConfigError: there is such a file.
    """
    for path in aws_files(ca_bundle, environ):
        if os.path.isfile(path):  # noqa: PTH113 (False, and no error, where this user may not look)
            require_trusted_config(path)


def require_trusted_state(state_dir: str, own: Collection[str]) -> None:
    """Refuse a state directory that another user may write; one that does not exist passes.

    Args:
        state_dir: the directory.
        own: the names in it that the agent creates; others are not checked.

    Raises:
        DirectoryError: it is such a directory, or one of the agent's own files in it is such a file, or a link.
    """
    problem = trust_problem(state_dir, directory=True) or _problem_inside(Path(state_dir), own)
    if problem:
        raise DirectoryError(f"state_dir: {problem.message}", remedy=problem.remedy)


def trust_problem(path: str, *, directory: bool = False) -> TrustProblem | None:
    """Walk to a path from the root, through its links, and return the first thing that another user may change.

    Above the end a sticky directory such as /tmp passes: no user can replace there what belongs to another.
    """
    end = os.lstat("/")
    try:
        for each, end in walk_path(os.path.join(os.getcwd(), path)):  # noqa: PTH109, PTH118 (texts)
            if problem := _check_status(each, end, sticky_passes=True):
                return problem
    except FileNotFoundError:
        return None  # whoever opens it reports that; what is above it has been checked
    except OSError as error:
        return TrustProblem(path, f"cannot be reached: {error.strerror}", "fix the path")
    if directory:
        return _check_status(path, end, sticky_passes=False)
    if not stat.S_ISREG(end.st_mode):
        return TrustProblem(path, "is not a regular file", "name a file")
    return None


def _problem_inside(state: Path, own: Collection[str]) -> TrustProblem | None:
    """Check the agent's own files and, one level down, what its own directories hold."""
    if not state.is_dir():
        return None
    try:
        for path in sorted(
            each for each in state.iterdir() if each.name.startswith(tuple(own))
        ):
            for found in (path, *_content_of(path)):
                if problem := _check_own(found):
                    return problem
    except OSError as error:
        fact = f"cannot be read: {error.strerror}"
        remedy = "chown it to the agent's user; was the agent once run as root?"
        return TrustProblem(str(error.filename), fact, remedy)
    return None


def _check_own(found: Path) -> TrustProblem | None:
    try:
        status = found.lstat()
    except FileNotFoundError:
        return None  # another run is active, and this one will find the lock held
    if stat.S_ISLNK(status.st_mode):
        remedy = f"rm {shlex.quote(str(found))}"
        return TrustProblem(str(found), "is a symbolic link, which is not followed", remedy)
    return _check_status(str(found), status, sticky_passes=False)


def _content_of(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
    except FileNotFoundError:
        return []


def _check_status(
    path: str, status: os.stat_result, *, sticky_passes: bool
) -> TrustProblem | None:
    """Check the owner and mode of one file, directory or link."""
    me, mode = os.geteuid(), stat.S_IMODE(status.st_mode)
    quoted = shlex.quote(printable(path))
    if status.st_uid not in (_ROOT, me):
        expected = _user(me) if me == _ROOT else f"{_user(me)} or root"
        fact = f"belongs to {_user(status.st_uid)} (mode {mode:04o}), expected {expected}"
        remedy = f"run the agent as that user, or: chown {_user(me)} {quoted}"
        return TrustProblem(path, fact, remedy)
    sticky = stat.S_ISDIR(status.st_mode) and bool(mode & stat.S_ISVTX)
    if stat.S_ISLNK(status.st_mode) or (sticky and sticky_passes):
        return None
    if mode & stat.S_IWOTH:
        who = "everyone"
    elif mode & stat.S_IWGRP and (_has_access_list(path) or not _is_private(status.st_gid)):
        who = f"the group {_group(status.st_gid)}"
    else:
        return None
    return TrustProblem(
        path, f"is writable by {who} (mode {mode:04o})", f"chmod go-w {quoted}"
    )


def _has_access_list(path: str) -> bool:
    """Return whether users that the mode does not show may have rights; the group's bits then stand for all of them."""
    try:
        return "system.posix_acl_access" in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False  # the file system has no such lists


def _is_private(group: int) -> bool:
    """Return whether a group is known to have no member but this user and root, as a user's own group does."""
    try:
        named = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(group).gr_mem}
    except KeyError:
        return False
    members = named | {each.pw_uid for each in pwd.getpwall() if each.pw_gid == group}
    # Without any member the user database is one that does not list them.
    return bool(members) and members <= {os.geteuid(), _ROOT}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
