"""Decide, on the real file system, whether a local directory may be mirrored. Changes nothing.

`map_file.py` has checked the text; here symbolic links are resolved, so that no map leads out of the roots through
one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as Environment
from pathlib import Path
from typing import NamedTuple

from s32s_agent.config.locations import components, is_inside, is_system_directory
from s32s_agent.config.settings import Settings
from s32s_agent.config.values import first_problems
from s32s_agent.errors import MapError
from s32s_agent.model import Mapping

_ATTEMPTS = 100
"""How often a path is resolved while its links change."""
_MAX_LINKS = 40
"""As many as Linux follows on one path."""
_REMOTE_TYPE = re.compile(
    r"(?:autofs|nfs\d?|cifs|smb\d?|ceph|fuse(?:\.\S+)?|9p|afs|lustre|glusterfs|beegfs|gpfs|ocfs2|virtiofs) "
)
"""The type of a file system that may ask another machine; `fuseblk` is a disk of this one."""
_ESCAPE = re.compile(r"\\([0-7]{3})")


def resolve_links(directory: str) -> str:
    """Resolve every symbolic link of a path, whether or not its end exists, in normal form.

    Raises:
        MapError: its links change all the time.
    """
    for _ in range(_ATTEMPTS):
        # `realpath` checks that a name is a link, and then reads it: another process may have replaced it in between.
        with contextlib.suppress(OSError):
            return Path(os.path.realpath(directory)).as_posix()
    problem = "its symbolic links kept changing while it was resolved"
    raise MapError(f'"{directory}"', [problem])


def home_directories(mounts: str = "/proc/self/mountinfo") -> tuple[str, ...]:
    """List the home directories of people and of root, their links resolved where that asks no file server.

    To look at a home that an automounter manages would mount it, each of them at every run, and a file server that does
    not answer would hold the run for ever. Such a home is compared by its name.

    Args:
        mounts: the system's list of what is mounted.
    """
    if sys.platform == "win32":
        return (Path.home().as_posix(),)
    import pwd  # noqa: PLC0415 (POSIX only)

    people = range(1000, 60000)  # the user ids of people in login.defs
    homes = {each.pw_dir for each in pwd.getpwall() if each.pw_uid in people}
    remote = _remote_mounts(mounts)
    resolved = {
        os.path.normpath(home)
        if any(is_inside(home, mount) for mount in remote)
        else resolve_links(home)
        for home in homes | {"/root"}
    }
    return tuple(sorted(resolved - {"/"}))


def _remote_mounts(mounts: str) -> list[str]:
    """Return where an automounter or a file server is mounted; proc(5) describes the lines."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        if _REMOTE_TYPE.match(after):
            place = before.split(" ")[4]
            found.append(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), place))
    return found


def aws_files(ca_bundle: str | None, environ: Environment[str, str]) -> list[str]:
    """List the files that the AWS chain reads, whether or not they exist.

    A profile can name a program to run, and a CA bundle says which server is the right one.
    """
    files = [
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        ca_bundle or environ.get("AWS_CA_BUNDLE"),
    ]
    # As botocore does, which leaves `~nobody` alone.
    return [os.path.expanduser(file) for file in files if file]  # noqa: PTH111


def walk_path(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every directory and every link that an absolute path leads through, and last its end.

    Raises:
        OSError: a part of it is missing or cannot be read; `filename` is that part.
    """
    here, links = "/", 0
    yield here, os.lstat(here)
    waiting = path.split("/")[::-1]
    while waiting:
        part = waiting.pop()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 (no link is left in it)
        if part in ("", ".", ".."):
            continue
        there = os.path.join(here, part)  # noqa: PTH118
        status = os.lstat(there)
        yield there, status
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(there)  # noqa: PTH115
        here = "/" if target.startswith("/") else here
        waiting += target.split("/")[::-1]
    yield here, os.lstat(here)


class ProtectedPaths(NamedTuple):
    """What no mapping may contain, since it decides what the agent does."""

    state_dir: str
    trusted_files: dict[tuple[str, ...], str]
    """By the components of a directory, a file in it, or below it, that the agent trusts or runs."""


def protected_paths(
    settings: Settings, config: str, environ: Environment[str, str]
) -> ProtectedPaths:
    """Find the directories that hold files which the agent trusts or runs, or links that lead to them.

    Args:
        settings: name the state directory and the programs of the hooks.
        config: the config file.
        environ: may name the files of the AWS chain.
    """
    hooks = settings.hooks
    commands = [*hooks.before, *hooks.on_change.of_all, *hooks.after, *hooks.on_failure]
    commands += itertools.chain.from_iterable(hooks.on_change.by_mapping.values())
    programs = [command[0] for command in commands if "/" in command[0]]
    files = [config, *aws_files(settings.s3.ca_bundle, environ), *programs]
    trusted_files: dict[tuple[str, ...], str] = {}
    for file in filter(None, files):
        for path in _paths_through(file):
            parts = components(path)
            for length in range(1, len(parts)):
                trusted_files.setdefault(parts[:length], file)
    return ProtectedPaths(settings.state_dir, trusted_files)


def _paths_through(file: str) -> set[str]:
    """Return every path that leads to a file, as far as it exists, and the file's real path."""
    paths = {resolve_links(file)}
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            paths.update(path for path, _ in walk_path(os.path.join(os.getcwd(), file)))  # noqa: PTH109, PTH118
    return paths


def check_directory(
    mapping: Mapping, roots: Collection[str], homes: Collection[str], protected: ProtectedPaths
) -> str:
    """Resolve a mapping's directory, and return it when it may be mirrored.

    Raises:
        MapError: it leads outside the roots or through another user's link, is a system directory, or contains what
            the agent trusts or runs.
    """
    resolved, state = resolve_links(mapping.directory), resolve_links(protected.state_dir)
    problems = []
    if not any(is_inside(resolved, resolve_links(root)) for root in roots):
        problems.append(f'"{resolved}" is outside roots')
    if is_system_directory(resolved, homes):
        problems.append(f'"{resolved}" is a system directory or a home directory')
    if is_inside(resolved, state) or is_inside(state, resolved):
        problems.append(f'"{resolved}" overlaps state_dir')
    if file := protected.trusted_files.get(components(resolved)):
        problems.append(
            f'"{resolved}" contains the path "{file}", which the agent trusts or runs'
        )
    if problem := _untrusted_link(mapping.directory, resolved):
        problems.append(problem)
    if problems:
        raise MapError(f'mapping "{mapping.name}": "{mapping.directory}"', problems)
    return resolved


def _untrusted_link(directory: str, resolved: str) -> str:
    """Return which link of another user a directory leads through, "" when none.

    The link's owner could point it at another mapping's directory, and elsewhere tomorrow.
    """
    if sys.platform == "win32":
        return ""
    end = "/"
    try:
        for end, status in walk_path(directory):
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link and status.st_uid not in (0, os.geteuid()):
                fact = f"is a symbolic link that belongs to user {status.st_uid}"
                return f'"{end}" {fact}, expected the agent\'s user or root'
    except OSError as error:
        # What is missing, or may not be read, can still be opened or not.
        end = error.filename
        if is_inside(resolved, end):
            return ""
    # What was checked is what was resolved, or another process replaced a link in between.
    changed = f'"{directory}": its symbolic links changed while it was checked'
    return "" if end == resolved else changed


def find_overlaps(directories: Sequence[tuple[Mapping, str]]) -> dict[str, MapError]:
    """Find mappings whose resolved directories are equal or nested; return an error for each, by its name."""
    found: dict[str, list[str]] = {}

    def note(mapping: Mapping, directory: str, other: Mapping) -> None:
        problem = f'"{directory}" is, contains or is inside the directory of "{other.name}"'
        found.setdefault(mapping.name, []).append(problem)

    ordered = sorted(
        ((components(directory), mapping, directory) for mapping, directory in directories),
        key=lambda each: (each[0], each[1].name),
    )
    around: list[tuple[tuple[str, ...], Mapping, str]] = []
    # In this order whatever is inside a directory follows it directly.
    for parts, mapping, directory in ordered:
        while around and parts[: len(around[-1][0])] != around[-1][0]:
            around.pop()
        if around:
            _, outer, outer_directory = around[-1]
            note(mapping, directory, outer)
            note(outer, outer_directory, mapping)
        around.append((parts, mapping, directory))
    return {
        name: MapError(f'mapping "{name}"', first_problems(problems))
        for name, problems in found.items()
    }
