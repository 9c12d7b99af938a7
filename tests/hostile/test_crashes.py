"""A run that is killed at any file-system call, or whose calls fail: nothing is lost, and the next run recovers.

This is a sample; `python -m tools.crashes` tries every call. What must never happen is in `support.fault_rigs`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_rigs import FaultRig, new_rig
from support.faults import FAULTS, Point, attempt, points_of, sample
from support.forked import forked_once
from support.s3_messages import error, is_put
from support.scenarios import SCENARIOS
from support.tracing import (
    KILL,
    PROCEED,
    SHORT,
    SUPPORTED,
    WHY_NOT,
    Action,
    Call,
    fail_with,
    trace,
)

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not SUPPORTED, reason=WHY_NOT),
]

SEED = 32
MET = 0.7
"""The share of the points that must be reached: a run may make other calls than the one that was counted."""
KILLS, FAILURES = 3, 4
"""So many points of each scenario, and of each fault."""


def trials(scenario: str, faults: list[str], count: int, directory: Path) -> list[str]:
    """Try some crash points; return the problems."""
    points = sample(points_of(scenario, faults, directory, forked_once), count, SEED)
    tried = [attempt(point, directory, forked_once) for point in points]
    assert sum(bool(trial.call) for trial in tried) >= MET * len(tried)
    return [f"{each.point} ({each.call}): {each.problems}" for each in tried if each.problems]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_that_is_killed_at_any_call_loses_nothing(scenario: str, tmp_path: Path) -> None:
    """SIGKILL before a call: files are old or new, the index vouches for no other bytes, and two runs recover."""

    assert trials(scenario, ["SIGKILL"], KILLS, tmp_path / "rig") == []


def test_a_run_that_is_terminated_at_its_first_call_logs_it(
    tmp_path: Path,
) -> None:
    """Logging works before the first call."""
    trial = attempt(Point("first", "SIGTERM", 1), tmp_path / "rig", forked_once)

    assert (trial.exit_code, trial.problems) == (128 + signal.SIGTERM, ())


def _renamed(calls: list[Call]) -> bool:
    return any(call.name == "renameat" and ".s32s-tmp." in call.paths[0] for call in calls)


MOMENTS: dict[str, tuple[str, Callable[[Call, list[Call]], bool]]] = {
    "the index is created": (
        "first",
        lambda call, _: call.name == "pwrite64" and call.paths[0].endswith("/index.db"),
    ),
    "a map is cached": (
        "first",
        lambda call, _: call.name == "write" and "/maps/.s32s-tmp." in call.paths[0],
    ),
    "files were replaced and their rows are not written": (
        "moving",
        lambda call, before: "index.db" in call.paths[0] and _renamed(before),
    ),
    "the status is written": (
        "change",
        lambda call, _: call.name == "fsync" and "/state/.s32s-tmp." in call.paths[0],
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_a_critical_moment_leaves_nothing_behind(
    moment: str, tmp_path: Path
) -> None:
    """No temporary file, no index that was set aside, and no version of the agent in the trash."""
    scenario, is_now = MOMENTS[moment]
    calls: list[Call] = []

    def decide(call: Call) -> Action:
        calls.append(call)
        return KILL if is_now(call, calls) else PROCEED

    with new_rig(SCENARIOS[scenario], tmp_path / "rig", forked_once) as rig:
        traced = rig.trace(decide)

        assert traced.exit_code == -9
        assert rig.problems(traced) == []


@pytest.mark.parametrize("scenario", ["change", "ranged", "master"])
def test_a_run_that_is_terminated_at_any_call_loses_nothing(
    scenario: str, tmp_path: Path
) -> None:
    """SIGTERM before a call: as after SIGKILL, and the log reports the signal, not a bug."""

    assert trials(scenario, ["SIGTERM"], KILLS, tmp_path / "rig") == []


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"SIGKILL", "SIGTERM"}))
def test_a_disk_that_fails_at_any_call_costs_no_file(fault: str, tmp_path: Path) -> None:
    """Full, over quota, broken, forbidden, read-only, short writes: reported with the remedy, and recovered."""

    assert trials("change", [fault], FAILURES, tmp_path / "rig") == []


def test_a_state_directory_that_fails_at_any_call_costs_a_master_no_object(
    tmp_path: Path,
) -> None:
    """The objects in S3 stay complete, whatever happens to the state directory."""

    assert trials("master", ["ENOSPC", "EIO", "EROFS"], 6, tmp_path / "rig") == []


# --- the checks find problems ---


def test_the_checks_after_a_kill_find_what_is_lost(tmp_path: Path) -> None:
    """A torn file, a lost edit, and a row that vouches for other bytes are each reported."""

    def tear(rig: FaultRig) -> None:
        (rig.local / "changed").write_bytes(b"ne")

    def lose(rig: FaultRig) -> None:
        (rig.local / "mine/own").unlink()

    found = {
        action.__name__: _found_after("change", action, tmp_path)
        for action in (tear, lose, _falsify_row)
    }

    assert "'changed' holds bytes that were never published" in found["tear"]
    assert "of which this was the only copy, is lost" in found["lose"]
    assert "vouches for 'same'" in found["_falsify_row"]


def test_the_checks_after_a_kill_of_a_master_find_what_is_lost(tmp_path: Path) -> None:
    """An incomplete object, a lost one, and a row that vouches for other bytes are each reported."""

    def tear(rig: FaultRig) -> None:
        rig.server.put("data/large", b"new")

    def lose(rig: FaultRig) -> None:
        del rig.server.objects["data/same"]

    found = {
        action.__name__: _found_after("master", action, tmp_path)
        for action in (tear, lose, _falsify_row)
    }

    assert "'large' holds bytes that were never published" in found["tear"]
    assert "'same' was removed, though the source has it" in found["lose"]
    assert "vouches for 'same'" in found["_falsify_row"]


def test_the_checks_find_an_object_that_a_failed_run_of_a_master_deletes(
    tmp_path: Path,
) -> None:
    """After a failed upload no object may be deleted."""
    with new_rig(SCENARIOS["master"], tmp_path / "rig", forked_once) as rig:
        rig.server.on(is_put("data/many/3"), error(403, "AccessDenied"))
        rig.begin()
        run = rig.once(rig.agent)
        assert run.named("entry.failed")
        assert rig.problems_now(run) == []

        del rig.server.objects["data/gone/x"]

        assert "'gone/x' was deleted, though there was an error" in rig.problems_now(run)


def _found_after(scenario: str, action: Callable[[FaultRig], None], directory: Path) -> str:
    """Kill a run, damage something, and return the problems that the checks find."""
    with new_rig(SCENARIOS[scenario], directory / action.__name__, forked_once) as rig:
        rig.trace(lambda call: KILL if call.number == 10 else PROCEED)
        action(rig)
        return " ".join(rig.problems_now(None))


def _falsify_row(rig: FaultRig) -> None:
    """Change a file, and update its row so that the index vouches for it."""
    path = rig.local / "same"
    path.write_bytes(b"SAME")
    status = path.stat()
    stamp = f"mtime_ns = {status.st_mtime_ns}, ctime_ns = {status.st_ctime_ns}, inode = {status.st_ino}"
    update = f"UPDATE entry SET {stamp} WHERE key = 'same'"
    database = rig.agent.state_dir / "index.db"
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    subprocess.run([sys.executable, "-c", code, database, update], check=True)


# --- the tracer itself ---

PROGRAM = """
import os, sys, threading
os.chdir(sys.argv[1])
def write(name):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT)
    left = b"12345678"
    while left:
        left = left[os.write(fd, left):]
    os.fsync(fd)
    os.close(fd)
thread = threading.Thread(target=write, args=["a"])
thread.start()
thread.join()
try:
    write("b")
    os.rename("b", "c")
except OSError as error:
    print(error.errno, file=sys.stderr)
os.write(1, b"not below the directory")
"""
EVERY = ["openat", "write", "fsync", "openat", "write", "fsync", "rename"]


@pytest.mark.parametrize(
    ("number", "action", "code", "files"),
    [
        (0, PROCEED, 0, {"a": 8, "c": 8}),
        (5, KILL, -9, {"a": 8, "b": 0}),
        (7, KILL, -9, {"a": 8, "b": 8}),
        (5, fail_with("ENOSPC"), 0, {"a": 8, "b": 0}),
        (7, fail_with("EROFS"), 0, {"a": 8, "b": 8}),
        (2, SHORT, 0, {"a": 8, "c": 8}),
    ],
)
def test_an_action_applies_to_the_call_with_its_number(
    tmp_path: Path, number: int, action: Action, code: int, files: dict[str, int]
) -> None:
    """Calls are counted over all threads, in order, and only below the directory; a killed call is not made."""

    def decide(call: Call) -> Action:
        return action if call.number == number else PROCEED

    command = [sys.executable, "-S", "-E", "-c", PROGRAM, str(tmp_path)]
    traced = trace(command, dict(os.environ), within=[tmp_path], decide=decide)

    assert traced.exit_code == code
    assert {each.name: each.stat().st_size for each in tmp_path.iterdir()} == files
    names = [call.name for call in traced.calls]
    if action == PROCEED:
        assert names == EVERY
        assert traced.calls[-1].paths == (str(tmp_path / "b"), str(tmp_path / "c"))
    if action == SHORT:
        assert names == ["openat", "write", *EVERY[1:]]
    if action.error:
        assert traced.stderr == f"{action.error}\n"


def test_points_are_spread_over_scenarios_and_faults() -> None:
    """A sample contains every scenario and fault in turn, and the same points for the same seed."""
    points = [Point(name, fault, each) for name in "ab" for fault in "xy" for each in range(9)]

    drawn = sample(points, 8, SEED)

    assert sorted({each[:2] for each in drawn}) == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
        ("b", "y"),
    ]
    assert (len(set(drawn)), drawn) == (8, sample(points, 8, SEED))
    assert len(sample(points, 99, SEED)) == len(points)
