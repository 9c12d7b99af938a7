"""Decide what a pass does to one mapping. The only place with rules; pure: no disk, no network, no clock, no log.

    scan, scan -> pair_up -> difference -> (hash what must be checked) -> make_plan -> Plan

`difference` streams over both scans in key order and keeps only what differs, so memory
follows the number of changes. It draws no conclusion from absence until both scans have ended,
since a hole in a listing looks like a deletion.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from s32s_agent import keys
from s32s_agent.errors import DirectoryError, ListingInconsistent, MapError
from s32s_agent.etags import may_name_same_bytes
from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    Extras,
    Kind,
    Mapping,
    Plan,
    Problem,
    Why,
    Withheld,
)

Scan: TypeAlias = Iterable[Entry | Problem]

_NEVER_TOUCHED = {
    Kind.SPECIAL: "a FIFO, socket or device is left alone",
    Kind.MOUNT: "another file system is mounted here, which is left alone",
}


class OutOfOrder(ListingInconsistent):
    """A scan did not come in key order; a store that knows may be scanned again, sorted."""


@dataclass(frozen=True, slots=True)
class Guards:
    """How many deletes are believed."""

    max_delete: Callable[[int], int]
    """The target's number of entries -> how many of them one pass may delete."""
    allow_empty_source: bool = False
    allow_deletes: bool = False
    """Lift `max_delete` for this pass."""


@dataclass(slots=True)
class Difference:
    """What two scans differ in; complete once `difference` has returned it."""

    copies: list[Copy] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    removals: dict[str, Entry] = field(default_factory=dict)
    """What only the target has, directories too."""
    obstacles: dict[str, Entry] = field(default_factory=dict)
    """What only the target has and what is never touched: special files, mount points."""
    staying: set[str] = field(default_factory=set)
    """Directories at the target with something in them that stays though the source lacks it."""
    forgotten: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unchanged: int = 0
    """Files."""
    source_entries: int = 0
    """Files: a directory that is left over proves no disk to be mounted."""
    target_entries: int = 0
    """Files and links that the mapping concerns: what a percentage is taken of."""


def pair_up(
    source: Iterable[Entry], target: Iterable[Entry]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Walk two scans in lock step and yield what they have at each key, in key order.

    Raises:
        OutOfOrder: a scan is not strictly increasing, so that pairs would be missed.
    """
    sources, targets = iter(source), iter(target)
    a, b = next(sources, None), next(targets, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.key < b.key):
            yield a, None
            a = _after(a, sources, "source")
        elif a is None or b.key < a.key:
            yield None, b
            b = _after(b, targets, "target")
        else:
            yield a, b
            a, b = _after(a, sources, "source"), _after(b, targets, "target")


def _after(previous: Entry | None, entries: Iterator[Entry], side: str) -> Entry | None:
    entry = next(entries, None)
    if entry is not None and previous is not None and entry.key <= previous.key:
        raise OutOfOrder(f'the {side} lists "{entry.key}" after "{previous.key}"')
    return entry


def difference(source: Scan, target: Scan, mapping: Mapping) -> Difference:
    """Compare two scans.

    Raises:
        OutOfOrder: a scan is not in key order.
        DirectoryError: a part of the target could not be looked at.
        MapError: a file that the mapping names is not at the source.
        AgentError: whatever a scan raises; then nothing is known about either side.
    """
    found = Difference()
    blind_spots: list[Problem] = []
    comparison = _Comparison(found, mapping)
    pairs = pair_up(_concerned(source, mapping, found), _entries(target, mapping, blind_spots))
    for here, there in pairs:
        comparison.take(here, there)
    comparison.end()
    if unseen := next((problem for problem in blind_spots if problem.fatal), None):
        raise DirectoryError(f'target "{unseen.key}": {unseen.reason}')
    found.problems += blind_spots
    if comparison.missing and not any(problem.fatal for problem in found.problems):
        names = [f'"{key}" is not at the source' for key in sorted(comparison.missing)]
        raise MapError(f'mapping "{mapping.name}", files', names)
    return found


def _entries(scan: Scan, mapping: Mapping, problems: list[Problem]) -> Iterator[Entry]:
    """Yield the entries of a scan, and collect its problems, but for those that the mapping is not about."""
    ignored = keys.matcher(mapping.ignore)
    for each in scan:
        if not isinstance(each, Problem):
            yield each
        elif not ignored(each.key) and _may_hide_a_file(each.key, mapping):
            problems.append(each)


def _may_hide_a_file(key: str, mapping: Mapping) -> bool:
    return mapping.files is None or any(file.startswith(key) for file in mapping.files)


def _concerned(scan: Scan, mapping: Mapping, found: Difference) -> Iterator[Entry]:
    """Yield the source's entries that the mapping is about and that a target can hold."""
    ignored = keys.matcher(mapping.ignore)
    files: list[str] = []
    """The files whose names begin the current key: `a`, `a-b`, `a-b.c`."""
    clashing: set[str] = set()
    """The files that something is below."""
    for entry in _entries(scan, mapping, found.problems):
        key = entry.key
        if mapping.files is not None and key not in mapping.files:
            continue
        if mapping.ignore and ignored(key):
            continue
        if problem := _objection(entry):
            found.problems.append(problem)
            continue
        while files and not key.startswith(files[-1]):
            files.pop()
        if entry.kind is Kind.GONE:  # it can clash with nothing
            yield entry
            continue
        if file := next((file for file in files if key.startswith(file + "/")), None):
            found.problems += _clash(file, key, is_known=file in clashing)
            clashing.add(file)
            continue
        if not key.endswith("/"):
            files.append(key)
        yield entry


def _objection(entry: Entry) -> Problem | None:
    """Say why a source's entry cannot be mirrored, and what that puts in doubt at the target."""
    key = entry.key
    if entry.kind is Kind.LINK:
        return Problem(key, "symbolic links are skipped (sync.symlinks)", key, expected=True)
    if entry.kind in _NEVER_TOUCHED:
        return Problem(key, _NEVER_TOUCHED[entry.kind], key)
    if reason := keys.unmappable(key):
        # A mangled name may stand for any beside it, a name that is no text for any at all.
        readable, mangled, _ = key.partition("\ufffd")
        scope = readable[: readable.rfind("/") + 1] if mangled else None
        return Problem(key, reason, scope, fatal=keys.is_no_text(key))
    return None


def _clash(file: str, key: str, *, is_known: bool) -> Iterator[Problem]:
    """Report a file and an entry below it: no directory holds both, so what is here stays."""
    if not is_known:
        yield Problem(file, "it is a file and a directory at once", scope=file)
    yield Problem(key, f'"{file}" is a file, so nothing can be below it', scope=key)


class _Comparison:
    """The rules for one pair after the other.

    | source | target | | |
    |---|---|---|---|
    | file | nothing | copy | `new` |
    | file | only the index knows it | copy | `missing_locally` |
    | file | other size | copy | `size`, or `local_changed` when the index knows the file |
    | file | same size, same ETag | nothing | |
    | file | same size, other ETag | copy, or check where both can name the same bytes | `etag` |
    | file | same size, not vouched | check | `local_changed` when the index knows it, else `etag` |
    | file | link | copy | `new` |
    | file | special | nothing, reported | |
    | directory | nothing | copy, when nothing follows in it | `new` |
    | directory | mount | nothing, reported | |
    | nothing | file, link | removal | |
    | nothing | directory | removal, when the source has nothing in it | |
    | nothing | special, mount | nothing, reported | |
    | nothing | only the index knows it | forget it | |
    """

    def __init__(self, found: Difference, mapping: Mapping) -> None:
        self.found = found
        self.ignored = keys.matcher(mapping.ignore)
        self.missing = set(mapping.files or ())
        self.new_directory: Entry | None = None
        """The source's, until it shows whether something follows in it."""
        self.lonely_directories: list[Entry] = []
        """The target's, outermost first, until it shows whether the source has something there."""

    def take(self, source: Entry | None, target: Entry | None) -> None:
        """Judge what both sides have at one key."""
        key = (source or target or Entry("")).key
        if self.new_directory is not None or self.lonely_directories:
            self._leave_directories(key)
        if source is not None and source.kind is not Kind.GONE:
            self.found.source_entries += source.kind is Kind.FILE
            self.missing.discard(key)
            self.new_directory = None
            self.lonely_directories.clear()
            self._take_source(source, target)
        elif target is not None:
            self._take_extra(target)
        else:
            self.found.forgotten.append(key)

    def end(self) -> None:
        """Judge what was waiting for a later key."""
        self._leave_directories(None)

    def _leave_directories(self, key: str | None) -> None:
        def left(directory: Entry) -> bool:
            return key is None or not key.startswith(directory.key)

        if self.new_directory is not None and left(self.new_directory):
            self.found.copies.append(Copy(self.new_directory, Why.NEW))
            self.new_directory = None
        while self.lonely_directories and left(self.lonely_directories[-1]):
            directory = self.lonely_directories.pop()
            self.found.removals[directory.key] = directory

    def _take_source(self, source: Entry, target: Entry | None) -> None:
        found = self.found
        if target is not None and target.kind in (Kind.FILE, Kind.LINK):
            found.target_entries += 1
        if source.kind is Kind.DIRECTORY:
            if target is None:
                self.new_directory = source
            elif target.kind in _NEVER_TOUCHED:
                self._note_obstacle(target)
        elif target is None:
            found.copies.append(Copy(source, Why.NEW))
        elif target.kind is Kind.GONE:
            found.copies.append(Copy(source, Why.MISSING_LOCALLY))
        elif target.kind in _NEVER_TOUCHED:
            self._note_obstacle(target)
        elif target.kind is Kind.LINK:
            found.copies.append(Copy(source, Why.NEW, target))
        else:
            self._take_files(source, target)

    def _take_files(self, source: Entry, target: Entry) -> None:
        found = self.found
        edited = source.edited or target.edited
        if source.size != target.size:
            why = Why.LOCAL_CHANGED if edited else Why.SIZE
            found.copies.append(Copy(source, why, target))
        elif source.etag is None or target.etag is None:
            why = Why.LOCAL_CHANGED if edited else Why.ETAG
            found.checks.append(Check(source, target, why))
        elif source.etag == target.etag:
            found.unchanged += 1
        elif may_name_same_bytes(source.etag, target.etag):
            found.checks.append(Check(source, target, Why.ETAG))
        else:
            found.copies.append(Copy(source, Why.ETAG, target))

    def _take_extra(self, target: Entry) -> None:
        found = self.found
        if target.kind is Kind.GONE:
            found.forgotten.append(target.key)
        elif self.ignored(target.key):
            self._stays()
        elif target.kind in _NEVER_TOUCHED:
            self._note_obstacle(target)
            self._stays()
        elif target.kind is Kind.DIRECTORY:
            self.lonely_directories.append(target)
        else:
            found.target_entries += 1
            found.removals[target.key] = target

    def _note_obstacle(self, target: Entry) -> None:
        reason = _NEVER_TOUCHED[target.kind]
        self.found.problems.append(Problem(target.key, reason, target.key))
        self.found.obstacles[target.key] = target

    def _stays(self) -> None:
        self.found.staying.update(directory.key for directory in self.lonely_directories)
        self.lonely_directories.clear()


def make_plan(
    found: Difference, same: Collection[str], extras: Extras, guards: Guards
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
    found: Difference, extras: Extras, guards: Guards
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


def _distrust(found: Difference, guards: Guards) -> str:
    """Give the reason not to believe any removal at all, or ""."""
    fatal = next((problem for problem in found.problems if problem.fatal), None)
    if fatal is not None:
        return f'the source could not be read completely: "{fatal.key}": {fatal.reason}'
    if not found.source_entries and not guards.allow_empty_source:
        return "the source is empty (sync.allow_empty_source permits that)"
    count = sum(1 for key in found.removals if not key.endswith("/"))
    allowed = guards.max_delete(found.target_entries)
    if count > allowed and not guards.allow_deletes:
        total = found.target_entries
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
