"""What no ordinary tool makes, but a tree or a bucket may hold: it harms nothing, and no other mapping."""

from __future__ import annotations

import os

import pytest
from support.buckets import Bucket
from support.slaves import Slave

pytestmark = pytest.mark.integration


@pytest.fixture
def two(slave: Slave) -> Slave:
    """A slave with two mappings, in sync."""
    slave.publish({"a": b"a", "b": b"b"})
    slave.publish({"c": b"c"}, prefix="other")
    slave.publish_map(slave.mapping(), slave.mapping("other", "other"))
    assert slave.once().exit_code == 0
    return slave


def test_a_name_that_is_no_text_is_an_extra_like_others(two: Slave) -> None:
    """No key can be a name that is not UTF-8, so it goes to the trash; the pass is not ended by it."""
    (two.target / os.fsdecode(b"caf\xe9")).write_bytes(b"old")
    two.publish({"d": b"d"}, prefix="other")

    run = two.once()

    assert (run.exit_code, sorted(two.tree())) == (0, ["a", "b"])
    assert (two.root / "other" / "d").read_bytes() == b"d"
    assert list(two.trash().values()) == [b"old"]


def test_a_time_that_no_file_system_knows_ends_no_pass(two: Slave, bucket: Bucket) -> None:
    """Metadata with a time beyond all bounds is not believed; the object is mirrored once."""
    bucket.put("data/a", b"new", Metadata={"mtime": "99999999999"})

    first, second = two.once(), two.once()

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert [each["key"] for each in first.named("entry.copied")] == ["a"]
    assert second.named("entry.copied") == []
    assert (two.target / "a").stat().st_mtime < 10_000_000_000


def test_what_the_file_system_keeps_for_itself_is_not_copied_again_and_again(
    two: Slave,
) -> None:
    """Keys below lost+found, and those of an NFS client's removed files, are skipped and said so."""
    two.publish({"lost+found/x": b"x", ".nfs0123456789abcdef": b"y"})

    run = two.once()

    assert (run.exit_code, run.named("entry.copied")) == (1, [])
    skipped = sorted(each["key"] for each in run.named("entry.skipped"))
    assert skipped == [".nfs0123456789abcdef", "lost+found/x"]
    assert sorted(two.tree()) == ["a", "b"]


def test_a_trash_that_somebody_else_filled_ends_no_run(slave: Slave) -> None:
    """The owner of the directory may not be the agent's; what he puts there is told, and the run is in sync."""
    slave.publish({"a": b"alpha"})
    slave.once()
    trash = slave.target / ".s32s" / "trash"
    (trash / "99999999T999999Z-a").mkdir(parents=True)
    (trash / "20200101T000000Z-a").write_bytes(b"no directory")

    run = slave.once()

    assert run.exit_code == 0
    told = [event["error"].partition(":")[0] for event in run.named("trash.unpruned")]
    assert told == ['".s32s/trash/20200101T000000Z-a"', '".s32s/trash/99999999T999999Z-a"']
