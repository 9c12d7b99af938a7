"""A source that is missing, empty, unreadable or strange: nothing is deleted in S3 for what was not seen."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.disks import or_skip, small_tmpfs
from support.masters import Master
from support.trees import canary, write

pytestmark = pytest.mark.integration

FILES = {"a": b"alpha", "d/b": b"beta", "d/c": b"gamma"}
REFUSED, PARTIAL = 3, 1


@pytest.fixture
def pushed(master: Master) -> Master:
    """A master whose `FILES` are in S3 already."""
    master.write(FILES)
    assert master.once().exit_code == 0
    return master


def published(bucket: Bucket) -> dict[str, bytes]:
    found = [key for key in bucket.keys() if key.startswith("data/")]  # noqa: SIM118 - no dict
    return {key.removeprefix("data/"): bucket.get(key) for key in found}


def skipped(run_events: list[dict[str, str]]) -> set[str]:
    return {each["key"] for each in run_events}


# --- what is not there ---


def test_a_missing_source_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """A disk that is not mounted is refused with 3, and the remedy says that nothing was deleted."""
    shutil.rmtree(pushed.source)

    run = pushed.once()

    assert (run.exit_code, published(bucket)) == (REFUSED, FILES)
    assert "nothing was deleted" in run.named("mapping.failed")[0]["remedy"]


def test_a_source_that_is_a_file_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """Something else in its place is refused too."""
    shutil.rmtree(pushed.source)
    pushed.source.write_bytes(b"file")

    run = pushed.once()

    assert (run.exit_code, published(bucket)) == (REFUSED, FILES)


def test_an_empty_source_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """An empty mount point is refused with 3, unless the config allows it."""
    shutil.rmtree(pushed.source)
    pushed.source.mkdir()

    run = pushed.once()

    assert (run.exit_code, published(bucket)) == (REFUSED, FILES)
    assert "empty" in run.named("deletes.withheld")[0]["reason"]
    pushed.configure(sync={"allow_empty_source": True})
    assert (pushed.once().exit_code, published(bucket)) == (0, {})


def test_an_empty_source_is_not_in_sync_with_an_empty_bucket(
    master: Master, bucket: Bucket
) -> None:
    """A mount point whose disk is missing at the first run, or the wrong directory, is an alarm."""
    run = master.once()
    check = master.agent.run("--check")

    assert (run.exit_code, published(bucket)) == (REFUSED, {})
    assert run.named("mapping.failed")[0]["error"] == "the source is empty"
    assert "a run refuses an empty source" in check.stdout


@pytest.fixture
def with_disk(pushed: Master) -> Callable[[], AbstractContextManager[None]]:
    """A master on whose directory `d/disk` a disk was mounted; gives what mounts it again."""
    place = pushed.source / "d/disk"

    @contextmanager
    def mounted() -> Iterator[None]:
        with or_skip(), small_tmpfs(place, "size=1m"):
            write(place, DISK)
            yield

    with mounted():
        assert pushed.once().exit_code == 0
    return mounted


DISK = {f"of the disk {number}": b"data" for number in range(3)}
ON_DISK = {f"d/disk/{name}": data for name, data in DISK.items()}


def test_a_disk_that_is_gone_further_down_deletes_nothing(
    pushed: Master, bucket: Bucket, with_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    """An empty directory on which a disk was mounted is no absence, however often it is looked at."""
    (pushed.source / "a").unlink()
    for _ in range(2):
        run = pushed.once()

        assert (run.exit_code, published(bucket)) == (PARTIAL, {**FILES, **ON_DISK})
        (event,) = run.named("entry.skipped")
        assert (event["key"], "a disk was mounted here" in event["reason"]) == (
            "d/disk/",
            True,
        )
        assert "--allow-deletes" in run.named("deletes.withheld")[0]["reason"]

    with with_disk():
        after = pushed.once()
    assert (after.exit_code, after.finished["copied"], after.finished["deleted"]) == (0, 0, 1)


def test_a_disk_that_could_not_be_seen_in_between_is_not_forgotten(
    pushed: Master, bucket: Bucket, with_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    """A pass that may not look at the directory above it says nothing about what is mounted there."""
    with with_disk():
        (pushed.source / "d").chmod(0)
        assert pushed.once_unprivileged().exit_code == PARTIAL
        (pushed.source / "d").chmod(0o755)

    assert (pushed.once().exit_code, published(bucket)) == (PARTIAL, {**FILES, **ON_DISK})


def test_a_disk_that_is_taken_away_for_good(
    pushed: Master, bucket: Bucket, with_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    """`--allow-deletes` says so once; and a directory that is filled again needs no disk."""
    assert pushed.once("--allow-deletes").exit_code == 0
    assert published(bucket) == {**FILES, "d/disk/": b""}
    assert pushed.once().exit_code == 0

    with with_disk():
        assert pushed.once().exit_code == 0
    pushed.write({"d/disk/here": b"now"})
    assert pushed.once().exit_code == 0
    assert published(bucket) == {**FILES, "d/disk/": b"", "d/disk/here": b"now"}


# --- what cannot be read ---


def test_an_unreadable_source_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """A source that may not be listed is refused, without a traceback."""
    pushed.source.chmod(0)

    run = pushed.once_unprivileged()

    assert (run.exit_code, published(bucket)) == (REFUSED, FILES)


def test_an_unreadable_directory_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """A directory that may not be listed is no absence: nothing at all is deleted, new files are sent."""
    (pushed.source / "a").unlink()
    pushed.write({"new": b"new"})
    (pushed.source / "d").chmod(0)

    run = pushed.once_unprivileged()

    assert (run.exit_code, published(bucket)) == (PARTIAL, {**FILES, "new": b"new"})
    assert skipped(run.named("entry.skipped")) == {"d/"}
    assert "incomplete listing" in run.named("deletes.withheld")[0]["reason"]
    (pushed.source / "d").chmod(0o755)
    after = pushed.once()
    assert (after.exit_code, after.finished["copied"], after.finished["deleted"]) == (0, 0, 1)


def test_a_directory_that_cannot_be_entered_deletes_nothing(
    pushed: Master, bucket: Bucket
) -> None:
    """Names that can be listed but not looked at are no absence either."""
    (pushed.source / "d").chmod(0o400)

    run = pushed.once_unprivileged()

    assert (run.exit_code, run.finished["deleted"]) == (PARTIAL, 0)
    assert skipped(run.named("entry.skipped")) == {"d/b", "d/c"}
    assert published(bucket).items() >= FILES.items()


def test_an_unreadable_file_keeps_what_s3_has(pushed: Master, bucket: Bucket) -> None:
    """A file that changed and cannot be read fails alone; its old version and every extra stay."""
    (pushed.source / "a").write_bytes(b"secret")
    (pushed.source / "a").chmod(0)
    (pushed.source / "d/b").unlink()

    run = pushed.once_unprivileged()

    assert (run.exit_code, published(bucket)) == (PARTIAL, FILES)
    assert skipped(run.named("entry.failed")) == {"a"}


def test_a_name_that_is_no_text_deletes_nothing(pushed: Master, bucket: Bucket) -> None:
    """A file name that is not UTF-8 stands for no key, so no absence is believed; the rest is sent."""
    (pushed.source / "a").unlink()
    Path(os.fsdecode(os.fsencode(pushed.source / "caf") + b"\xe9")).write_bytes(b"latin")
    pushed.write({"new": b"new"})

    run = pushed.once()

    assert (run.exit_code, published(bucket)) == (PARTIAL, {**FILES, "new": b"new"})
    assert skipped(run.named("entry.skipped")) == {"caf\\udce9"}
    assert len(run.named("deletes.withheld")) == 1


def test_a_directory_whose_name_is_no_text(pushed: Master, bucket: Bucket) -> None:
    """The same for a directory, with everything in it."""
    (pushed.source / "a").unlink()
    directory = Path(os.fsdecode(os.fsencode(pushed.source / "caf") + b"\xe9"))
    directory.mkdir()
    (directory / "x").write_bytes(b"x")

    run = pushed.once()

    assert (run.exit_code, published(bucket)) == (PARTIAL, FILES)


def test_what_is_no_file_is_never_opened(pushed: Master, bucket: Bucket) -> None:
    """A FIFO or socket in the place of a file neither hangs the pass nor deletes the object."""
    (pushed.source / "a").unlink()
    os.mkfifo(pushed.source / "a")
    os.mkfifo(pushed.source / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        cwd = Path.cwd()
        os.chdir(pushed.source)  # the path of a socket is limited to 107 bytes
        bound.bind("socket")
        os.chdir(cwd)

        run = pushed.once()

    assert (run.exit_code, published(bucket)) == (PARTIAL, FILES)
    assert skipped(run.named("entry.skipped")) == {"a", "pipe", "socket"}
    assert "skipped" in run.named("deletes.withheld")[0]["reason"]


# --- symbolic links ---


def test_links_are_skipped(pushed: Master, bucket: Bucket) -> None:
    """By default no link is followed, which is no failure; what S3 has in its place stays."""
    (pushed.source / "a").unlink()
    (pushed.source / "a").symlink_to("d/b")
    (pushed.source / "ln").symlink_to("d")
    (pushed.source / "out").symlink_to("/etc")
    (pushed.source / "loop").symlink_to("loop")

    run = pushed.once()

    assert published(bucket) == FILES
    assert skipped(run.named("entry.skipped")) == {"a", "ln", "out", "loop"}
    withheld = run.named("deletes.withheld")
    assert (run.exit_code, len(withheld)) == (REFUSED, 1)
    bucket.delete("data/a")
    assert pushed.once().exit_code == 0


@pytest.fixture
def following(pushed: Master) -> Master:
    """The same, with `symlinks: follow`."""
    pushed.configure(sync={"symlinks": "follow"})
    return pushed


def test_links_are_followed(following: Master, bucket: Bucket) -> None:
    """A link to a file or a directory is what it leads to, without a change to the source; the next pass is quiet."""
    (following.source / "file").symlink_to("d/b")
    (following.source / "ln").symlink_to("d")
    (following.source / "ln2").symlink_to(following.source / "ln")
    before = canary(following.source)

    runs = [following.once(), following.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert published(bucket) == {
        **FILES,
        "file": b"beta",
        "ln/b": b"beta",
        "ln/c": b"gamma",
        "ln2/b": b"beta",
        "ln2/c": b"gamma",
    }
    assert (runs[1].finished["copied"], canary(following.source)) == (0, before)


def test_a_link_that_leads_out_is_refused(following: Master, bucket: Bucket) -> None:
    """What lies outside the mapping's directory is never sent, whichever way a link leads there."""
    outside = following.root / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (following.source / "file").symlink_to(outside / "secret")
    (following.source / "dir").symlink_to("../outside")
    (following.source / "hop").symlink_to("dir")
    (following.source / "parent").symlink_to("..")
    beside = following.root / "site-evil"
    beside.mkdir()
    (beside / "x").write_bytes(b"x")
    (following.source / "beside").symlink_to(beside)

    run = following.once()

    assert (run.exit_code, published(bucket)) == (PARTIAL, FILES)
    assert {each.rstrip("/") for each in skipped(run.named("entry.skipped"))} == {
        "file",
        "dir",
        "hop",
        "parent",
        "beside",
    }


def test_links_in_circles_end(following: Master, bucket: Bucket) -> None:
    """A link to a directory that it is in, and one to itself, are reported; the rest is sent."""
    (following.source / "d/up").symlink_to("..")
    (following.source / "d/self").symlink_to("self")
    (following.source / "top").symlink_to("top")
    following.write({"new": b"new"})

    run = following.once()

    assert (run.exit_code, published(bucket)) == (PARTIAL, {**FILES, "new": b"new"})
    found = {each.rstrip("/") for each in skipped(run.named("entry.skipped"))}
    assert found == {"d/up", "d/self", "top"}


def test_a_dangling_link_is_no_absence(following: Master, bucket: Bucket) -> None:
    """What a link led to vanished: its objects stay, those of a directory too."""
    aside = following.source / "aside"
    (following.source / "d").rename(aside)
    (following.source / "d").symlink_to("aside")
    (following.source / "link").symlink_to("a")
    assert following.once().exit_code == 0
    before = published(bucket)
    assert set(before) == {*FILES, "aside/b", "aside/c", "link"}
    aside.rename(following.root / "unmounted")
    (following.source / "a").rename(following.root / "a")

    run = following.once()

    assert run.exit_code == PARTIAL
    left = published(bucket)
    assert left == {key: before[key] for key in ("d/b", "d/c", "link")} | {
        key: data for key, data in before.items() if key in left
    }
    assert {"d/b", "d/c", "link"} <= set(left)


# --- mappings that would hurt each other ---


def test_prefixes_inside_each_other_are_refused(master: Master, bucket: Bucket) -> None:
    """Two mappings that would delete each other's objects are both refused, a third one runs."""
    one, two = master.mapping("one", "data"), master.mapping("two", "data/inner")
    master.publish_map(one, two, master.mapping("three", "data2"))
    for name in ("one", "two", "three"):
        (master.root / name).mkdir()
        (master.root / name / "x").write_bytes(b"x")

    run = master.once()

    assert run.exit_code == os.EX_DATAERR
    assert {each["mapping"] for each in run.named("mapping.failed")} == {"one", "two"}
    assert bucket.keys() == ["data2/x", "maps/site.json"]


@pytest.mark.parametrize("prefix", ["maps", "maps/inner", ""])
def test_a_prefix_that_holds_the_maps_is_refused(
    master: Master, bucket: Bucket, prefix: str
) -> None:
    """A mapping that would delete the map files, as something that the master does not have, is refused."""
    key = "maps/inner/site.json"
    master.publish_map({**master.mapping(), "s3": f"{bucket.name}/{prefix}"}, key=key)
    master.configure("maps/inner")
    master.write(FILES)

    run = master.once()

    assert (run.exit_code, key in bucket.keys()) == (os.EX_DATAERR, True)  # noqa: SIM118
    assert "map files" in run.named("mapping.failed")[0]["error"]


def test_check_warns_of_a_bucket_without_versions(master: Master, bucket: Bucket) -> None:
    """`--check` of a master says that what it deletes is gone, as a warning; with versions it does not."""
    run = master.agent.run("--check")

    assert run.exit_code == 0
    warning = 'warning mapping "site": the bucket keeps no versions'
    assert any(line.startswith(warning) for line in run.stdout.splitlines())
    bucket.keep_versions()
    assert "keeps no versions" not in master.agent.run("--check").stdout


@pytest.mark.parametrize("size", [1 << 10, 12 << 20], ids=["in one piece", "in parts"])
def test_a_log_that_grows_all_the_time_is_pushed_and_withholds_no_delete(
    master: Master, bucket: Bucket, size: int
) -> None:
    """What is sent is the log as it was at one moment; an old file beside it is deleted in the same run."""
    log = master.source / "log"
    master.write({"log": os.urandom(size), "old": b"old"})
    assert master.once().exit_code == 0
    (master.source / "old").unlink()
    stop = threading.Event()

    def write() -> None:
        with log.open("ab", 0) as stream:
            while not stop.wait(0.002):
                stream.write(b"a line of the log\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.1)
        run = master.once()
    finally:
        stop.set()
        writer.join()

    sent = published(bucket)["log"]
    assert run.exit_code == 0
    assert len(sent) > size
    assert log.read_bytes().startswith(sent)
    assert set(published(bucket)) == {"log"}
    assert master.once().exit_code == 0
    assert published(bucket) == {"log": log.read_bytes()}


def test_a_file_that_may_not_be_read_is_told_as_that(master: Master) -> None:
    """No next run takes it; the remedy is to grant access, or to leave it out."""
    master.write({"a": b"alpha", "secret": b"secret"})
    (master.source / "secret").chmod(0)

    run = master.once_unprivileged()

    (failed,) = run.named("entry.failed") or run.named("entry.skipped")
    told = failed.get("error", "") + failed.get("reason", "")
    assert (failed["key"], "cannot be read: Permission denied" in told) == ("secret", True)
    assert "grant" in failed.get("remedy", told)
    assert run.exit_code == 1
