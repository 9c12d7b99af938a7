"""Tell whether anybody else could have written what the agent is about to believe.

Whoever can write the config, the state, or a directory above them decides what a privileged program deletes. The
rules are those of sshd and sudo. Only looks, changes nothing. POSIX only.
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

from s32s_agent.config.directories import aws_files, path_steps
from s32s_agent.errors import ConfigError, DirectoryError
from s32s_agent.text import printable

_ROOT = 0


@dataclass(frozen=True, slots=True)
class TrustProblem:
    """Why something is not to be believed."""

    path: str
    fact: str
    remedy: str

    @property
    def message(self) -> str:
        """The doubt as a sentence."""
        return f'"{printable(self.path)}" {self.fact}'


def require_trusted_config(path: str) -> None:
    """Refuse a config file that another user may write, or put another one in its place.

    Raises:
        ConfigError: it is such a file, or no regular file. One that is not there is nobody's.
    """
    if doubt := trust_problem(path):
        raise ConfigError(printable(path), [doubt.message], remedy=doubt.remedy)


def require_trusted_aws_files(ca_bundle: str | None, environ: Mapping[str, str]) -> None:
    """Refuse what the AWS chain would believe and another user may write.

    A profile can name a program to run, and a CA bundle says which server is the right one.

    Raises:
        ConfigError: there is such a file.
    """
    for path in aws_files(ca_bundle, environ):
        if os.path.isfile(path):  # noqa: PTH113 (False, and no error, where this user may not look)
            require_trusted_config(path)


def require_trusted_state(state_dir: str, own: Collection[str]) -> None:
    """Refuse a state directory that another user may write; what is not there yet is nobody's.

    Args:
        state_dir: the directory.
        own: the names in it that the agent makes; what else is there is not looked at.

    Raises:
        DirectoryError: it is such a directory, or holds such a file or a link of the agent's names.
    """
    doubt = trust_problem(state_dir, directory=True) or _doubt_inside(Path(state_dir), own)
    if doubt:
        raise DirectoryError(f"state_dir: {doubt.message}", remedy=doubt.remedy)


def trust_problem(path: str, *, directory: bool = False) -> TrustProblem | None:
    """Walk to a path from the root, through its links, and tell the first thing that somebody else may change.

    Above the end a sticky directory such as /tmp will do: nobody can take there what belongs to another.
    """
    end = os.lstat("/")
    try:
        for place, end in path_steps(os.path.join(os.getcwd(), path)):  # noqa: PTH109, PTH118 (texts)
            doubt = _doubt_of(place, end, sticky_will_do=True)
            if doubt:
                return doubt
    except FileNotFoundError:
        return None  # whoever opens it says so; what is above it has been seen
    except OSError as error:
        return TrustProblem(path, f"cannot be reached: {error.strerror}", "correct the path")
    if directory:
        return _doubt_of(path, end, sticky_will_do=False)
    if not stat.S_ISREG(end.st_mode):
        return TrustProblem(path, "is no regular file", "name a file")
    return None


def _doubt_inside(state: Path, own: Collection[str]) -> TrustProblem | None:
    """Look at the agent's own files and, one level down, at what its own directories hold."""
    if not state.is_dir():
        return None
    try:
        for path in sorted(
            each for each in state.iterdir() if each.name.startswith(tuple(own))
        ):
            for found in (path, *_held_by(path)):
                if doubt := _doubt_of_own(found):
                    return doubt
    except OSError as error:
        fact = f"cannot be read: {error.strerror}"
        return TrustProblem(
            str(error.filename), fact, "give it to the agent's user; was it once run as root?"
        )
    return None


def _doubt_of_own(found: Path) -> TrustProblem | None:
    try:
        status = found.lstat()
    except FileNotFoundError:
        return None  # another pass is at work, and this one will find the lock held
    if stat.S_ISLNK(status.st_mode):
        remedy = f"rm {shlex.quote(str(found))}"
        return TrustProblem(str(found), "is a symbolic link, which is not followed", remedy)
    return _doubt_of(str(found), status, sticky_will_do=False)


def _held_by(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
    except FileNotFoundError:
        return []


def _doubt_of(
    path: str, status: os.stat_result, *, sticky_will_do: bool
) -> TrustProblem | None:
    """Judge one file, directory or link by its owner and its mode."""
    me, mode = os.geteuid(), stat.S_IMODE(status.st_mode)
    quoted = shlex.quote(printable(path))
    if status.st_uid not in (_ROOT, me):
        expected = _user(me) if me == _ROOT else f"{_user(me)} or root"
        fact = f"belongs to {_user(status.st_uid)} (mode {mode:04o}), expected {expected}"
        return TrustProblem(
            path, fact, f"run the agent as that user, or: chown {_user(me)} {quoted}"
        )
    sticky = stat.S_ISDIR(status.st_mode) and bool(mode & stat.S_ISVTX)
    if stat.S_ISLNK(status.st_mode) or (sticky and sticky_will_do):
        return None
    if mode & stat.S_IWOTH:
        who = "everybody"
    elif mode & stat.S_IWGRP and (_has_access_list(path) or not _is_private(status.st_gid)):
        who = f"the group {_group(status.st_gid)}"
    else:
        return None
    return TrustProblem(
        path, f"may be written by {who} (mode {mode:04o})", f"chmod go-w {quoted}"
    )


def _has_access_list(path: str) -> bool:
    """Tell whether more users than the mode tells of may have rights; the group's bits then stand for all of them."""
    try:
        return "system.posix_acl_access" in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False  # the file system has no such lists


def _is_private(group: int) -> bool:
    """Tell whether a group is known to hold nobody but this user and root, as one of the user's own name does."""
    try:
        named = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(group).gr_mem}
    except KeyError:
        return False
    members = named | {each.pw_uid for each in pwd.getpwall() if each.pw_gid == group}
    # Without any member the user database is one that does not tell.
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
