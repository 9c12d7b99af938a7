"""Scan both sides of a mapping and compare them, with hints of earlier runs; remember what the scans learned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from s32s_agent.errors import ListingInconsistent
from s32s_agent.model import Entry, Mapping, Problem
from s32s_agent.output.progress import Progress
from s32s_agent.plan.compare import Difference, OutOfOrder, difference
from s32s_agent.plan.plan import DeleteGuards
from s32s_agent.run.sides import Sides
from s32s_agent.state.index import MappingIndex
from s32s_agent.stores.base import Learned, ScanHints

_COUNTED = 500
"""Entries of a listing that are counted together."""


class Comparison(NamedTuple):
    """What two scans differ in, and what each of them learned."""

    difference: Difference
    source: Learned
    target: Learned


def compare_sides(
    sides: Sides,
    mapping: Mapping,
    index: MappingIndex,
    guards: DeleteGuards,
    progress: Progress,
) -> Comparison:
    """Scan both sides and compare them; a store that lists out of order is scanned again, sorted.

    Args:
        sides: what is scanned.
        mapping: what it concerns.
        index: holds what earlier scans learned, and takes what these learn.
        guards: say whether the mounts that an earlier run found are expected.
        progress: shows how far the scans are.

    Raises:
        AgentError: a scan failed, or something else that `difference` raises.
    """
    mounts = index.mounts if guards.require_known_mounts else ()
    hints = ScanHints(index.unordered, index.boundaries, mounts)
    try:
        try:
            found = _scan_both(sides, mapping, hints, progress)
        except OutOfOrder:
            if hints.unordered or not sides.remote.may_be_unordered:
                raise
            found = _scan_both(sides, mapping, replace(hints, unordered=True), progress)
            index.note_unordered()
    except ListingInconsistent:
        index.note_boundaries(())  # the next listing goes page by page
        raise
    for boundaries in (found.source.boundaries, found.target.boundaries):
        if boundaries is not None and boundaries != hints.boundaries:
            index.note_boundaries(boundaries)
    return found


def _scan_both(
    sides: Sides, mapping: Mapping, hints: ScanHints, progress: Progress
) -> Comparison:
    source, target = sides.source.scan(hints), sides.target.scan(hints)
    with contextlib.closing(source), contextlib.closing(target):
        found = difference(_counted(source, progress), _counted(target, progress), mapping)
        return Comparison(found, source.learned, target.learned)


def _counted(
    found: Iterable[Entry | Problem], progress: Progress
) -> Iterator[Entry | Problem]:
    """Yield what a scan yields, and show how far it is."""
    for number, each in enumerate(found, 1):
        if number % _COUNTED == 0:
            progress.advance(_COUNTED, 0)
        yield each
