"""Compare two scans: which entries differ, and what absence at the source may mean. Pure.

`difference` streams over both scans in key order and keeps only what differs, so memory follows the number of changes.
It concludes nothing from absence until both scans have ended, since a hole in a listing looks like a deletion.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from s32s_agent.errors import DirectoryError, ListingInconsistent, MapError
from s32s_agent.model import (
    Check,
    Copy,
    Entry,
    Kind,
    Mapping,
    Problem,
    Why,
)
from s32s_agent.plan import keys
from s32s_agent.plan.etags import may_name_same_bytes

Scan: TypeAlias = Iterable[Entry | Problem]


_NEVER_TOUCHED = {
    Kind.SPECIAL: "a FIFO, socket or device is never touched",
    Kind.MOUNT: "another file system is mounted here, which is never touched",
}
_NO_DIRECTORY = "an empty object whose key has an empty part stands for no directory"


class OutOfOrder(ListingInconsistent):
    """A scan is not in key order; a store that may do that is scanned again, sorted."""


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
    """Directories at the target that contain something that stays although the source lacks it."""
    forgotten: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unchanged: int = 0
    """Files."""
    is_source_bare: bool = True
    """Whether the source holds nothing at all, not even what `ignore` matches or what cannot be mirrored."""
    source_entries: int = 0
    """Files: a directory that is left over does not prove that the disk is mounted."""
    target_entries: int = 0
    """Files and links that the mapping concerns: what a percentage is taken of."""

    def changes_target(self, equal: Container[str]) -> bool:
        """Return whether something may be written or deleted, though files with these keys were found to be equal."""
        if self.copies or self.removals:
            return True
        return any(check.entry.key not in equal for check in self.checks)


def leave_out_directories(found: Difference) -> None:
    """Leave out the empty directories that would be copied, for a target that cannot keep any."""
    for copy in found.copies:
        if copy.entry.kind is Kind.DIRECTORY:
            reason = "the store keeps no empty directories"
            found.problems.append(Problem(copy.entry.key, reason, expected=True))
    found.copies = [copy for copy in found.copies if copy.entry.kind is not Kind.DIRECTORY]


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
        DirectoryError: a part of the target could not be read.
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
    found.is_source_bare = found.is_source_bare and not found.problems
    if unseen := next((problem for problem in blind_spots if problem.fatal), None):
        raise DirectoryError(f'target "{unseen.key}": {unseen.reason}')
    found.problems += blind_spots
    if comparison.missing and not any(problem.fatal for problem in found.problems):
        names = [f'"{key}" is not at the source' for key in sorted(comparison.missing)]
        raise MapError(f'mapping "{mapping.name}", files', names)
    return found


def _entries(scan: Scan, mapping: Mapping, problems: list[Problem]) -> Iterator[Entry]:
    """Yield the entries of a scan, and collect its problems, except those that do not concern the mapping."""
    ignored = keys.matcher(mapping.ignore)
    for each in scan:
        if not isinstance(each, Problem):
            yield each
        elif not ignored(each.key) and _may_hide_a_file(each.key, mapping):
            problems.append(each)


def _may_hide_a_file(key: str, mapping: Mapping) -> bool:
    return mapping.files is None or any(file.startswith(key) for file in mapping.files)


def _concerned(scan: Scan, mapping: Mapping, found: Difference) -> Iterator[Entry]:
    """Yield the source's entries that concern the mapping and that a target can hold."""
    ignored = keys.matcher(mapping.ignore)
    files: list[str] = []
    """The files whose names begin the current key: `a`, `a-b`, `a-b.c`."""
    clashing: set[str] = set()
    """The files that something is below."""
    for entry in _entries(scan, mapping, found.problems):
        key = entry.key
        if key.startswith(keys.PROBES):
            continue  # a master tries out the store, and removes this in a moment
        if entry.kind is not Kind.MISSING:
            found.is_source_bare = False
        if mapping.files is not None and key not in mapping.files:
            continue
        if mapping.ignore and ignored(key):
            continue
        if problem := _objection(entry):
            found.problems.append(problem)
            continue
        while files and not key.startswith(files[-1]):
            files.pop()
        if entry.kind is Kind.MISSING:  # it can clash with nothing
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
    """Return why a source's entry cannot be mirrored, and what it protects at the target; None when it can."""
    key = entry.key
    if entry.kind is Kind.LINK:
        return Problem(key, "symbolic links are skipped (sync.symlinks)", key, expected=True)
    if entry.kind in _NEVER_TOUCHED:
        return Problem(key, _NEVER_TOUCHED[entry.kind], key)
    if entry.kind is Kind.DIRECTORY and keys.names_no_directory(key):
        return Problem(key, _NO_DIRECTORY, expected=True)
    if reason := keys.unmappable(key):
        # A mangled name may stand for any beside it, a name that is no text for any at all.
        readable, mangled, _ = key.partition("\ufffd")
        scope = readable[: readable.rfind("/") + 1] if mangled else None
        return Problem(key, reason, scope, fatal=keys.is_no_text(key))
    return None


def _clash(file: str, key: str, *, is_known: bool) -> Iterator[Problem]:
    """Report a file and an entry below it: no directory can hold both, so what is at the target stays."""
    if not is_known:
        yield Problem(file, "it is both a file and a directory", scope=file)
    yield Problem(key, f'"{file}" is a file, so nothing can be inside it', scope=key)


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
        """Compare what both sides have at one key."""
        key = (source or target or Entry("")).key
        if self.new_directory is not None or self.lonely_directories:
            self._leave_directories(key)
        if source is not None and source.kind is not Kind.MISSING:
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
        """Settle what was waiting for a later key."""
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
        elif target.kind is Kind.MISSING:
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
        if target.kind is Kind.MISSING:
            found.forgotten.append(target.key)
        elif self.ignored(target.key):
            self._stays()
        elif target.kind in _NEVER_TOUCHED:
            self._note_obstacle(target)
            self._stays()
        elif target.kind is Kind.DIRECTORY:
            if not keys.names_no_directory(target.key):
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
