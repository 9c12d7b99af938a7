"""The trash of a local directory: what it keeps, for how long, and that it never leads out."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of
from support.disks import or_skip, small_tmpfs
from support.local_targets import NOW, RUN, Open, edited, install, named, row_of, scan, trash
from support.trees import canary, snapshot, write

from s32s_agent.errors import (
    AgentError,
    EntryError,
)
from s32s_agent.model import Entry, Kind


def test_the_trash_keeps_what_was_deleted(opened: Open, root: Path) -> None:
    """A deleted file can be taken back, from where its key says; only the owner can look."""
    write(root, {"d/a": b"1", "b": b"2"})
    (root / "link").symlink_to("b")
    store = opened()
    for key in ("d/a", "b"):
        assert store.delete(Entry(key, 1))
    assert store.delete(Entry("link", kind=Kind.LINK))

    assert trash(root) == {"d": None, "d/a": b"1", "b": b"2", "link": b"-> b"}
    assert snapshot(root) == {"d": None}
    for path in (root / ".s32s", root / ".s32s" / "trash", root / ".s32s" / "trash" / RUN):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_the_trash_keeps_a_local_edit_that_is_overwritten(opened: Open, root: Path) -> None:
    """What somebody wrote by hand, and what was there first, is kept."""
    write(root, {"edited": b"by hand", "first": b"was here"})
    store = opened()
    install(store, "edited", b"new", edited("edited", b"by hand"))
    install(store, "first", b"new", Entry("first", 8))

    assert trash(root) == {"edited": b"by hand", "first": b"was here"}
    assert snapshot(root) == {"edited": b"new", "first": b"new"}


def test_the_trash_keeps_what_came_between_scan_and_copy(opened: Open, root: Path) -> None:
    """A file that appears where there was none is kept too."""
    store = opened()
    staged = store.put(copy_of("a", b"new"), Bytes((b"new",)))
    write(root, {"a": b"just came"})
    list(store.publish([staged]))

    assert trash(root) == {"a": b"just came"}


def test_the_trash_does_not_fill_with_versions_of_the_agent_s_own(
    opened: Open, root: Path
) -> None:
    """A version that the agent installed and now replaces is in S3's history, not in the trash."""
    write(root, {"a": b"old"})
    store = opened([row_of(root / "a", "a")])
    (found,) = scan(store)
    install(store, "a", b"new", found)

    assert not (root / ".s32s").exists()


@pytest.mark.parametrize("seconds", [0, 60, 86_400])
def test_an_edit_made_while_the_pass_runs_is_kept(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """What somebody wrote after the scan is in the trash, whatever was done to the clock since: it was set back."""
    write(root, {"a": b"olds"})
    store = opened([row_of(root / "a", "a")])
    clock = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: clock() + seconds * 1_000_000_000)
        (found,) = scan(store)
    assert found.etag is not None
    status = (root / "a").stat()
    (root / "a").write_bytes(b"mine")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    install(store, "a", b"new", found)

    assert snapshot(root) == {"a": b"new"}
    assert trash(root) == {"a": b"mine"}


def test_a_link_that_is_replaced_is_kept_as_a_link(
    opened: Open, root: Path, outside: Path
) -> None:
    """A link in a file's place is replaced as itself; where it leads nothing changes."""
    before = canary(outside)
    (root / "a").symlink_to(outside / "a")
    install(opened(), "a", b"new", Entry("a", kind=Kind.LINK))

    assert snapshot(root) == {"a": b"new"}
    assert trash(root) == {"a": b"-> " + os.fsencode(outside / "a")}
    assert canary(outside) == before


def test_the_same_key_twice_in_the_trash(opened: Open, root: Path) -> None:
    """What a pass removes twice is kept twice, long names too."""
    store = opened()
    for name in ("a", "é" * 127):
        for data in (b"1", b"2", b"3"):
            write(root, {name: data})
            assert store.delete(Entry(name, 1))

    cut = "é" * 60
    short = {"a": b"1", "a~1": b"2", "a~2": b"3"}
    long = {"é" * 127: b"1", f"{cut}~1": b"2", f"{cut}~2": b"3"}
    assert trash(root) == short | long


def test_without_a_trash_nothing_is_kept(opened: Open, root: Path) -> None:
    """`trash_days: 0` keeps nothing, and makes no directory."""
    write(root, {"a": b"1", "b": b"2"})
    store = opened(trash_days=0)
    assert store.delete(Entry("a", 1))
    install(store, "b", b"new", edited("b", b"2"))

    assert set(root.iterdir()) == {root / "b"}


def fill_trash(root: Path, *run_ids: str) -> None:
    write(root / ".s32s" / "trash", {f"{run_id}/d/a": b"x" for run_id in run_ids})


def test_the_trash_is_pruned_by_age(opened: Open, root: Path) -> None:
    """What was kept for longer than the days goes; foreign names stay."""
    old, young = named(timedelta(days=7, seconds=1)), named(timedelta(days=7))
    fill_trash(root, old, young, "by-hand", "20200101T000000Z")
    opened().prune(NOW)

    kept = {path.name for path in (root / ".s32s" / "trash").iterdir()}
    assert kept == {young, "by-hand", "20200101T000000Z"}


def test_an_empty_trash_leaves_no_directory(opened: Open, root: Path) -> None:
    """With the last of it the trash itself goes."""
    fill_trash(root, named(timedelta(days=30)))
    opened().prune(NOW)

    assert list(root.iterdir()) == []
    opened().prune(NOW)


def test_freeing_space_removes_the_trash(opened: Open, root: Path) -> None:
    """All of it goes, once; then there is none to give up."""
    fill_trash(root, named(timedelta(0)), named(timedelta(days=30)))
    write(root, {"a": b""})
    store = opened()

    assert store.free_space()
    assert set(root.iterdir()) == {root / "a"}
    assert not store.free_space()


@pytest.mark.parametrize("place", [".s32s", ".s32s/trash", f".s32s/trash/{RUN}"])
def test_the_trash_never_leads_out_of_the_directory(
    opened: Open, root: Path, outside: Path, place: str
) -> None:
    """A link in the trash's place is followed neither to keep, nor to prune, nor to make room."""
    (outside / "trash" / named(timedelta(days=99))).mkdir(parents=True)
    (outside / named(timedelta(days=99))).mkdir()
    before = canary(outside)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(outside)
    write(root, {"x": b"1", "y": b"2"})
    store = opened()
    with pytest.raises(EntryError):
        store.delete(Entry("x", 1))
    shown = install(store, "y", b"new", edited("y", b"2"))
    with contextlib.suppress(AgentError):
        store.prune(NOW + timedelta(days=99))
    with contextlib.suppress(AgentError):
        store.free_space()

    assert isinstance(shown.error, EntryError)
    assert canary(outside) == before
    assert (root / "x").read_bytes() == b"1"
    assert (root / "y").read_bytes() == b"2"


@pytest.mark.usefixtures("kernel")
def test_a_disk_mounted_in_the_trash_is_not_emptied(opened: Open, root: Path) -> None:
    """Pruning the trash removes nothing that is on another file system."""
    run_id = named(timedelta(days=30))
    place = root / ".s32s" / "trash" / run_id / "mnt"
    with or_skip(), small_tmpfs(place, "size=1m"):
        write(place, {"a": b"precious"})
        with contextlib.suppress(AgentError):
            opened().prune(NOW)

        assert (place / "a").read_bytes() == b"precious"
