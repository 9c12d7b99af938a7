"""Nothing outside of a directory is ever touched: through a key, a link, a mount, or a race."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of, entry_of
from support.local_targets import Open, install, scan, scan_leftovers
from support.rows import Rows
from support.trees import canary

from s32s_agent.config.settings import SyncSettings
from s32s_agent.errors import (
    DirectoryError,
    EntryError,
    EntryUnreadable,
)
from s32s_agent.model import Copy, Entry, Kind, Why
from s32s_agent.stores.local.target import open_target


def test_a_path_longer_than_path_max_is_reached(opened: Open) -> None:
    """A path that no single system call can name is written, listed, read and deleted."""
    key = "/".join(["n" * 250] * 20) + "/x"
    store = opened()
    install(store, key, b"far away")
    (entry,) = (each for each in scan(store) if each.kind is Kind.FILE)
    with store.open(entry) as content:
        data = b"".join(content.chunks())

    assert (entry.key, data) == (key, b"far away")
    assert store.delete(entry)
    assert len(scan(store)) == 20


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("key", ["../outside/a", "..", "d/../../outside/a", ".", "d/.", "../"])
def test_no_key_with_dots_leaves_the_directory(
    opened: Open, root: Path, outside: Path, key: str
) -> None:
    """The tree rejects them too, in every method, whoever checked the key before (CVE-2026-71313)."""
    (root / "d").mkdir()
    before = canary(outside), canary(root)
    store = opened(trash_days=0)
    entry = Entry(key, 8, kind=Kind.DIRECTORY if key.endswith("/") else Kind.FILE)
    with pytest.raises(EntryError):
        store.put(Copy(entry, Why.NEW), Bytes((b"evil8888",)))
    with pytest.raises(EntryError):
        store.delete(entry)
    with pytest.raises(EntryError), store.open(entry):
        pass

    assert (canary(outside), canary(root)) == before


@pytest.mark.usefixtures("kernel")
def test_a_link_in_place_of_a_directory_is_never_followed(
    opened: Open, root: Path, outside: Path
) -> None:
    """Neither a copy nor a delete follows one, as the last part of the path or an earlier one."""
    before = canary(outside)
    (root / "d").symlink_to(outside)
    (root / "e").mkdir()
    (root / "e" / "d").symlink_to(outside / "d")
    store = opened()
    for key in ("d/a", "d/new", "d/d/b", "e/d/b", "d/deep/new/x", "d/new/"):
        entry = entry_of(key, b"")
        with pytest.raises(EntryError, match="blocked by an existing link, file or directory"):
            store.put(Copy(entry, Why.NEW), Bytes((b"",)))
        with pytest.raises(EntryError, match="blocked by an existing link, file or directory"):
            store.delete(entry)
    with pytest.raises(EntryError, match="blocked by an existing link, file or directory"):
        store.delete(Entry("d/", kind=Kind.DIRECTORY))

    assert canary(outside) == before
    assert (root / "d").is_symlink()


def test_a_link_that_was_planted_after_the_check_is_not_followed(tmp_path: Path) -> None:
    """A directory above the target was replaced by a link since the maps were read."""
    outside = tmp_path / "outside"
    (outside / "html").mkdir(parents=True)
    (tmp_path / "site").symlink_to(outside)

    with pytest.raises(DirectoryError):
        open_target(
            str(tmp_path / "site" / "html"),
            Rows(),
            SyncSettings(),
            "20261122T204012Z-abc123",
        )


@pytest.mark.usefixtures("kernel")
def test_a_mounted_disk_is_never_entered(opened: Open, mount: Path) -> None:
    """What is mounted in the directory is not listed, not written and not deleted."""
    before = canary(mount)
    store = opened()
    found = scan(store)
    for key in ("mnt/a", "mnt/new", "mnt/d/b"):
        with pytest.raises(EntryError, match="another file system is mounted"):
            store.put(copy_of(key), Bytes((b"",)))
        with pytest.raises(EntryError, match="another file system is mounted"):
            store.delete(Entry(key))
    with pytest.raises(EntryUnreadable):
        store.delete(Entry("mnt/", kind=Kind.DIRECTORY))

    assert found == [Entry("mnt/", kind=Kind.MOUNT)]
    assert canary(mount) == before


@pytest.mark.usefixtures("kernel")
def test_a_bind_mount_is_never_entered(opened: Open, root: Path, outside: Path) -> None:
    """Neither is a directory of the same file system that is mounted in this one."""
    before, path = canary(outside), root / "bound"
    path.mkdir()
    done = subprocess.run(["mount", "--bind", outside, path], check=False)
    if done.returncode:
        pytest.skip("this machine cannot mount")
    try:
        store = opened()
        found = scan(store)
        for attempt in (
            lambda: store.put(copy_of("bound/new"), Bytes((b"",))),
            lambda: store.delete(Entry("bound/a")),
        ):
            with pytest.raises(EntryError, match="is mounted"):
                attempt()
    finally:
        subprocess.run(["umount", path], check=True)

    assert found == [Entry("bound/", kind=Kind.MOUNT)]
    assert canary(outside) == before


SWAP = """
import ctypes, os, sys
libc, here, rename_exchange = ctypes.CDLL(None), -100, 2
one, other = (os.fsencode(path) for path in sys.argv[1:])
print("begun", flush=True)
while libc.renameat2(here, one, here, other, rename_exchange) == 0:
    pass
"""
"""Exchange two names again and again, each time in one step; a process, so that no lock of Python's slows it down."""


@contextlib.contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    command = [sys.executable, "-c", SWAP, str(one), str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"begun\n"
        try:
            yield
            assert swapper.poll() is None
        finally:
            swapper.kill()


@pytest.mark.usefixtures("kernel")
def test_a_race_with_a_link_never_leads_out(opened: Open, root: Path, outside: Path) -> None:
    """While another process exchanges a directory and a link to outside, nothing outside changes."""
    before = canary(outside)
    (root / "d" / "d").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    store = opened()
    failures: list[Exception] = []
    done = 0
    with swapping(root / "d", root / "link"):
        for number in range(200):
            staged = []
            for key in ("d/a", "d/d/b", f"d/new{number}/x", f"d/n{number}"):
                try:
                    staged.append(store.put(copy_of(key, b"evil"), Bytes((b"evil",))))
                except (EntryError, DirectoryError) as error:
                    failures.append(error)
            shown = list(store.publish(staged))
            failures += [each.error for each in shown if each.error]
            done += len(shown)
            found = scan_leftovers(store)
            for key in ("d/a", "d/d/b", f"d/n{number}", f"d/new{number}/x", f"d/new{number}/"):
                try:
                    store.delete(entry_of(key, b"evil"))
                except (EntryError, DirectoryError) as error:
                    failures.append(error)
            store.remove_leftovers(found)

    assert canary(outside) == before
    assert failures
    assert done
