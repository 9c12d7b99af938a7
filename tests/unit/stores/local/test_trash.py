"""The trash of a local directory: what it keeps, for how long, and that it never leads out."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of
from support.disks import or_skip, small_tmpfs
from support.local_targets import (
    NOW,
    RUN,
    Open,
    edited,
    install,
    row_of,
    run_id_of,
    scan,
    trash,
)
from support.trees import canary, snapshot, write

from s32s_agent.errors import (
    AgentError,
    EntryError,
)
from s32s_agent.model import Entry, Kind


def test_a_deleted_file_is_in_the_trash(opened: Open, root: Path) -> None:
    """It can be taken back, from the path that its key names; only the owner can read the trash."""
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


def test_an_overwritten_local_edit_is_in_the_trash(opened: Open, root: Path) -> None:
    """So is a file that was there before the agent."""
    write(root, {"edited": b"by hand", "first": b"was here"})
    store = opened()
    install(store, "edited", b"new", edited("edited", b"by hand"))
    install(store, "first", b"new", Entry("first", 8))

    assert trash(root) == {"edited": b"by hand", "first": b"was here"}
    assert snapshot(root) == {"edited": b"new", "first": b"new"}


def test_a_file_that_appears_after_the_scan_is_in_the_trash(opened: Open, root: Path) -> None:
    """The scan did not list it, and it is kept when it is replaced."""
    store = opened()
    staged = store.put(copy_of("a", b"new"), Bytes((b"new",)))
    write(root, {"a": b"just came"})
    list(store.publish([staged]))

    assert trash(root) == {"a": b"just came"}


def test_the_trash_holds_no_versions_that_the_agent_installed(
    opened: Open, root: Path
) -> None:
    """A version that the agent installed and now replaces is not kept."""
    write(root, {"a": b"old"})
    store = opened([row_of(root / "a", "a")])
    (found,) = scan(store)
    install(store, "a", b"new", found)

    assert not (root / ".s32s").exists()


@pytest.mark.parametrize("seconds", [0, 60, 86_400])
def test_an_edit_during_the_run_is_in_the_trash(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """An edit after the scan is kept, also when the clock was set back in between."""
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


def test_a_replaced_link_is_kept_as_a_link(opened: Open, root: Path, outside: Path) -> None:
    """The link itself is replaced; nothing changes where it leads."""
    before = canary(outside)
    (root / "a").symlink_to(outside / "a")
    install(opened(), "a", b"new", Entry("a", kind=Kind.LINK))

    assert snapshot(root) == {"a": b"new"}
    assert trash(root) == {"a": b"-> " + os.fsencode(outside / "a")}
    assert canary(outside) == before


def test_a_key_that_is_removed_twice_is_kept_twice(opened: Open, root: Path) -> None:
    """Also with the longest names."""
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
    """`trash_days: 0` keeps nothing, and creates no directory."""
    write(root, {"a": b"1", "b": b"2"})
    store = opened(trash_days=0)
    assert store.delete(Entry("a", 1))
    install(store, "b", b"new", edited("b", b"2"))

    assert set(root.iterdir()) == {root / "b"}


def fill_trash(root: Path, *run_ids: str) -> None:
    write(root / ".s32s" / "trash", {f"{run_id}/d/a": b"x" for run_id in run_ids})


def test_the_trash_is_pruned_by_age(opened: Open, root: Path) -> None:
    """What was kept for longer than the days is removed; names that are no run's stay."""
    old, young = run_id_of(timedelta(days=7, seconds=1)), run_id_of(timedelta(days=7))
    fill_trash(root, old, young, "by-hand", "20200101T000000Z")
    opened().prune(NOW)

    kept = {path.name for path in (root / ".s32s" / "trash").iterdir()}
    assert kept == {young, "by-hand", "20200101T000000Z"}


def test_a_name_that_anybody_can_make_ends_no_run(opened: Open, root: Path) -> None:
    """A run's name with a time that no calendar has crashed every run, and those behind it were never removed."""
    old = run_id_of(timedelta(days=30))
    foreign = ["00000000T000000Z-a", "99999999T999999Z-a", "20260230T000000Z-0f", "by-hand"]
    fill_trash(root, old, *foreign)
    told = opened().prune(NOW)

    assert {path.name for path in (root / ".s32s" / "trash").iterdir()} == set(foreign)
    assert told == [
        f'".s32s/trash/{name}": not a name of a run, so it is left alone'
        for name in sorted(foreign)
    ]
    opened().free_space()
    assert {path.name for path in (root / ".s32s" / "trash").iterdir()} == set(foreign)


def test_trash_that_cannot_be_removed_keeps_nothing_else_from_being_removed(
    opened: Open, root: Path
) -> None:
    """A file in place of a run's directory, or directories in each other without end, stay and are told."""
    first, second, third = (run_id_of(timedelta(days=days)) for days in (50, 40, 30))
    fill_trash(root, third)
    (root / ".s32s" / "trash" / first).write_bytes(b"a file")
    here = root / ".s32s" / "trash" / second
    here.mkdir()
    fd = os.open(here, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)

    try:
        told = opened().prune(NOW)
        left = {path.name for path in (root / ".s32s" / "trash").iterdir()}
    finally:
        subprocess.run(["rm", "-rf", here], check=True)  # pytest cannot

    assert left == {first, second}
    assert [each.partition(":")[0] for each in told] == [
        f'".s32s/trash/{first}"',
        f'".s32s/trash/{second}"',
    ]


def test_an_empty_trash_leaves_no_directory(opened: Open, root: Path) -> None:
    """The trash's own directories are removed with the last file."""
    fill_trash(root, run_id_of(timedelta(days=30)))
    opened().prune(NOW)

    assert list(root.iterdir()) == []
    opened().prune(NOW)


def test_freeing_space_empties_the_trash(opened: Open, root: Path) -> None:
    """All of it, once; then there is nothing left to remove."""
    fill_trash(root, run_id_of(timedelta(0)), run_id_of(timedelta(days=30)))
    write(root, {"a": b""})
    store = opened()

    assert store.free_space()
    assert set(root.iterdir()) == {root / "a"}
    assert not store.free_space()


@pytest.mark.parametrize("path", [".s32s", ".s32s/trash", f".s32s/trash/{RUN}"])
def test_the_trash_never_leads_out_of_the_directory(
    opened: Open, root: Path, outside: Path, path: str
) -> None:
    """A link in place of the trash is not followed to keep, to prune or to free space."""
    (outside / "trash" / run_id_of(timedelta(days=99))).mkdir(parents=True)
    (outside / run_id_of(timedelta(days=99))).mkdir()
    before = canary(outside)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(outside)
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
def test_pruning_removes_nothing_of_a_disk_that_is_mounted_in_the_trash(
    opened: Open, root: Path
) -> None:
    """Nothing on another file system is removed."""
    run_id = run_id_of(timedelta(days=30))
    path = root / ".s32s" / "trash" / run_id / "mnt"
    with or_skip(), small_tmpfs(path, "size=1m"):
        write(path, {"a": b"precious"})
        with contextlib.suppress(AgentError):
            opened().prune(NOW)

        assert (path / "a").read_bytes() == b"precious"
