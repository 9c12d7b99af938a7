"""Decide what a run does to one mapping. Pure: no disk, no network, no clock, no log.

    scan, scan -> compare.difference -> (hash what must be checked) -> make_plan -> Plan

A hole in a listing looks like a deletion, so nothing is concluded from absence until both scans have ended, and a
delete is withheld wherever absence is in doubt. These are all rules that can withhold a delete: what lifts each of
them for good reasons, and where it is applied.

Nothing of the mapping is changed:

| rule | lifted by | applied in |
|---|---|---|
| the command line names other mappings | `--map` | run/run.py: Run._run_mappings |
| another run holds the lock | its end | run/state_directory.py: locked_state |
| another run is active in the directory | its end | stores/local/target.py: LocalTarget.lock |
| another user could write config or state | permissions | config/ownership.py: trust_problem |
| the hook `before` fails | the hook | run/hooks.py: Hooks.before |
| the mapping is wrong, or overlaps another one | the map file | run/mappings.py: load_mappings |
| config or credentials cannot be used | the config | stores/s3/access.py: Resolved |
| a master's directory cannot be opened | mounting it | run/sides.py: _source_directory |
| a slave's directory cannot be opened | permissions | stores/local/target.py: open_target |
| S3 refuses to list, or does not answer | access, network | stores/s3/answers.py: meaning_of |
| the answer is no listing | a correct answer | stores/s3/listing.py: parse_page |
| the listing is incomplete or contradicts itself | a correct listing | stores/s3/listing.py: Listing |
| pages requested ahead may leave out keys | page after page | stores/s3/prefix.py: S3Prefix._page |
| nothing has been published to the channel | a publication | snapshots/place.py: Place.channel |
| a snapshot is damaged, incomplete or of another mapping | a publication | snapshots/manifest.py: decode_snapshot |
| an empty prefix is not published | `sync.allow_empty_source` | snapshots/publishing.py: SnapshotPublisher._attempt |
| a chunk of a snapshot is missing or damaged | a publication | snapshots/chunks.py: unpack |
| the sequence number of a channel fell | a publication | snapshots/following.py: follow |
| keys come in another order | a sorted scan | plan/compare.py: pair_up |
| one key is listed twice | a correct listing | stores/s3/sorted_listing.py: sorted_by_key |
| a part of the target cannot be read | permissions | plan/compare.py: difference |
| the source lacks a key of `files` | the map file | plan/compare.py: difference |
| a disk fails, or S3 does, while files are hashed | a correct read | run/hashing.py: equal_by_hash |
| the source holds nothing at all | `sync.allow_empty_source` | plan/plan.py: _require_source |
| `--dry-run` | leaving it out | run/mapping_run.py: MappingRun._execute |

The plan withholds every delete of the mapping:

| rule | lifted by | applied in |
|---|---|---|
| `extras: keep`, the default with `files` | `extras: delete` | plan/plan.py: _apply_guards |
| a part of the source cannot be read | permissions | plan/plan.py: _reason_to_keep_all |
| a name at the source is not UTF-8 | renaming it | plan/compare.py: _objection |
| a master's disk is no longer mounted | `--allow-deletes` | stores/local/walk.py: Walk._check_mount |
| the source holds no file | `sync.allow_empty_source` | plan/plan.py: _reason_to_keep_all |
| there are more than `sync.max_delete` | `--allow-deletes` | plan/plan.py: _reason_to_keep_all |

The plan withholds single deletes:

| rule | lifted by | applied in |
|---|---|---|
| `ignore` matches the entry | the map file | plan/compare.py: _Comparison._take_extra |
| it is a special file or a mount point | removing it | plan/compare.py: _Comparison._take_extra |
| it is the agent's own, or the file system's | | plan/keys.py: is_left_alone |
| the directory contains an entry that stays | that entry | plan/compare.py: _Comparison._stays |
| a skipped entry of the source may stand for it | that entry | plan/plan.py: _is_in_scope |
| a link, or what stays, is in the way of a copy | removing it | plan/plan.py: _may_clear |

Carrying the plan out withholds deletes:

| rule | lifted by | applied in |
|---|---|---|
| the source still has the key | a correct listing | run/execute.py: carry_out |
| the source does not answer for the key | the next run | run/deleting.py: find_present |
| a copy of the mapping failed | the next run | run/execute.py: carry_out |
| the same, for what is in the way of copies | the next run | run/execute.py: _copy_blocked |
| the copy that it is in the way of was skipped | the next run | run/execute.py: _split |
| a full disk, or many failures, end the mapping | the next run | run/copying.py: stage_all |
| a signal or `sync.run_timeout` ends the run | the next run | run/deleting.py: delete_entries |
| the directory is not empty | the next run | stores/local/target.py: LocalTarget.delete |
| the file has become a directory | the next run | stores/local/trash.py: Trash.take |
| no request names the object safely | deleting by hand | stores/s3/target.py: S3Target.delete |

`--allow-deletes` lifts what `lifted` says and nothing else; `run/mapping_run.py` calls it, and nothing else reads that
option.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from s32s_agent.errors import DeletesRefused
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

_EMPTY = "the source is empty (sync.allow_empty_source: true accepts that)"
_CHECK_SOURCE = "check the source in the map file"


@dataclass(frozen=True, slots=True)
class DeleteGuards:
    """Which deletes this run believes, as far as the operator decides that."""

    max_delete: Callable[[int], int] | None
    """The target's number of entries -> how many of them one run may delete; None: any number."""
    allow_empty_source: bool = False
    require_known_mounts: bool = True
    """Where an earlier run found a mount in a master's directory, an empty directory is one that lost its mount."""


def lifted(guards: DeleteGuards) -> DeleteGuards:
    """Return the guards of a run with `--allow-deletes`."""
    return replace(guards, max_delete=None, require_known_mounts=False)


def make_plan(
    found: Difference,
    same: Collection[str],
    extras: Extras,
    guards: DeleteGuards,
    hint: str = "",
) -> Plan:
    """Return every action of a mapping, with the guards applied.

    Args:
        found: what the scans differ in.
        same: the keys of its checks whose bytes were found to be equal.
        extras: what happens to what the source does not have.
        guards: how many deletes are believed.
        hint: what may have been meant where the source is empty, for people.

    Raises:
        DeletesRefused: the source holds nothing at all, and no delete follows from that which could be withheld.
    """
    _require_source(found, extras, guards, hint)
    troubled = {problem.key for problem in found.problems}
    wanted = [copy for copy in found.copies if copy.entry.key not in troubled]
    wanted += [
        Copy(check.entry, check.why, check.found)
        for check in found.checks
        if check.entry.key not in troubled and check.entry.key not in same
    ]
    wanted.sort(key=lambda copy: copy.entry.key)
    removable, withheld = _apply_guards(found, extras, guards, hint)
    copies, clears, blocked = _clear_the_way(wanted, found, removable)
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
    """Return the number of deletes as people count them: the files; directories only where there is nothing else."""
    every = list(names)
    return sum(1 for name in every if not name.endswith("/")) or len(every)


def _innermost_first(entries: Iterable[Entry]) -> tuple[Delete, ...]:
    return tuple(
        Delete(entry) for entry in sorted(entries, key=lambda entry: entry.key, reverse=True)
    )


def _require_source(
    found: Difference, extras: Extras, guards: DeleteGuards, hint: str
) -> None:
    """Refuse an empty source that would pass for one that is in sync: a prefix with a typing mistake is empty too."""
    is_withheld = found.removals and extras is not Extras.KEEP
    if found.is_source_bare and not guards.allow_empty_source and not is_withheld:
        remedy = (
            f"{hint or _CHECK_SOURCE}; sync.allow_empty_source: true accepts an empty source"
        )
        raise DeletesRefused("the source is empty", remedy=remedy)


def _apply_guards(
    found: Difference, extras: Extras, guards: DeleteGuards, hint: str
) -> tuple[dict[str, Entry], tuple[Withheld, ...]]:
    """Return what may be removed, by key, and what is withheld and why."""
    if extras is Extras.KEEP or not found.removals:
        return {}, ()
    if reason := _reason_to_keep_all(found, guards, hint):
        return {}, (Withheld(count_deletes(found.removals), reason),)
    scopes = {problem.scope for problem in found.problems if problem.scope is not None}
    held = {key for key in found.removals if _is_in_scope(key, scopes)}
    occupied = held.union(*(keys.ancestors(key) for key in held))
    removable = {key: each for key, each in found.removals.items() if key not in occupied}
    files = sum(1 for key in held if not key.endswith("/"))
    reason = "they may belong to entries that were skipped"
    return removable, (Withheld(files, reason),) if files else ()


def _reason_to_keep_all(found: Difference, guards: DeleteGuards, hint: str) -> str:
    """Return the reason to remove nothing at all, or ""."""
    fatal = next((problem for problem in found.problems if problem.fatal), None)
    if fatal is not None:
        return f'incomplete listing of the source: "{fatal.key}": {fatal.reason}'
    if not found.source_entries and not guards.allow_empty_source:
        return "; ".join(filter(None, (_EMPTY, hint)))
    count = sum(1 for key in found.removals if not key.endswith("/"))
    total = found.target_entries
    allowed = count if guards.max_delete is None else guards.max_delete(total)
    if count > allowed:
        return (
            f"sync.max_delete allows {allowed} of {total} entries (--allow-deletes lifts it)"
        )
    return ""


def _is_in_scope(key: str, scopes: Collection[str]) -> bool:
    """Return whether a key is one of the scopes or below one; a scope may lack its slash."""
    return (
        "" in scopes
        or key in scopes
        or key.removesuffix("/") in scopes
        or any(name in scopes or name[:-1] in scopes for name in keys.ancestors(key))
    )


def _clear_the_way(
    wanted: list[Copy], found: Difference, removable: dict[str, Entry]
) -> tuple[list[Copy], dict[str, Entry], list[Problem]]:
    """Split copies into those that can be made, with what must go first, and problems for the others."""
    copies: list[Copy] = []
    clears: dict[str, Entry] = {}
    blocked: list[Problem] = []
    removals = _Sorted(found.removals)
    for copy in wanted:
        key = copy.entry.key
        in_the_way = _in_the_way(key, found, removals)
        obstacle = next((each for each in in_the_way if not _may_clear(each, removable)), None)
        if obstacle is not None:
            reason = f'{obstacle.kind.value} "{obstacle.key}" is in the way and is kept'
            blocked.append(Problem(key, reason, scope=key))
            removable.pop(
                obstacle.key, None
            )  # a link is an extra too, but was reported as kept
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
        """Return a directory's key and every key below it."""
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
    """Return whether what is in the way may go: a link never does, nor what a guard withholds."""
    return entry.kind in (Kind.FILE, Kind.DIRECTORY) and entry.key in removable
