"""The faults that a file-system call can meet, and the trial of one of them at one call of a pass."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.agents import parse_events
from support.fault_rigs import SCENARIOS, Once, as_process, calls_of, new_rig
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
_DRESSES = {"chmod", "fchmod", "fchmodat", "fchown", "fchownat", "utimensat"}
_SIZES = {"fallocate", "ftruncate"}
_TAKES_ROOM = {*DATA, *_MAKES, *_RENAMES, *_LINKS, "fallocate", "fsync", "fdatasync"}
_CHANGES = {*DATA, *_MAKES, *_RENAMES, *_LINKS, *_REMOVES, *_DRESSES, *_SIZES}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call."""

    name: str
    action: Action
    calls: frozenset[str] | None = None
    """Which calls can meet it; None is all."""
    lasting: bool = False
    """It stays for the rest of the pass."""
    dooms: bool = False
    """A pass that meets it in the target does not end well: what was written there is not on the disk."""

    def meets(self, call: Call) -> bool:
        """Tell whether the call can meet it."""
        return self.calls is None or call.name in self.calls


FAULTS = {
    each.name: each
    for each in (
        Fault("SIGKILL", KILL),
        Fault("SIGTERM", TERMINATE),
        Fault("ENOSPC", fail_with("ENOSPC"), frozenset(_TAKES_ROOM)),
        Fault("EDQUOT", fail_with("EDQUOT"), frozenset(_TAKES_ROOM)),
        Fault("EIO", fail_with("EIO"), frozenset({*DATA, *SYNCS}), dooms=True),
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
    """Of the call, in the pass without a fault."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault} at call {self.number}"


class Trial(NamedTuple):
    """What came of a point."""

    point: Point
    call: str
    """The call that met the fault; "" when the pass did not get that far."""
    exit_code: int
    problems: tuple[str, ...]


def points_of(
    scenario: str, faults: Sequence[str], directory: Path, once: Once = as_process
) -> list[Point]:
    """List every call of a scenario's pass with every fault that it can meet."""
    calls = calls_of(SCENARIOS[scenario], directory, once)
    return [
        Point(scenario, fault, call.number)
        for fault in faults
        for call in calls
        if FAULTS[fault].meets(call)
    ]


def sample(points: Sequence[Point], count: int, seed: int) -> list[Point]:
    """Draw so many points, spread over scenarios and faults alike."""
    rng = random.Random(seed)
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault(point[:2], []).append(point)
    for group in groups.values():
        rng.shuffle(group)
    drawn: list[Point] = []
    while len(drawn) < count and any(groups.values()):
        drawn += [group.pop() for group in groups.values() if group]
    return drawn[:count]


def attempt(point: Point, directory: Path, once: Once = as_process) -> Trial:
    """Have one call of a pass meet a fault, and see what is wrong then and after the next passes."""
    fault = FAULTS[point.fault]
    met: list[Call] = []

    def decide(call: Call) -> Action:
        due = call.number >= point.number if fault.lasting else call.number == point.number
        if not due or not fault.meets(call):
            return PROCEED
        met.append(call)
        return fault.action

    with new_rig(SCENARIOS[point.scenario], directory, once) as rig:
        traced = rig.trace(decide)
        found = rig.problems(traced)
        if traced.exit_code >= 0:
            found += _silence(traced.exit_code, traced.stderr)
        if fault.dooms and met and met[0].is_below(rig.local) and traced.exit_code == 0:
            found.append("exit status 0, though what was written is not on the disk")
        call = str(met[0]).replace(str(directory), "") if met else ""
    return Trial(point, call, traced.exit_code, tuple(found))


def _silence(exit_code: int, stderr: str) -> list[str]:
    """List what a failed pass should have said: what is wrong; that it says what to do, is looked at elsewhere."""
    if exit_code and not any("error" in each for each in parse_events(stderr)):
        return [f"exit status {exit_code} without an error in the log"]
    return []
