"""Decide, on the real file system, whether a local directory may be mirrored.

`maps.py` has judged the text; here symbolic links are resolved, so that no map leads out of the roots through one.
Changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from s32s_agent.errors import MapError
from s32s_agent.locations import is_inside, is_system_directory
from s32s_agent.model import Mapping


def real(directory: str) -> str:
    """Resolve every symbolic link of a path, whether or not its end exists, in normal form."""
    return Path(os.path.realpath(directory)).as_posix()


def homes_of_people() -> tuple[str, ...]:
    """List the home directories that belong to people and to root."""
    if sys.platform == "win32":
        return (Path.home().as_posix(),)
    import pwd  # noqa: PLC0415 (POSIX only)

    people = range(1000, 60000)  # what login.defs gives to people
    homes = {each.pw_dir for each in pwd.getpwall() if each.pw_uid in people}
    return tuple(sorted({real(home) for home in homes | {"/root"}} - {"/"}))


def check_place(
    mapping: Mapping, roots: Collection[str], state_dir: str, homes: Collection[str]
) -> str:
    """Resolve a mapping's directory and give it, when it may be mirrored.

    Raises:
        MapError: it leads outside the roots, is a system directory, or overlaps the state directory.
    """
    resolved, state = real(mapping.directory), real(state_dir)
    problems = []
    if not any(is_inside(resolved, real(root)) for root in roots):
        problems.append(f'"{resolved}" is outside roots')
    if is_system_directory(resolved, homes):
        problems.append(f'"{resolved}" is a system directory or a home')
    if is_inside(resolved, state) or is_inside(state, resolved):
        problems.append(f'"{resolved}" overlaps state_dir')
    if problems:
        raise MapError(f'mapping "{mapping.name}": "{mapping.directory}"', problems)
    return resolved


def refuse_hidden_overlaps(places: Sequence[tuple[Mapping, str]]) -> dict[str, MapError]:
    """Find mappings whose directories are one or nested once their links are resolved; give an error for each."""
    errors = {}
    for mapping, place in places:
        others = _overlapping(mapping, place, places)
        if others:
            names = ", ".join(f'"{other}"' for other in others)
            problem = f'"{place}" is the directory of {names}, or one is inside the other'
            errors[mapping.name] = MapError(f'mapping "{mapping.name}"', [problem])
    return errors


def _overlapping(
    mapping: Mapping, place: str, places: Iterable[tuple[Mapping, str]]
) -> list[str]:
    return [
        other.name
        for other, elsewhere in places
        if other.name != mapping.name
        and (is_inside(place, elsewhere) or is_inside(elsewhere, place))
    ]
