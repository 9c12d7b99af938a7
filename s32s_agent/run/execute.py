"""Carry out a plan: copy, clear the way for what is blocked, and only then delete.

Workers do one thing each and return a value; the caller's thread publishes, writes the index and reports. Nothing is
decided here but whether to go on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Blocked,
    DeletesRefused,
    DirectoryError,
    DiskFull,
    EntryUnreadable,
    ListingInconsistent,
    StoreUnavailable,
)
from s32s_agent.model import (
    Copy,
    Delete,
    IndexRow,
    Kind,
    Outcome,
    Plan,
    Status,
    Withheld,
)
from s32s_agent.plan import keys
from s32s_agent.plan.plan import count_deletes
from s32s_agent.run.context import Means
from s32s_agent.run.staging import _Room, _stage
from s32s_agent.stores.base import Published, Staged
from s32s_agent.workers import Spare, in_parallel, in_parallel_or_idle, patiently

BATCH_ENTRIES = 256
BATCH_BYTES = 256 << 20
BATCH_SECONDS = 1.0
"""A batch is published when it reaches any of these: one sync then serves many small files."""
SMALL_BYTES = 256 << 10
SMALL_AT_ONCE = 8
"""Of entries up to `SMALL_BYTES`, which mostly wait, so many times as many as there are workers may be under way."""
MOST_THREADS = 256
HOPELESS = 24
"""So many failures in a row, all of them the store's or the directory's, end the mapping."""
_HOPELESS = (StoreUnavailable, AccessDenied, DirectoryError)
_SKIPPED = "what was to take their place was skipped"
_INCOMPLETE = 'the source was not listed completely: "{}" exists'


# --- the entries that may be alike already ---


# --- a plan ---


def carry_out(
    plan: Plan, means: Means, leftovers: Sequence[str] = ()
) -> Iterator[Outcome | Withheld]:
    """Do what the plan says and yield what became of each action.

    The index learns of an entry after the entry is published, and forgets a key after it is gone.

    Args:
        plan: what to do.
        means: what it is done with.
        leftovers: what the scan of the target met of an earlier run.

    Raises:
        ListingInconsistent: something that the source was thought to lack is there.
        AgentError: nothing more can be done in this mapping.
    """
    for place, error in means.target.remove_leftovers(leftovers, plan.copies).items():
        yield Outcome(Status.SKIPPED, place, error=error)
    means.index.forget(plan.forgotten)
    if present := _still_there(plan.clears, means):
        raise ListingInconsistent(_INCOMPLETE.format(present))
    failures = _Failures()
    yield from failures.counted(_copy(plan, means))
    if plan.clears:
        yield from _copy_blocked(plan, means, failures)
    if not plan.deletes:
        return
    if failures.count:
        yield _withheld(plan.deletes, failures.reason, is_consequence=True)
    elif present := _still_there(plan.deletes, means):
        yield _withheld(plan.deletes, _INCOMPLETE.format(present))
    else:
        yield from _delete(plan.deletes, means)


@dataclass(slots=True)
class _Failures:
    """The copies that failed so far."""

    count: int = 0
    last: Exception | None = None

    def counted(self, outcomes: Iterable[Outcome | Withheld]) -> Iterator[Outcome | Withheld]:
        """Pass outcomes on."""
        for each in outcomes:
            if isinstance(each, Outcome) and each.status is Status.FAILED:
                self.count += 1
                self.last = each.error
            yield each

    @property
    def reason(self) -> str:
        return f"{self.count} entries could not be copied"


def _withheld(
    deletes: Iterable[Delete], reason: str, *, is_consequence: bool = False
) -> Withheld:
    count = count_deletes(each.entry.key for each in deletes)
    return Withheld(count, reason, is_consequence)


def _still_there(deletes: Iterable[Delete], means: Means) -> str:
    """Ask the source for every key that is to be deleted; give the first that exists, or "".

    A directory is only ever removed empty, so it needs no asking.
    """
    files = [each.entry.key for each in deletes if each.entry.kind is not Kind.DIRECTORY]
    results = in_parallel(
        means.source.confirm_absent, files, means.workers, means.cancel_token, means.draw
    )
    with contextlib.closing(results):
        for key, absent in results:
            means.draw()
            if isinstance(absent, Exception):
                raise absent
            if not absent:
                return key
    means.cancel_token.check()
    return ""


def _delete(deletes: Sequence[Delete], means: Means) -> Iterator[Outcome]:
    """Delete files side by side, then directories one after the other, innermost first."""
    files = [each for each in deletes if each.entry.kind is not Kind.DIRECTORY]
    directories = [each for each in deletes if each.entry.kind is Kind.DIRECTORY]
    gone: list[str] = []
    try:
        for some, workers in ((files, means.workers), (directories, 1)):
            results = in_parallel(
                lambda each: means.target.delete(each.entry), some, workers, means.cancel_token
            )
            with contextlib.closing(results):
                for delete, removed in results:
                    yield from _deleted(delete.entry.key, removed, gone)
                    means.progress(1, 0)
            means.cancel_token.check()
    finally:
        means.index.forget(gone)


def _deleted(key: str, removed: object, gone: list[str]) -> Iterator[Outcome]:
    if isinstance(removed, AgentError):
        yield Outcome(Status.FAILED, key, error=removed)
    elif isinstance(removed, Exception):
        raise removed
    elif removed:
        gone.append(key)
        yield Outcome(Status.DELETED, key)


@dataclass(slots=True)
class _Batch:
    """Staged entries that wait to be published together."""

    held: bool = False
    """It takes any number, since nothing may be published yet."""
    staged: deque[tuple[Staged, float]] = field(default_factory=deque)
    unpublished: dict[str, Staged] = field(default_factory=dict)
    """By key, whatever has been staged and not published, also what the workers have not handed over yet."""
    bytes: int = 0
    since: float = 0.0

    def add(self, staged: Staged, seconds: float) -> None:
        if not self.staged:
            self.since = time.monotonic()
        self.staged.append((staged, seconds))
        self.bytes += staged.copy.entry.size

    def take(self) -> list[tuple[Staged, float]]:
        self.bytes = 0
        return [self.staged.popleft() for _ in range(min(BATCH_ENTRIES, len(self.staged)))]

    @property
    def full(self) -> bool:
        waited = time.monotonic() - self.since
        return bool(self.staged and not self.held) and (
            len(self.staged) >= BATCH_ENTRIES
            or self.bytes >= BATCH_BYTES
            or waited >= BATCH_SECONDS
        )


def _copy(plan: Plan, means: Means) -> Iterator[Outcome]:
    """Copy what nothing stands in the way of."""
    batch = _Batch()
    with _discarded_at_last(batch, means):
        free = [copy for copy in plan.copies if not copy.blocked]
        yield from _stage_all(free, batch, means)
        yield from _publish(batch, means)
    means.cancel_token.check()


def _copy_blocked(
    plan: Plan, means: Means, failures: _Failures
) -> Iterator[Outcome | Withheld]:
    """Copy what something stands in the way of. That goes when the bytes are here and proven, and not before.

    When any copy of the mapping failed, it stays. A store that publishes on put takes the bytes only afterwards.
    """
    ready = [copy for copy in plan.copies if copy.blocked]
    early = [copy for copy in ready if not _must_be_late(copy, means)]
    late = [copy for copy in ready if _must_be_late(copy, means)]
    batch = _Batch(held=True)
    with _discarded_at_last(batch, means):
        if not failures.count:
            yield from failures.counted(_stage_all(early, batch, means))
            means.cancel_token.check()
            ready = [*(staged.copy for staged, _ in batch.staged), *late]
        if failures.count:
            yield from _held_back(ready, plan.clears, failures.reason, failures.last)
            return
        clears, others = _split(plan.clears, ready)
        if others:
            yield _withheld(others, _SKIPPED, is_consequence=True)
        if present := _still_there(clears, means):
            yield from _held_back(ready, clears, _INCOMPLETE.format(present))
            return
        yield from _clear(clears, means)
        while batch.staged:
            yield from failures.counted(_publish(batch, means))
        yield from failures.counted(_stage_all(late, batch, means))
        while batch.staged:
            yield from failures.counted(_publish(batch, means))
    means.cancel_token.check()


def _must_be_late(copy: Copy, means: Means) -> bool:
    return means.target.publishes_on_put or copy.entry.kind is Kind.DIRECTORY


def _split(
    clears: Iterable[Delete], copies: Iterable[Copy]
) -> tuple[list[Delete], list[Delete]]:
    """Tell what stands in the way of these copies from what does not."""
    places = {copy.entry.key.removesuffix("/") for copy in copies}
    above = {name[:-1] for copy in copies for name in keys.ancestors(copy.entry.key)}
    needed: list[Delete] = []
    others: list[Delete] = []
    for each in clears:
        key = each.entry.key
        parts = [name[:-1] for name in keys.ancestors(key)] + [key.removesuffix("/")]
        is_needed = key in above or not places.isdisjoint(parts)
        (needed if is_needed else others).append(each)
    return needed, others


def _held_back(
    copies: Iterable[Copy],
    clears: Iterable[Delete],
    reason: str,
    because: Exception | None = None,
) -> Iterator[Outcome | Withheld]:
    """Say of blocked copies that what is in their place stays.

    Args:
        copies: they are not made.
        clears: they stay.
        reason: why, as a half sentence.
        because: the failure that this is a consequence of; None when a guard holds them back.
    """
    for copy in copies:
        error = Blocked(copy.entry.key, reason, because or DeletesRefused(reason))
        yield Outcome(Status.SKIPPED, copy.entry.key, why=copy.why, error=error)
    yield _withheld(clears, reason, is_consequence=because is not None)


def _clear(clears: Sequence[Delete], means: Means) -> Iterator[Outcome]:
    """Remove what stands in the way, to the last of it, since what takes its place is here already."""
    if not means.target.publishes_on_put:
        means.target.make_durable()
        means = replace(means, cancel_token=CancelToken())
    yield from _delete(clears, means)


@contextlib.contextmanager
def _discarded_at_last(batch: _Batch, means: Means) -> Iterator[None]:
    """Have the target forget, when this is left, what was staged and not published."""
    try:
        yield
    finally:
        for staged in list(batch.unpublished.values()):
            means.target.discard(staged)


def _stage_all(copies: Sequence[Copy], batch: _Batch, means: Means) -> Iterator[Outcome]:
    """Stage copies side by side, and publish the batch whenever it is full."""
    room, hopeless = _Room(means.target), 0
    large = threading.BoundedSemaphore(means.workers)

    def stage(copy: Copy) -> tuple[Staged, float]:
        if copy.entry.size <= SMALL_BYTES:
            return stage_one(copy)
        patiently(large.acquire)
        try:
            return stage_one(copy)
        finally:
            large.release()

    def stage_one(copy: Copy) -> tuple[Staged, float]:
        started = time.monotonic()
        staged = _stage(copy, means, room)
        batch.unpublished[copy.entry.key] = staged
        return staged, time.monotonic() - started

    workers = min(means.workers, len(copies))
    most = max(means.workers, min(means.workers * SMALL_AT_ONCE, MOST_THREADS))
    spare = Spare(min(most, len(copies)))
    results = in_parallel_or_idle(stage, copies, workers, means.cancel_token, spare)
    with contextlib.closing(results):
        for each in results:
            if each is None:
                means.draw()
            elif isinstance(result := each[1], Exception):
                hopeless = hopeless + 1 if isinstance(result, _HOPELESS) else 0
                yield _failure(each[0], result)
                if hopeless >= HOPELESS or isinstance(result, DiskFull):
                    raise result
            else:
                hopeless = 0
                batch.add(*result)
            if batch.full:
                yield from _publish(batch, means)


def _failure(copy: Copy, error: Exception) -> Outcome:
    if isinstance(error, EntryUnreadable):
        return Outcome(Status.SKIPPED, copy.entry.key, why=copy.why, error=error)
    if not isinstance(error, AgentError):
        raise error
    return Outcome(Status.FAILED, copy.entry.key, why=copy.why, error=error)


def _publish(batch: _Batch, means: Means) -> Iterator[Outcome]:
    taken = batch.take()
    for staged, _ in taken:
        del batch.unpublished[staged.copy.entry.key]
    seconds = {staged.copy.entry.key: each for staged, each in taken}
    shown = list(means.target.publish([staged for staged, _ in taken]))
    means.index.remember(_row(each) for each in shown if _is_to_remember(each))
    for each in shown:
        entry, why = each.staged.copy.entry, each.staged.copy.why
        means.progress(1, 0)
        if each.error is not None:
            yield Outcome(Status.FAILED, entry.key, why=why, error=each.error)
            continue
        yield Outcome(
            Status.COPIED,
            entry.key,
            entry.size,
            why,
            seconds[entry.key],
            each.staged.verified,
        )


def _is_to_remember(published: Published) -> bool:
    return published.error is None and published.stamp is not None


def _row(published: Published) -> IndexRow:
    staged = published.staged
    assert published.stamp is not None  # noqa: S101 (for the type checker)
    return IndexRow(staged.copy.entry.key, staged.etag, published.stamp)
