"""A disk that accepts writes and fails at the sync: the cache shows what a reboot would lose.

Both kinds of syncs are tested: few files are synced one by one, many with the file system.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fault_rigs import FaultRig, Scenario, ended, new_rig
from support.forked import forked_once
from support.invariants import index_rows
from support.tracing import (
    PROCEED,
    SUPPORTED,
    SYNCS,
    WHY_NOT,
    Action,
    Call,
    TracedRun,
    fail_with,
)

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not SUPPORTED, reason=WHY_NOT),
]

CANNOT_CREATE = 73
OLD, NEW = b"old", b"new"


def _few(rig: FaultRig) -> None:
    rig.publish({"d/a": OLD})
    rig.once(rig.agent)
    rig.publish({"d/a": NEW, "e/b": NEW})


def _many(rig: FaultRig) -> None:
    keys = [f"{name}/{number}" for name in "abcdef" for number in range(2)]
    rig.publish({"a/0": OLD})
    rig.once(rig.agent)
    rig.publish(dict.fromkeys(keys, NEW))


FEW, MANY = Scenario("few", _few), Scenario("many", _many)
BOTH = pytest.mark.parametrize(
    ("scenario", "sync"), [(FEW, "fsync"), (MANY, "syncfs")], ids=["few", "many"]
)


class Syncs:
    """Fails the syncs of the target with one error, before or after the first file shows."""

    def __init__(self, rig: FaultRig, error: str, *, of_names: bool) -> None:
        self.failed: list[Call] = []
        self._place, self._error, self._of_names = rig.local, fail_with(error), of_names
        self._shows = False

    def __call__(self, call: Call) -> Action:
        self._shows = self._shows or call.name == "renameat"
        if call.name not in SYNCS or not call.is_below(self._place):
            return PROCEED
        if self._shows != self._of_names:
            return PROCEED
        self.failed.append(call)
        return self._error


def _run_with_failing_syncs(rig: FaultRig, sync: str, *, of_names: bool) -> TracedRun:
    """Run the agent with failing syncs of one kind; every copy must be reported as failed."""
    syncs = Syncs(rig, "EIO", of_names=of_names)
    traced = rig.trace(syncs)
    run = ended(traced)
    assert {call.name for call in syncs.failed} == {sync}
    assert run
    assert run.exit_code == CANNOT_CREATE
    assert {each["key"] for each in run.named("entry.failed")} == rig.shown().keys()
    return traced


@BOTH
def test_bytes_that_are_not_on_the_disk_are_not_published(
    scenario: Scenario, sync: str, tmp_path: Path
) -> None:
    """The old version stays, every copy is reported as failed, and the index has no row of it."""
    with new_rig(scenario, tmp_path / "rig", forked_once) as rig:
        traced = _run_with_failing_syncs(rig, sync, of_names=False)

        assert set(rig.tree().values()) == {OLD}
        assert rig.problems(traced) == []


@BOTH
def test_the_index_never_vouches_for_names_that_a_power_cut_would_lose(
    scenario: Scenario, sync: str, tmp_path: Path
) -> None:
    """The files show but may vanish with a reboot: the next run must check them."""
    with new_rig(scenario, tmp_path / "rig", forked_once) as rig:
        traced = _run_with_failing_syncs(rig, sync, of_names=True)

        rows = index_rows(rig.agent.state_dir / "index.db", rig.local)
        stamps = {(rig.local / key).stat().st_ino for key in rig.shown()}
        assert [row.key for row in rows if row.stamp[-1] in stamps] == []
        assert rig.problems(traced) == []


@pytest.mark.parametrize("error", ["EINVAL", "EOPNOTSUPP"])
def test_a_file_system_that_cannot_sync_a_directory_is_no_failure(
    error: str, tmp_path: Path
) -> None:
    """Some do not support it; a mirror on one of them would never succeed."""
    with new_rig(FEW, tmp_path / "rig", forked_once) as rig:
        syncs = Syncs(rig, error, of_names=True)
        traced = rig.trace(syncs)

        assert syncs.failed
        assert traced.exit_code == 0
        assert rig.problems(traced) == []
