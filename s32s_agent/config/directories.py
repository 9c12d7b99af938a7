"""Decide, on the real file system, whether a local directory may be mirrored.

`maps.py` has judged the text; here symbolic links are resolved, so that no map leads out of the roots through one.
Changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as Environment
from pathlib import Path
from typing import NamedTuple

from s32s_agent.config.locations import components, is_inside, is_system_directory
from s32s_agent.config.settings import Settings
from s32s_agent.config.values import capped
from s32s_agent.errors import MapError
from s32s_agent.model import Mapping

_LOOKS = 100
"""How often a path is resolved on which links come and go."""
_MAX_LINKS = 40
"""As many as Linux follows on one path."""


def resolve_links(directory: str) -> str:
    """Resolve every symbolic link of a path, whether or not its end exists, in normal form.

    Raises:
        MapError: somebody exchanges links on the way all the time.
    """
    for _ in range(_LOOKS):
        # `realpath` looks whether a name is a link, and then reads it: by then it may be none any more.
        with contextlib.suppress(OSError):
            return Path(os.path.realpath(directory)).as_posix()
    raise MapError(f'"{directory}"', ["it led elsewhere whenever it was looked at"])


def home_directories() -> tuple[str, ...]:
    """List the home directories that belong to people and to root."""
    if sys.platform == "win32":
        return (Path.home().as_posix(),)
    import pwd  # noqa: PLC0415 (POSIX only)

    people = range(1000, 60000)  # what login.defs gives to people
    homes = {each.pw_dir for each in pwd.getpwall() if each.pw_uid in people}
    return tuple(sorted({resolve_links(home) for home in homes | {"/root"}} - {"/"}))


def aws_files(ca_bundle: str | None, environ: Environment[str, str]) -> list[str]:
    """List what the AWS chain would believe, whether or not it is there.

    A profile can name a program to run, and a CA bundle says which server is the right one.
    """
    files = [
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        ca_bundle or environ.get("AWS_CA_BUNDLE"),
    ]
    # As botocore does, which leaves `~nobody` alone.
    return [os.path.expanduser(file) for file in files if file]  # noqa: PTH111


def path_steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every directory and every link on the way to an absolute path, and at last its end.

    Raises:
        OSError: the way leads no further; `filename` says from where.
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
    """What no mapping may touch, since it decides what the agent does."""

    state_dir: str
    trusted_files: dict[tuple[str, ...], str]
    """Every directory, by its components, that a file is in which the agent believes or runs: its way, and that file.
    """


def protected_paths(
    settings: Settings, config: str, environ: Environment[str, str]
) -> ProtectedPaths:
    """Find out which directories hold what the agent believes or runs, or a link on the way to it.

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
        for place in _way(file):
            parts = components(place)
            for length in range(1, len(parts)):
                trusted_files.setdefault(parts[:length], file)
    return ProtectedPaths(settings.state_dir, trusted_files)


def _way(file: str) -> set[str]:
    """Give all that is on the way to a file, as far as it goes, and where it leads."""
    way = {resolve_links(file)}
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            way.update(place for place, _ in path_steps(os.path.join(os.getcwd(), file)))  # noqa: PTH109, PTH118
    return way


def check_directory(
    mapping: Mapping, roots: Collection[str], homes: Collection[str], own: ProtectedPaths
) -> str:
    """Resolve a mapping's directory and give it, when it may be mirrored.

    Raises:
        MapError: it leads outside the roots, or through somebody else's link, is a system directory, or holds what
            the agent believes or runs.
    """
    resolved, state = resolve_links(mapping.directory), resolve_links(own.state_dir)
    problems = []
    if not any(is_inside(resolved, resolve_links(root)) for root in roots):
        problems.append(f'"{resolved}" is outside roots')
    if is_system_directory(resolved, homes):
        problems.append(f'"{resolved}" is a system directory or a home')
    if is_inside(resolved, state) or is_inside(state, resolved):
        problems.append(f'"{resolved}" overlaps state_dir')
    if file := own.trusted_files.get(components(resolved)):
        problems.append(
            f'in "{resolved}" is "{file}", or would be, which the agent believes or runs'
        )
    if problem := _led_astray(mapping.directory, resolved):
        problems.append(problem)
    if problems:
        raise MapError(f'mapping "{mapping.name}": "{mapping.directory}"', problems)
    return resolved


def _led_astray(directory: str, resolved: str) -> str:
    """Say which link of somebody else leads to a directory, "" when none does.

    Its owner could lead the agent into the directory of another mapping today, and elsewhere tomorrow.
    """
    if sys.platform == "win32":
        return ""
    end = "/"
    try:
        for end, status in path_steps(directory):
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link and status.st_uid not in (0, os.geteuid()):
                owner = f"user {status.st_uid}"
                return (
                    f'"{end}" is a link of {owner}, expected one of the agent\'s user or root'
                )
    except OSError as error:
        # What is missing, or may not be looked at, can still be opened or not.
        end = error.filename
        if is_inside(resolved, end):
            return ""
    # What was looked at is what was resolved, or somebody exchanged a link in between.
    return "" if end == resolved else f'"{directory}" led elsewhere while it was looked at'


def find_overlaps(places: Sequence[tuple[Mapping, str]]) -> dict[str, MapError]:
    """Find mappings whose directories are one or nested once their links are resolved; give an error for each."""
    found: dict[str, list[str]] = {}

    def note(mapping: Mapping, place: str, other: Mapping) -> None:
        problem = f'"{place}" is the directory of "{other.name}", or one is inside the other'
        found.setdefault(mapping.name, []).append(problem)

    placed = sorted(
        ((components(place), mapping, place) for mapping, place in places),
        key=lambda each: (each[0], each[1].name),
    )
    around: list[tuple[tuple[str, ...], Mapping, str]] = []
    # In this order whatever is inside a place follows it directly.
    for parts, mapping, place in placed:
        while around and parts[: len(around[-1][0])] != around[-1][0]:
            around.pop()
        if around:
            _, outer, elsewhere = around[-1]
            note(mapping, place, outer)
            note(outer, elsewhere, mapping)
        around.append((parts, mapping, place))
    return {
        name: MapError(f'mapping "{name}"', capped(problems))
        for name, problems in found.items()
    }
