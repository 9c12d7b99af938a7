"""A master changes in S3 what differs from its source, and nothing because of a broken listing or a hostile key."""

from __future__ import annotations

import pytest
from support.forked import Forks
from support.hostile_answers import AFTER, BEFORE, NEW, PAGE, MirroredPrefix
from support.hostile_cases import HOSTILE_KEYS, LISTINGS, Case
from support.invariants import check_output
from support.masters import Master
from support.scripted import ScriptedS3
from support.trees import snapshot

from s32s_agent.plan.keys import names_no_directory

pytestmark = pytest.mark.hostile

PARTIAL = 1
IMPATIENT = {"connect_seconds": 2, "read_seconds": 2, "attempts": 2, "pause_seconds": 0.05}
MORE_KEYS = ("data//x", "/", "//", "d//", "a//", "./", "d/\0/x", "d/\ufffd", "\ufffd")
UNSAFE = {
    *("../escaped", "a/../../escaped", "..", ".", "a/./b", "a//b", "/tmp/s32s-agent-escaped"),
    *("dir/../../../escaped", "../data2/escaped", "nul\0l", *MORE_KEYS),
}


@pytest.fixture
def master(scripted_master: Master) -> Master:
    scripted_master.write(AFTER)
    return scripted_master


@pytest.mark.parametrize("case", LISTINGS, ids=lambda case: case.name)
def test_no_broken_listing_makes_a_master_write_or_delete(
    master: Master, scripted: ScriptedS3, forks: Forks, case: Case
) -> None:
    """What a slave does not trust, a master does not trust: no object is deleted or written, and no local file changes.

    A listing in which only a name is odd is believed: what changed here is sent, and nothing else again, and the object
    goes that is gone here; none goes that is not.
    """
    mirrored = MirroredPrefix(scripted)
    mirrored.publish(BEFORE)
    case.arrange(mirrored)
    before = snapshot(master.source)

    run = forks.once(master.agent, "--allow-deletes", timeouts=IMPATIENT)

    sent, deleted = scripted.asked("PUT"), set(scripted.asked("DELETE"))
    if case.status in {0, PARTIAL}:
        assert sorted(sent) == sorted(f"data/{key}" for key in (PAGE, NEW))
        assert "data/dir/extra.txt" in deleted
        assert deleted.isdisjoint(f"data/{key}" for key in AFTER)
        assert not any("\ufffd" in key for key in deleted)
    else:
        assert (sent, scripted.asked("POST"), deleted) == ([], [], set()), run.stderr
        assert run.exit_code == case.status, run.stderr
    assert check_output(run) == []
    assert snapshot(master.source) == before


def test_no_key_makes_a_master_delete_another_object(
    master: Master, scripted: ScriptedS3, forks: Forks
) -> None:
    """Extras are deleted by exactly their names; a name that a proxy or store may change stays, and is reported."""
    MirroredPrefix(scripted).publish(AFTER)
    extras = {*HOSTILE_KEYS, *MORE_KEYS}
    for key in extras:
        scripted.put(f"data/{key}", b"" if key.endswith("/") else b"extra")
    before = snapshot(master.source)

    run = forks.once(master.agent, "--allow-deletes", timeouts=IMPATIENT)

    nothing = {key for key in UNSAFE if names_no_directory(key)}
    assert run.exit_code == PARTIAL
    assert set(scripted.asked("DELETE")) == {f"data/{key}" for key in extras - UNSAFE}
    assert {each["key"] for each in run.named("entry.failed")} == {
        key.encode("unicode_escape").decode() if "\0" in key else key
        for key in UNSAFE - nothing
    }
    assert all("by hand" in each["error"] for each in run.named("entry.failed"))
    assert MirroredPrefix(scripted).published().keys() == {*AFTER, *UNSAFE}
    assert snapshot(master.source) == before
