"""What we want to reach, beside what was reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .results import CHECKSUMS, OURS, Record, Summary, best_peer, summaries
from .table import MB, growth_bytes, markdown
from .tools import PAGE_BY_PAGE, SIDE_BY_SIDE

BEST = "the best peer"
AWS, S5CMD = "aws s3 sync", "s5cmd sync"


class Goal(NamedTuple):
    """Our figure, as a share of a peer's, at most."""

    workload: str
    figure: str
    """A field of `Summary`."""
    peer: str
    share: float


GOALS = (
    Goal("a", "wall", CHECKSUMS, 0.9),
    Goal("a", "cpu", CHECKSUMS, 0.7),
    Goal("b", "wall", CHECKSUMS, 1.0),
    Goal("b", "cpu", CHECKSUMS, 1.0),
    Goal("c", "wall", CHECKSUMS, 1.0),
    Goal("c", "cpu", CHECKSUMS, 1.0),
    Goal("d", "wall", AWS, 0.4),
    Goal("d", "wall", S5CMD, 1.0),
    Goal("d", "wall", CHECKSUMS, 1.0),
    Goal("e", "wall", CHECKSUMS, 0.5),
    Goal("e", "wall", S5CMD, 0.3),
    Goal("e", "cpu", CHECKSUMS, 0.5),
    Goal("g", "wall", CHECKSUMS, 0.9),
    Goal("g", "cpu", CHECKSUMS, 0.8),
    Goal("h", "wall", CHECKSUMS, 0.9),
    Goal("h", "cpu", CHECKSUMS, 0.8),
    Goal("i-a", "wall", BEST, 0.6),
    Goal("i-e", "wall", BEST, 0.6),
)
MEMORY = {
    "a": 100,
    "b": 150,
    "c": 150,
    "d": 100,
    "e": 120,
    "f": 150,
    "g": 150,
    "h": 150,
    "j-1m": 200,
}
"""MB, at most."""
GROWTH = 60
"""Bytes an object, less than that, from the least to the most of them."""
TENTH = 10
"""The changed objects of f are a tenth of those of a."""
THIRD = 1 / 3
"""What a listing with its pages side by side takes of the time of one page after the other."""


def goals(workloads: Mapping[str, Record]) -> str:
    """Return a table of every goal of which both sides were measured."""
    found = {name: summaries(record) for name, record in workloads.items()}
    rows = [
        *_shares(found),
        *_changes(found),
        *_listing(found),
        *_memory(found, growth_bytes(workloads)),
    ]
    return "\n".join(markdown(("workload", "goal", "reached", ""), rows))


def _shares(found: Mapping[str, Mapping[str, Summary]]) -> Iterator[tuple[str, ...]]:
    for name, figure, peer, share in GOALS:
        tools = found.get(name, {})
        other = tools.get((best_peer(tools) or "") if peer == BEST else peer)
        if OURS in tools and other is not None:
            what = "wall time" if figure == "wall" else "processor time"
            reached = getattr(tools[OURS], figure).median / getattr(other, figure).median
            goal = (
                f"{what}: {share} of `{peer}`"
                if peer != BEST
                else f"{what}: {share} of {peer}"
            )
            yield name, goal, f"{reached:.2f}", _met(reached <= share)


def _changes(found: Mapping[str, Mapping[str, Summary]]) -> Iterator[tuple[str, ...]]:
    if all(OURS in found.get(name, {}) for name in ("a", "e", "f")):
        a, e, f = (found[name][OURS].wall.median for name in ("a", "e", "f"))
        goal = f"wall time: e and a tenth of a, {e + a / TENTH:.2f} s"
        yield "f", goal, f"{f:.2f} s", _met(f <= e + a / TENTH)


def _listing(found: Mapping[str, Mapping[str, Summary]]) -> Iterator[tuple[str, ...]]:
    for name, tools in found.items():
        if SIDE_BY_SIDE in tools and PAGE_BY_PAGE in tools:
            reached = tools[SIDE_BY_SIDE].wall.median / tools[PAGE_BY_PAGE].wall.median
            goal = f"{SIDE_BY_SIDE}: a third of one after the other"
            yield name, goal, f"{reached:.2f}", _met(reached < THIRD)


def _memory(
    found: Mapping[str, Mapping[str, Summary]], growth: float | None
) -> Iterator[tuple[str, ...]]:
    for name, most in MEMORY.items():
        if OURS in found.get(name, {}):
            reached = found[name][OURS].memory.median / MB
            yield name, f"memory: {most} MB", f"{reached:.0f} MB", _met(reached <= most)
    if growth is not None:
        yield (
            "j",
            f"memory: under {GROWTH} bytes an object",
            f"{growth:.0f}",
            _met(growth < GROWTH),
        )


def _met(is_met: bool) -> str:  # noqa: FBT001 (a word for it)
    return "" if is_met else "**missed**"
