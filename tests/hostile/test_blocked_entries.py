"""What blocks an object is removed only when the object is staged, complete and proven."""

from __future__ import annotations

import hashlib

import pytest
from support.forked import Forks
from support.s3_messages import Reply, is_get
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot, write

pytestmark = pytest.mark.hostile

NEW = b"new version"
ETAG = {"etag": f'"{hashlib.md5(NEW).hexdigest()}"'}
PATIENCE = {"attempts": 1, "pause_seconds": 0.01}

ANSWERS = {
    "an error": Reply(500),
    "other bytes": Reply(200, NEW[::-1], ETAG),
    "a torn body": Reply(200, NEW, ETAG, close_early=3),
}
CASES = {
    "a file where directories were": (
        {"place": NEW},
        {"place/in": b"precious", "place/deep/in": b"precious too"},
    ),
    "directories where a file was": ({"place/deep/in": NEW}, {"place": b"precious"}),
}


@pytest.fixture
def trashless(scripted_slave: Slave, scripted: ScriptedS3) -> Slave:
    """A slave that keeps no trash: what it removes is lost."""
    scripted_slave.publish_map(scripted_slave.mapping())
    s3 = {"endpoint_url": scripted.endpoint_url}
    scripted_slave.configure("maps/site.json", s3=s3, sync={"trash_days": 0})
    return scripted_slave


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("case", CASES)
def test_what_blocks_an_object_stays_when_the_object_cannot_be_fetched(
    trashless: Slave, scripted: ScriptedS3, case: str, answer: str
) -> None:
    """Whatever the server answers, every file stays as it is; it is removed when the object can be fetched."""
    slave, (objects, files) = trashless, CASES[case]
    slave.publish(objects)
    write(slave.target, files)
    before = snapshot(slave.target)
    for key in objects:
        scripted.on(is_get(f"data/{key}"), ANSWERS[answer])

    with Forks() as forks:
        run = forks.once(slave.agent, timeouts=PATIENCE)

        assert (run.exit_code != 0, slave.tree()) == (True, before)
        assert slave.temporaries() == []
        assert run.named("entry.deleted") == []
        assert [each["count"] for each in run.named("deletes.withheld")] == [len(files)]

        scripted.forget_rules()
        run = forks.once(slave.agent, timeouts=PATIENCE)

    assert run.exit_code == 0
    assert {key: data for key, data in slave.tree().items() if data is not None} == objects
    assert slave.temporaries() == []


def test_what_blocks_an_object_stays_when_another_object_cannot_be_fetched(
    trashless: Slave, scripted: ScriptedS3
) -> None:
    """One failed object is enough, wherever it is: the run reports why the others were not copied."""
    slave = trashless
    slave.publish({"place": NEW, "zz": NEW})
    write(slave.target, {"place/in": b"precious"})
    scripted.on(is_get("data/zz"), Reply(500))

    with Forks() as forks:
        run = forks.once(slave.agent, timeouts=PATIENCE)

    assert (run.exit_code, slave.tree()) == (69, {"place": None, "place/in": b"precious"})
    (skipped,) = run.named("entry.skipped")
    assert skipped["key"] == "place"
    assert "what it would replace was kept" in skipped["reason"]
