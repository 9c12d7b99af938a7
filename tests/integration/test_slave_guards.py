"""The guards that stand between a mistake elsewhere and the deletion of everything here. On a real server."""

from __future__ import annotations

import pytest
from support.agents import AgentRun
from support.buckets import Bucket
from support.disks import or_skip, small_tmpfs
from support.slaves import Slave
from support.trees import snapshot

FILES = {f"{number:02}": b"%d" % number for number in range(60)}


def remove(bucket: Bucket, count: int) -> None:
    for key in sorted(FILES)[:count]:
        bucket.delete(f"data/{key}")


def withheld(run: AgentRun) -> list[int]:
    return [each["count"] for each in run.named("deletes.withheld")]


def test_an_emptied_bucket_does_not_empty_the_server(slave: Slave, bucket: Bucket) -> None:
    """A prefix without any object is refused, few files or many, even with --allow-deletes."""
    few = dict(list(FILES.items())[:3])
    slave.publish(few)
    slave.once()
    remove(bucket, 3)

    runs = [slave.once(), slave.once("--allow-deletes")]

    assert [run.exit_code for run in runs] == [3, 3]
    assert slave.tree() == few
    assert [withheld(run) for run in runs] == [[3], [3]]
    assert "allow_empty_source" in runs[0].named("deletes.withheld")[0]["reason"]


def test_a_mistyped_prefix_does_not_empty_the_server(slave: Slave) -> None:
    """A map that names a prefix where nothing is changes nothing."""
    slave.publish(FILES)
    slave.once()
    slave.publish_map(slave.mapping(s3="dtaa"))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (3, FILES)


def test_an_empty_source_is_mirrored_when_that_is_wanted(slave: Slave, bucket: Bucket) -> None:
    """`allow_empty_source: true` deletes what is left, into the trash."""
    few = dict(list(FILES.items())[:3])
    slave.publish(few)
    slave.once()
    remove(bucket, 3)
    slave.configure(sync={"allow_empty_source": True})

    run = slave.once()

    assert (run.exit_code, slave.tree(), slave.trash()) == (0, {}, few)


def test_an_empty_source_and_an_empty_target_are_in_sync(slave: Slave) -> None:
    """Nothing there and nothing here is no reason for an alarm."""
    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {})


@pytest.mark.parametrize(
    ("limit", "gone", "exit_code"),
    [
        ("25%", 14, 0),
        ("25%", 15, 0),
        ("25%", 16, 3),
        (20, 20, 0),
        (20, 21, 3),
        (0, 10, 0),
        (0, 11, 3),
        ("100%", 59, 0),
    ],
)
def test_half_a_bucket_gone_does_not_delete_half_a_server(
    slave: Slave, bucket: Bucket, limit: str | int, gone: int, exit_code: int
) -> None:
    """More deletions than `max_delete` are held back, all of them; ten always pass; copies go on."""
    slave.configure(sync={"max_delete": limit})
    slave.publish(FILES)
    slave.once()
    remove(bucket, gone)
    slave.publish({"new": b"new"})

    run = slave.once()

    kept = FILES if exit_code else {key: FILES[key] for key in sorted(FILES)[gone:]}
    assert (run.exit_code, slave.tree()) == (exit_code, {**kept, "new": b"new"})
    assert withheld(run) == ([gone] if exit_code else [])


def test_allow_deletes_lifts_the_guard_once(slave: Slave, bucket: Bucket) -> None:
    """One pass may delete more, when a person says so."""
    slave.publish(FILES)
    slave.once()
    remove(bucket, 40)
    refused = slave.once()

    run = slave.once("--allow-deletes")

    assert (refused.exit_code, run.exit_code) == (3, 0)
    assert (run.finished["deleted"], len(slave.tree()), len(slave.trash())) == (40, 20, 40)


def test_extras_keep_deletes_nothing(slave: Slave, bucket: Bucket) -> None:
    """`extras: keep` leaves what the bucket lacks, and is in sync all the same."""
    slave.publish_map(slave.mapping(extras="keep"))
    slave.publish(FILES)
    slave.once()
    remove(bucket, 60)

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, FILES)


def test_what_is_ignored_is_invisible_on_both_sides(slave: Slave, bucket: Bucket) -> None:
    """It is never copied, never deleted, and never counts."""
    slave.publish_map(slave.mapping(ignore=["tmp/*", "*__pycache__*", "*.bmp"]))
    slave.publish({"a": b"a", "tmp/x": b"x", "src/__pycache__/y": b"y", "deep/z.bmp": b"z"})
    slave.target.mkdir()
    (slave.target / "tmp").mkdir()
    (slave.target / "tmp/mine").write_bytes(b"mine")
    (slave.target / "local.bmp").write_bytes(b"local")

    run = slave.once()

    tree = {"a": b"a", "tmp": None, "tmp/mine": b"mine", "local.bmp": b"local"}
    assert (run.exit_code, slave.tree()) == (0, tree)
    bucket.delete("data/a")
    slave.publish({"b": b"b"})
    assert slave.once().exit_code == 0
    assert slave.tree() == {"b": b"b", **{k: v for k, v in tree.items() if k != "a"}}


def test_files_are_all_or_nothing(slave: Slave) -> None:
    """Only the named files are mirrored; when one is missing, the mapping fails before anything changes."""
    slave.publish_map(slave.mapping(files=["one", "sub/two"], extras="delete"))
    slave.publish({"one": b"1", "sub/two": b"2", "three": b"3"})
    slave.target.mkdir()
    (slave.target / "other").write_bytes(b"other")
    first = slave.once()

    tree = {"one": b"1", "sub": None, "sub/two": b"2"}
    assert (first.exit_code, slave.tree()) == (0, tree)
    slave.publish({"one": b"changed"})
    slave.publish_map(slave.mapping(files=["one", "sub/two", "lost"], extras="delete"))
    run = slave.once()
    assert (run.exit_code, slave.tree()) == (65, tree)
    assert '"lost" is not at the source' in run.named("mapping.failed")[0]["error"]


def test_a_disk_that_is_not_mounted_is_not_filled_below_its_mount_point(
    slave: Slave,
) -> None:
    """A target whose parent is on the disk ends its mapping with status 73 while the disk is away; nothing is made."""
    files, disk = {"a": b"alpha", "d/b": b"beta"}, slave.root / "disk"
    slave.publish(files)
    slave.publish_map(slave.mapping(slave=str(disk / "data/site")))
    with or_skip(), small_tmpfs(disk, "size=1m"):
        (disk / "data").mkdir()
        assert (slave.once().exit_code, snapshot(disk / "data/site")) == (
            0,
            {"d": None, **files},
        )

    run = slave.once()

    (failed,) = run.named("mapping.failed")
    assert (run.exit_code, list(disk.iterdir())) == (73, [])
    assert "data" in failed["error"]
