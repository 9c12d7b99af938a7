"""The faults that a file-system call can meet, and the trial of one of them at one call of a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.agents import parse_events
from support.fault_rigs import Once, as_process, new_rig
from support.scenarios import SCENARIOS, calls_of
from support.tracing import (
    DATA,
    KILL,
    PROCEED,
    SHORT,
    SYNCS,
    TERMINATE,
    Action,
    Call,
    fail_with,
)

_RENAMES = {"rename", "renameat", "renameat2"}
_LINKS = {"link", "linkat", "symlink", "symlinkat"}
_MAKES = {"open", "openat", "creat", "mkdir", "mkdirat"}
_REMOVES = {"unlink", "unlinkat", "rmdir"}
_SETS_ATTRIBUTES = {"chmod", "fchmod", "fchmodat", "fchown", "fchownat", "utimensat"}
_SIZES = {"fallocate", "ftruncate"}
_TAKES_SPACE = {*DATA, *_MAKES, *_RENAMES, *_LINKS, "fallocate", "fsync", "fdatasync"}
_CHANGES = {*DATA, *_MAKES, *_RENAMES, *_LINKS, *_REMOVES, *_SETS_ATTRIBUTES, *_SIZES}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call."""

    name: str
    action: Action
    calls: frozenset[str] | None = None
    """The calls that can meet it; None is all."""
    lasting: bool = False
    """It lasts until the end of the run."""
    fails_run: bool = False
    """A run that meets it in the target must fail: what was written there is not on the disk."""

    def meets(self, call: Call) -> bool:
        """Return whether the call can meet it."""
        return self.calls is None or call.name in self.calls


FAULTS = {
    each.name: each
    for each in (
        Fault("SIGKILL", KILL),
        Fault("SIGTERM", TERMINATE),
        Fault("ENOSPC", fail_with("ENOSPC"), frozenset(_TAKES_SPACE)),
        Fault("EDQUOT", fail_with("EDQUOT"), frozenset(_TAKES_SPACE)),
        Fault("EIO", fail_with("EIO"), frozenset({*DATA, *SYNCS}), fails_run=True),
        Fault(
            "EPERM", fail_with("EPERM"), frozenset({*_RENAMES, *_LINKS, *_REMOVES, *_MAKES})
        ),
        Fault("EROFS", fail_with("EROFS"), frozenset(_CHANGES), lasting=True),
        Fault("short write", SHORT, frozenset({"write", "pwrite64"})),
    )
}


class Point(NamedTuple):
    """One fault at one call."""

    scenario: str
    fault: str
    number: int
    """The number of the call in the run without a fault."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault} at call {self.number}"


class Trial(NamedTuple):
    """The result of a point."""

    point: Point
    call: str
    """The call that met the fault; "" when the run ended before it."""
    exit_code: int
    problems: tuple[str, ...]


def points_of(
    scenario: str, faults: Sequence[str], directory: Path, once: Once = as_process
) -> list[Point]:
    """List every call of a scenario's run with every fault that it can meet."""
    calls = calls_of(SCENARIOS[scenario], directory, once)
    return [
        Point(scenario, fault, call.number)
        for fault in faults
        for call in calls
        if FAULTS[fault].meets(call)
    ]


def sample(points: Sequence[Point], count: int, seed: int) -> list[Point]:
    """Choose `count` points at random, spread evenly over scenarios and faults."""
    rng = random.Random(seed)
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault(point[:2], []).append(point)
    for group in groups.values():
        rng.shuffle(group)
    chosen: list[Point] = []
    while len(chosen) < count and any(groups.values()):
        chosen += [group.pop() for group in groups.values() if group]
    return chosen[:count]


def attempt(point: Point, directory: Path, once: Once = as_process) -> Trial:
    """Inject a fault at one call of a run, and check the state then and after the next runs."""
    fault = FAULTS[point.fault]
    hit: list[Call] = []

    def decide(call: Call) -> Action:
        due = call.number >= point.number if fault.lasting else call.number == point.number
        if not due or not fault.meets(call):
            return PROCEED
        hit.append(call)
        return fault.action

    with new_rig(SCENARIOS[point.scenario], directory, once) as rig:
        traced = rig.trace(decide)
        found = rig.problems(traced)
        if traced.exit_code >= 0:
            found += _missing_error(traced.exit_code, traced.stderr)
        if fault.fails_run and hit and hit[0].is_below(rig.local) and traced.exit_code == 0:
            found.append("exit status 0, though what was written is not on the disk")
        call = str(hit[0]).replace(str(directory), "") if hit else ""
    return Trial(point, call, traced.exit_code, tuple(found))


def _missing_error(exit_code: int, stderr: str) -> list[str]:
    """List a failed run that logs no error; remedies are checked elsewhere."""
    if exit_code and not any("error" in each for each in parse_events(stderr)):
        return [f"exit status {exit_code} without an error in the log"]
    return []
