"""The guards that stand between a mistake elsewhere and the deletion of everything here. On a real server."""

from __future__ import annotations

import os

import pytest
from support.agents import AgentRun
from support.buckets import Bucket
from support.disks import mounted_over, or_skip, small_tmpfs
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


def test_an_empty_source_and_an_empty_target_are_in_sync_when_that_is_wanted(
    slave: Slave,
) -> None:
    """Nothing there and nothing here, and the operator has said that this is right."""
    slave.configure(sync={"allow_empty_source": True})

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {})


@pytest.mark.parametrize(
    ("there", "mistyped", "meant"),
    [
        ("data", "dtaa", ""),
        ("data", "*", ""),
        ("Data", "data", "Data"),
        ("site/Data", "site/dATA", "site/Data"),
        ("Site/data/x", "site/DATA/x", "Site/data/x"),
        ("d\u00e4ta", "da\u0308ta", "d\u00e4ta"),
        ("data+1 %", "Data+1 %", "data+1 %"),
    ],
)
def test_a_mistyped_prefix_is_not_in_sync(
    slave: Slave, there: str, mistyped: str, meant: str
) -> None:
    """A new server that has nothing, and is to have nothing, is an alarm, with a hint where there is one."""
    slave.publish(FILES, there)
    slave.publish_map(slave.mapping(s3=mistyped))

    run = slave.once()
    check = slave.agent.run("--check")

    [failed] = run.named("mapping.failed")
    expected = f'did you mean "{slave.bucket}/{meant}"' if meant else "check the source"
    assert (run.exit_code, failed["error"]) == (3, "the source is empty")
    assert expected in failed["remedy"]
    warnings = [line for line in check.stdout.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "empty" in warnings[0]
    assert not meant or expected in warnings[0]


def test_a_hint_where_a_prefix_differs_in_case_from_the_one_before(slave: Slave) -> None:
    """Deletes are withheld, and the reason says which prefix may have been meant."""
    slave.publish(FILES)
    slave.once()
    slave.publish_map(slave.mapping(s3="Data"))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (3, FILES)
    reason = run.named("deletes.withheld")[0]["reason"]
    assert f'did you mean "{slave.bucket}/data"' in reason


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
    remove(bucket, 59)

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


@pytest.mark.parametrize("size", [3 << 20, 30 << 20], ids=["in one piece", "in ranges"])
def test_one_file_that_does_not_fit_starves_none_that_does(slave: Slave, size: int) -> None:
    """What came with it arrives, before it and after it; the status is still that of a full disk."""
    files = {f"{name}{number}": b"small" for name in "az" for number in range(50)}
    disk = slave.root / "disk"
    slave.publish({**files, "large": os.urandom(size)})
    slave.publish_map(slave.mapping(slave=str(disk / "site")))
    with or_skip(), small_tmpfs(disk, "size=2m"):
        first, second = slave.once(), slave.once()

        assert (first.exit_code, second.exit_code) == (73, 73)
        assert snapshot(disk / "site") == files
        assert (first.finished["copied"], second.finished["copied"]) == (len(files), 0)


def test_a_file_that_something_is_mounted_on_is_told_as_that(
    slave: Slave, bucket: Bucket
) -> None:
    """A container's engine mounts single files; they stay, and the others come and go."""
    slave.publish({"a": b"old", "config": b"old", "gone": b"", "secret": b""})
    slave.once()
    here = slave.root / "here"
    here.write_bytes(b"mounted")
    slave.publish({"a": b"newer", "config": b"newer"})
    bucket.delete("data/gone")
    bucket.delete("data/secret")
    with (
        or_skip(),
        mounted_over(slave.target / "config", here),
        mounted_over(slave.target / "secret", here),
    ):
        run = slave.once()
        tree = slave.tree()

    told = {each["key"]: each["reason"] for each in run.named("entry.skipped")}
    assert set(told) == {"config", "secret"}
    assert all("something is mounted there" in each for each in told.values())
    assert (run.exit_code, run.named("entry.failed")) == (1, [])
    assert tree == {"a": b"newer", "config": b"mounted", "secret": b"mounted"}
