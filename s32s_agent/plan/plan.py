"""Decide what a pass does to one mapping. The only place with rules; pure: no disk, no network, no clock, no log.

    scan, scan -> pair_up -> difference -> (hash what must be checked) -> make_plan -> Plan

`difference` streams over both scans in key order and keeps only what differs, so memory
follows the number of changes. It draws no conclusion from absence until both scans have ended,
since a hole in a listing looks like a deletion.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from s32s_agent.model import (
    Copy,
    Delete,
    Entry,
    Extras,
    Kind,
    Plan,
    Problem,
    Withheld,
)
from s32s_agent.plan import keys
from s32s_agent.plan.compare import Difference


@dataclass(frozen=True, slots=True)
class DeleteGuards:
    """Which deletes this run believes, as far as the operator decides that."""

    max_delete: Callable[[int], int] | None
    """The target's number of entries -> how many of them one run may delete; None: any number."""
    allow_empty_source: bool = False
    known_mounts: bool = True
    """Where an earlier run found a mount in a master's directory, one must still be there."""


def lifted(guards: DeleteGuards) -> DeleteGuards:
    """Return the guards of a run with `--allow-deletes`. Nothing else reads that option."""
    return replace(guards, max_delete=None, known_mounts=False)


def make_plan(
    found: Difference, same: Collection[str], extras: Extras, guards: DeleteGuards
) -> Plan:
    """Turn a difference into every action of a pass, with the guards applied.

    Args:
        found: what the scans differ in.
        same: the keys of its checks whose bytes were found to be equal.
        extras: what happens to what the source does not have.
        guards: how many deletes are believed.
    """
    troubled = {problem.key for problem in found.problems}
    wanted = [copy for copy in found.copies if copy.entry.key not in troubled]
    wanted += [
        Copy(check.entry, check.why, check.found)
        for check in found.checks
        if check.entry.key not in troubled and check.entry.key not in same
    ]
    wanted.sort(key=lambda copy: copy.entry.key)
    removable, withheld = _believed(found, extras, guards)
    copies, clears, blocked = _make_way(wanted, found, removable)
    deletes = [entry for key, entry in removable.items() if key not in clears]
    return Plan(
        clears=_innermost_first(clears.values()),
        copies=tuple(copies),
        deletes=_innermost_first(deletes),
        adopted=tuple(check for check in found.checks if check.entry.key in same),
        # Below a directory that could not be read, the index is right and the scan is not.
        forgotten=() if any(each.fatal for each in found.problems) else tuple(found.forgotten),
        skipped=(*found.problems, *blocked),
        withheld=withheld,
        unchanged=found.unchanged,
    )


def count_deletes(names: Iterable[str]) -> int:
    """Count deletes as people do: the files; the directories only where there is nothing else."""
    every = list(names)
    return sum(1 for name in every if not name.endswith("/")) or len(every)


def _innermost_first(entries: Iterable[Entry]) -> tuple[Delete, ...]:
    return tuple(
        Delete(entry) for entry in sorted(entries, key=lambda entry: entry.key, reverse=True)
    )


def _believed(
    found: Difference, extras: Extras, guards: DeleteGuards
) -> tuple[dict[str, Entry], tuple[Withheld, ...]]:
    """Apply the guards: what may be removed, and what is held back and why."""
    if extras is Extras.KEEP or not found.removals:
        return {}, ()
    if reason := _distrust(found, guards):
        return {}, (Withheld(count_deletes(found.removals), reason),)
    scopes = {problem.scope for problem in found.problems if problem.scope is not None}
    held = {key for key in found.removals if _protected(key, scopes)}
    occupied = held.union(*(keys.ancestors(key) for key in held))
    removable = {key: each for key, each in found.removals.items() if key not in occupied}
    files = sum(1 for key in held if not key.endswith("/"))
    reason = "they may belong to entries that were skipped"
    return removable, (Withheld(files, reason),) if files else ()


def _distrust(found: Difference, guards: DeleteGuards) -> str:
    """Give the reason not to believe any removal at all, or ""."""
    fatal = next((problem for problem in found.problems if problem.fatal), None)
    if fatal is not None:
        return f'the source could not be read completely: "{fatal.key}": {fatal.reason}'
    if not found.source_entries and not guards.allow_empty_source:
        return "the source is empty (sync.allow_empty_source permits that)"
    count = sum(1 for key in found.removals if not key.endswith("/"))
    total = found.target_entries
    allowed = count if guards.max_delete is None else guards.max_delete(total)
    if count > allowed:
        return (
            f"sync.max_delete allows {allowed} of {total} entries (--allow-deletes lifts it)"
        )
    return ""


def _protected(key: str, scopes: Collection[str]) -> bool:
    """Tell whether a key is one of the scopes or below one; a scope may lack its slash."""
    return (
        "" in scopes
        or key in scopes
        or key.removesuffix("/") in scopes
        or any(name in scopes or name[:-1] in scopes for name in keys.ancestors(key))
    )


def _make_way(
    wanted: list[Copy], found: Difference, removable: dict[str, Entry]
) -> tuple[list[Copy], dict[str, Entry], list[Problem]]:
    """Split copies into those that can be made, with what they clear, and those that are blocked."""
    copies: list[Copy] = []
    clears: dict[str, Entry] = {}
    blocked: list[Problem] = []
    removals = _Sorted(found.removals)
    for copy in wanted:
        key = copy.entry.key
        in_the_way = _in_the_way(key, found, removals)
        obstacle = next((each for each in in_the_way if not _may_clear(each, removable)), None)
        if obstacle is not None:
            reason = f'{obstacle.kind.value} "{obstacle.key}" stands in the way and stays'
            blocked.append(Problem(key, reason, scope=key))
            removable.pop(obstacle.key, None)  # a link is an extra too, but was said to stay
            continue
        for each in in_the_way:
            clears[each.key] = each
            if each.kind is Kind.DIRECTORY:
                inside = (name for name in removals.below(each.key) if name in removable)
                clears.update({name: removable[name] for name in inside})
        copies.append(copy._replace(blocked=True) if in_the_way else copy)
    return copies, clears, blocked


class _Sorted:
    """Keys in order, since a listing can have as many copies that something is in the way of as removals."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    def below(self, directory: str) -> list[str]:
        """Give a directory's key and every key below it."""
        first = bisect.bisect_left(self._names, directory)
        behind = f"{directory[:-1]}0"  # the character after the slash
        return self._names[first : bisect.bisect_left(self._names, behind)]


def _in_the_way(key: str, found: Difference, removals: _Sorted) -> list[Entry]:
    """List what the target has where a copy's directories must go, or its file.

    Args:
        key: the copy's.
        found: what the scans differ in.
        removals: the keys of what is to be removed; S3 has the directories above them without listing them.
    """

    def held(name: str) -> Entry | None:
        return found.removals.get(name) or found.obstacles.get(name)

    above = [key, *keys.ancestors(key)] if key.endswith("/") else list(keys.ancestors(key))
    names = [name for directory in above for name in (directory, directory[:-1])]
    blocking = [
        each for name in names if (each := held(name)) and each.kind is not Kind.DIRECTORY
    ]
    at_its_place = f"{key}/"
    if directory := held(at_its_place):
        blocking.append(directory)
    elif at_its_place in found.staying:
        blocking.append(Entry(at_its_place, kind=Kind.DIRECTORY))
    else:
        blocking += [found.removals[name] for name in removals.below(at_its_place)]
    return blocking


def _may_clear(entry: Entry, removable: dict[str, Entry]) -> bool:
    """Tell whether what stands in the way may go: a link never does, nor what a guard holds back."""
    return entry.kind in (Kind.FILE, Kind.DIRECTORY) and entry.key in removable
