"""Carry out a plan: copy, clear the way for what is blocked, and only then delete.

The order of the work, and what a failure holds back, is here; `copying` and `deleting` do the work. Nothing is decided
but whether to continue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import Blocked, DeletesRefused, ListingInconsistent
from s32s_agent.model import Copy, Delete, Kind, Outcome, Plan, Status, Withheld
from s32s_agent.plan import keys
from s32s_agent.plan.plan import count_deletes
from s32s_agent.run.context import MappingContext
from s32s_agent.run.copying import Batch, new_batch, publish_batch, stage_all
from s32s_agent.run.deleting import delete_entries, find_present

_SKIPPED = "the entries that would replace them were skipped"
_INCOMPLETE = 'incomplete listing: "{}" still exists at the source'


def carry_out(
    plan: Plan, context: MappingContext, leftovers: Sequence[str] = ()
) -> Iterator[Outcome | Withheld]:
    """Do what the plan says and yield what became of each action.

    An entry's row is in the index after the entry is published; a key's row is removed after the key is deleted.

    Args:
        plan: what to do.
        context: what it is done with.
        leftovers: what the scan of the target met of an earlier run.

    Raises:
        ListingInconsistent: something that the source was thought to lack is there.
        AgentError: nothing more can be done in this mapping.
    """
    for key, error in context.target.remove_leftovers(leftovers, plan.copies).items():
        yield Outcome(Status.SKIPPED, key, error=error)
    context.index.forget(plan.forgotten)
    if present := find_present(plan.clears, context):
        raise ListingInconsistent(_INCOMPLETE.format(present))
    failures = _Failures()
    yield from failures.counted(_copy(plan, context))
    if plan.clears:
        yield from _copy_blocked(plan, context, failures)
    if not plan.deletes:
        return
    if failures.count:
        yield _withheld(plan.deletes, failures.reason, is_consequence=True)
    elif present := find_present(plan.deletes, context):
        yield _withheld(plan.deletes, _INCOMPLETE.format(present))
    else:
        yield from delete_entries(plan.deletes, context)


@dataclass(slots=True)
class _Failures:
    """The copies that failed so far."""

    count: int = 0
    last: Exception | None = None

    def counted(self, outcomes: Iterable[Outcome | Withheld]) -> Iterator[Outcome | Withheld]:
        """Count the failures among outcomes, and yield all of them."""
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


def _copy(plan: Plan, context: MappingContext) -> Iterator[Outcome]:
    """Copy what nothing is in the way of."""
    with new_batch(context) as batch:
        free = [copy for copy in plan.copies if not copy.blocked]
        yield from stage_all(free, batch, context)
        yield from publish_batch(batch, context)
    context.cancel_token.check()


def _copy_blocked(
    plan: Plan, context: MappingContext, failures: _Failures
) -> Iterator[Outcome | Withheld]:
    """Copy what something is in the way of. That is removed when the bytes are here and proven, and not before.

    When any copy of the mapping failed, it stays. A store that publishes on put takes the bytes only afterwards.
    """
    ready = [copy for copy in plan.copies if copy.blocked]
    early = [copy for copy in ready if not _must_be_late(copy, context)]
    late = [copy for copy in ready if _must_be_late(copy, context)]
    with new_batch(context, held=True) as batch:
        if not failures.count:
            yield from failures.counted(stage_all(early, batch, context))
            context.cancel_token.check()
            ready = [*(staged.copy for staged, _ in batch.staged), *late]
        if failures.count:
            yield from _held_back(ready, plan.clears, failures.reason, failures.last)
            return
        clears, others = _split(plan.clears, ready)
        if others:
            yield _withheld(others, _SKIPPED, is_consequence=True)
        if present := find_present(clears, context):
            yield from _held_back(ready, clears, _INCOMPLETE.format(present))
            return
        yield from _clear(clears, context)
        yield from failures.counted(_publish_held(batch, context))
        yield from failures.counted(stage_all(late, batch, context))
        yield from failures.counted(_publish_held(batch, context))
    context.cancel_token.check()


def _must_be_late(copy: Copy, context: MappingContext) -> bool:
    """Return whether the bytes can be taken only when nothing is in the way any more."""
    return context.target.publishes_on_put or copy.entry.kind is Kind.DIRECTORY


def _publish_held(batch: Batch, context: MappingContext) -> Iterator[Outcome]:
    while batch.staged:
        yield from publish_batch(batch, context)


def _split(
    clears: Iterable[Delete], copies: Iterable[Copy]
) -> tuple[list[Delete], list[Delete]]:
    """Split what is in the way of these copies from what is not."""
    wanted = {copy.entry.key.removesuffix("/") for copy in copies}
    above = {name[:-1] for copy in copies for name in keys.ancestors(copy.entry.key)}
    needed: list[Delete] = []
    others: list[Delete] = []
    for each in clears:
        key = each.entry.key
        parts = [name[:-1] for name in keys.ancestors(key)] + [key.removesuffix("/")]
        is_needed = key in above or not wanted.isdisjoint(parts)
        (needed if is_needed else others).append(each)
    return needed, others


def _held_back(
    copies: Iterable[Copy],
    clears: Iterable[Delete],
    reason: str,
    because: Exception | None = None,
) -> Iterator[Outcome | Withheld]:
    """Yield for blocked copies that what they would replace stays.

    Args:
        copies: they are not made.
        clears: they stay.
        reason: why, as a half sentence.
        because: the failure that this is a consequence of; None when a guard withholds them.
    """
    for copy in copies:
        error = Blocked(copy.entry.key, reason, because or DeletesRefused(reason))
        yield Outcome(Status.SKIPPED, copy.entry.key, why=copy.why, error=error)
    yield _withheld(clears, reason, is_consequence=because is not None)


def _clear(clears: Sequence[Delete], context: MappingContext) -> Iterator[Outcome]:
    """Remove all that is in the way, even when cancelled, since what replaces it is here already."""
    if not context.target.publishes_on_put:
        context.target.make_durable()
        context = replace(context, meter=replace(context.meter, cancel_token=CancelToken()))
    yield from delete_entries(clears, context)
