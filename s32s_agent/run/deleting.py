"""Confirm that the source lacks a key, and delete it from the target.

Decides nothing: the plan says what is to go, and `execute` when.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from s32s_agent.errors import AgentError
from s32s_agent.model import Delete, Entry, Kind, Outcome, Status
from s32s_agent.run.context import MappingContext
from s32s_agent.stores.base import Target
from s32s_agent.workers import in_parallel


def find_present(deletes: Iterable[Delete], context: MappingContext) -> str:
    """Ask the source for every key that is to be deleted; return the first that exists, or "".

    A directory is only ever removed empty, so it needs no confirmation.

    Raises:
        Cancelled: the run was cancelled.
        AgentError: the source did not answer for a key, so nothing is confirmed.
    """
    files = [each.entry.key for each in deletes if each.entry.kind is not Kind.DIRECTORY]
    meter = context.meter
    results = in_parallel(
        lambda key, _: context.source.confirm_absent(key),
        files,
        context.workers,
        meter.cancel_token,
        meter.refresh,
    )
    with contextlib.closing(results):
        for key, absent in results:
            meter.refresh()
            if isinstance(absent, Exception):
                raise absent
            if not absent:
                return key
    return ""


def delete_entries(deletes: Sequence[Delete], context: MappingContext) -> Iterator[Outcome]:
    """Delete files side by side, then directories one after the other, innermost first.

    A key's row is removed from the index after the key is deleted, also when this ends early.

    Raises:
        Cancelled: the run was cancelled.
    """
    files = [each for each in deletes if each.entry.kind is not Kind.DIRECTORY]
    directories = [each for each in deletes if each.entry.kind is Kind.DIRECTORY]
    removed: list[str] = []
    try:
        for some, workers in ((files, context.workers), (directories, 1)):
            at_once = context.target.deletes_at_once if some is files else 1
            results = in_parallel(
                lambda each, _: _delete(each, context.target),
                [some[first : first + at_once] for first in range(0, len(some), at_once)],
                workers,
                context.cancel_token,
            )
            with contextlib.closing(results):
                for group, result in results:
                    if isinstance(result, Exception):
                        raise result
                    for delete, outcome in zip(group, result, strict=True):
                        yield from _outcome(delete.entry.key, outcome, removed)
                        context.meter.count_entry()
    finally:
        context.index.forget(removed)


def _delete(deletes: Sequence[Delete], target: Target) -> list[bool | AgentError]:
    """Delete some entries; return what became of each, in their order."""
    done: set[str] = set()
    if len(deletes) > 1:
        try:
            done = target.delete_many([each.entry for each in deletes])
        except AgentError as error:
            return [error] * len(deletes)
    return [each.entry.key in done or _delete_one(each.entry, target) for each in deletes]


def _delete_one(entry: Entry, target: Target) -> bool | AgentError:
    try:
        return target.delete(entry)
    except AgentError as error:
        return error


def _outcome(key: str, result: object, removed: list[str]) -> Iterator[Outcome]:
    """Yield what became of one deletion, an error or whether it is gone; nothing for a directory that is not empty."""
    if isinstance(result, AgentError):
        yield Outcome.of_error(key, result)
    elif result:
        removed.append(key)
        yield Outcome(Status.DELETED, key)
