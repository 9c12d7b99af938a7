"""Copy many entries: stage them side by side, publish them in batches, and write the index.

Workers stage and return a value; the caller's thread publishes, writes the index and reports.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from s32s_agent.cancellation import Heartbeat
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    DirectoryError,
    StoreUnavailable,
)
from s32s_agent.model import Copy, IndexRow, Outcome, Status
from s32s_agent.run.context import MappingContext
from s32s_agent.run.staging import SpaceMaker, stage_entry
from s32s_agent.run.waiting import Failures, Waiting
from s32s_agent.stores.base import Published, Staged
from s32s_agent.workers import Growth, in_parallel_or_idle

BATCH_ENTRIES = 256
BATCH_BYTES = 256 << 20
BATCH_SECONDS = 1.0
"""A batch is published when it reaches any of these: one sync then serves many small files."""
SMALL_BYTES = 256 << 10
SMALL_AT_ONCE = 8
"""Of entries up to `SMALL_BYTES`, which mostly wait, so many times as many as there are workers may be under way."""
MAX_THREADS = 256


@dataclass(slots=True)
class Batch:
    """Staged entries that wait to be published together."""

    held: bool = False
    """It takes any number, since nothing may be published yet."""
    staged: deque[tuple[Staged, float]] = field(default_factory=deque)
    """Each with the seconds that staging took."""
    unpublished: dict[str, Staged] = field(default_factory=dict)
    """By key, whatever has been staged and not published, also what the workers have not handed over yet."""
    bytes: int = 0
    since: float = 0.0

    def add(self, staged: Staged, seconds: float) -> None:
        """Add an entry that took so many seconds to stage."""
        if not self.staged:
            self.since = time.monotonic()
        self.staged.append((staged, seconds))
        self.bytes += staged.copy.entry.size

    def take(self) -> list[tuple[Staged, float]]:
        """Remove and return the first entries, as many as are published together."""
        self.bytes = 0
        return [self.staged.popleft() for _ in range(min(BATCH_ENTRIES, len(self.staged)))]

    @property
    def full(self) -> bool:
        """Whether it is to be published now."""
        waited = time.monotonic() - self.since
        return bool(self.staged and not self.held) and (
            len(self.staged) >= BATCH_ENTRIES
            or self.bytes >= BATCH_BYTES
            or waited >= BATCH_SECONDS
        )


@contextlib.contextmanager
def new_batch(context: MappingContext, *, held: bool = False) -> Iterator[Batch]:
    """Return a batch; at the end the target discards what was staged and not published.

    Args:
        context: of the mapping.
        held: nothing may be published yet, so it takes any number.
    """
    batch = Batch(held)
    try:
        yield batch
    finally:
        for staged in list(batch.unpublished.values()):
            context.target.discard(staged)


def stage_all(
    copies: Sequence[Copy], batch: Batch, context: MappingContext
) -> Iterator[Outcome]:
    """Stage copies side by side, publish the batch whenever it is full, and yield what became of each.

    Raises:
        AgentError: an entry did not fit on the disk, or so many failed in a row, also elsewhere, that the others would
            fail, too. What is staged has been published, unless the batch is held.
    """
    waiting = Waiting(copies)
    failures = Failures(waiting)
    try:
        with contextlib.closing(_staged(waiting, len(copies), batch, context)) as results:
            for each in results:
                if each is None:
                    context.meter.refresh()
                elif isinstance(result := each[1], Exception):
                    yield _failure(each[0], result)
                    if failures.add(each[0], result):
                        raise result
                else:
                    failures.begin_again()
                    batch.add(*result)
                if batch.full:
                    yield from publish_batch(batch, context)
        if failures.disk_full:
            raise failures.disk_full
    except (StoreUnavailable, AccessDenied, DirectoryError):
        # What came whole is not fetched again by the next run.
        while batch.staged and not batch.held:
            yield from publish_batch(batch, context)
        raise


def _staged(
    copies: Iterable[Copy], count: int, batch: Batch, context: MappingContext
) -> Generator[tuple[Copy, tuple[Staged, float] | Exception] | None, None, None]:
    """Stage copies in threads, more of the small ones than of the large ones; yield None while there is no result."""
    space = SpaceMaker(context.target)
    large = threading.BoundedSemaphore(context.workers)

    def stage(copy: Copy, heartbeat: Heartbeat) -> tuple[Staged, float]:
        if copy.entry.size <= SMALL_BYTES:
            return stage_timed(copy, heartbeat)
        heartbeat.acquire(large)
        try:
            return stage_timed(copy, heartbeat)
        finally:
            large.release()

    def stage_timed(copy: Copy, heartbeat: Heartbeat) -> tuple[Staged, float]:
        started = time.monotonic()
        staged = stage_entry(copy, context, space, heartbeat)
        batch.unpublished[copy.entry.key] = staged
        return staged, time.monotonic() - started

    workers = min(context.workers, count)
    most = max(context.workers, min(context.workers * SMALL_AT_ONCE, MAX_THREADS))
    growth = Growth(min(most, count))
    return in_parallel_or_idle(stage, copies, workers, context.cancel_token, growth)


def _failure(copy: Copy, error: Exception) -> Outcome:
    if not isinstance(error, AgentError):
        raise error
    return Outcome.of_error(copy.entry.key, error, copy.why)


def publish_batch(batch: Batch, context: MappingContext) -> Iterator[Outcome]:
    """Publish the first entries of a batch, write the index, and yield what became of each."""
    taken = batch.take()
    for staged, _ in taken:
        del batch.unpublished[staged.copy.entry.key]
    seconds = {staged.copy.entry.key: each for staged, each in taken}
    published = list(context.target.publish([staged for staged, _ in taken]))
    context.index.remember(_row(each) for each in published if _is_to_remember(each))
    for each in published:
        context.meter.count_entry()
        yield _outcome(each, seconds[each.staged.copy.entry.key])


def _outcome(published: Published, seconds: float) -> Outcome:
    staged = published.staged
    entry, why = staged.copy.entry, staged.copy.why
    if published.error is not None:
        return Outcome.of_error(entry.key, published.error, why)
    return Outcome(Status.COPIED, entry.key, entry.size, why, seconds, staged.verified)


def _is_to_remember(published: Published) -> bool:
    return published.error is None and published.stamp is not None


def _row(published: Published) -> IndexRow:
    staged = published.staged
    assert published.stamp is not None  # noqa: S101 (for the type checker)
    return IndexRow(staged.copy.entry.key, staged.etag, published.stamp)
