"""How staged files show: whole, durably, each failure alone, and with a stamp that no edit can share."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of, entry_of
from support.local_targets import Open, edited, immutable, install, scan, trash
from support.trees import canary, snapshot, write

from s32s_agent.errors import (
    DirectoryError,
    EntryError,
)
from s32s_agent.model import Copy, Entry, Why
from s32s_agent.stores.base import Staged
from s32s_agent.stores.local.publishing import Publisher


def test_a_reader_never_sees_part_of_a_file(opened: Open, root: Path) -> None:
    """A program that opens the file all the time finds one version or the next, never a part and never no file."""
    versions = [bytes([number]) * (100_000 + 1000 * number) for number in range(60)]
    store = opened()
    install(store, "a", versions[0])
    torn: list[int] = []
    reads: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                data = (root / "a").read_bytes()
            except OSError:
                torn.append(-1)
                continue
            reads.append(len(data))
            if data not in versions:
                torn.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for data in versions[1:]:
            (old,) = scan(store)
            staged = store.put(copy_of("a", data, old), Bytes((data[:50_000], data[50_000:])))
            list(store.publish([staged]))
    finally:
        done.set()
        reader.join()

    assert torn == []
    assert reads
    assert (root / "a").read_bytes() == versions[-1]


def test_a_hard_link_outside_keeps_its_bytes(opened: Open, root: Path, outside: Path) -> None:
    """A file with another name is replaced, not overwritten in place."""
    os.link(outside / "a", root / "a")
    install(opened(), "a", b"new")

    assert (root / "a").read_bytes() == b"new"
    assert (outside / "a").read_bytes() == b"precious"


def test_small_and_large_batches_are_published_durably(opened: Open, root: Path) -> None:
    """Few files are synced one by one, many with the file system; both are published."""
    store = opened(durable=True)
    for count in (1, 9):
        names = [f"{count}/d{number}/f" for number in range(count)]
        staged = [store.put(copy_of(name, b"x"), Bytes((b"x",))) for name in names]
        staged.append(store.put(Copy(entry_of(f"{count}/e/"), Why.NEW), Bytes(())))
        shown = list(store.publish(staged))

        assert [each.error for each in shown] == [None] * (count + 1)
        assert sum(each.stamp is not None for each in shown) == count
    store.make_durable()

    assert len([data for data in snapshot(root).values() if data == b"x"]) == 10


def test_an_edit_between_rename_and_stamp_is_not_vouched_for(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was edited in place, in the same size, before its stamp was read gets no stamp."""
    sync_names = Publisher._sync_names

    def sync_and_edit(publisher: Publisher, staged: Sequence[Staged]) -> None:
        sync_names(publisher, staged)
        (root / "a").write_bytes(b"bad")

    monkeypatch.setattr(Publisher, "_sync_names", sync_and_edit)
    store = opened()
    (shown,) = store.publish([store.put(copy_of("a", b"new"), Bytes((b"new",)))])

    assert (shown.error, shown.stamp) == (None, None)


def test_a_directory_that_blocks_a_file_stays(opened: Open, root: Path) -> None:
    """It stays with its content, the entry fails, and the temporary file is removed."""
    for days in (7, 0):
        store = opened(trash_days=days)
        staged = store.put(copy_of("a", b"new"), Bytes((b"new",)))
        write(root, {"a/b": b"precious"})
        (shown,) = store.publish([staged])

        assert isinstance(shown.error, EntryError)
        assert snapshot(root) == {"a": None, "a/b": b"precious"}
        with pytest.raises(EntryError):
            store.delete(Entry("a", 1))
        (root / "a" / "b").unlink()
        (root / "a").rmdir()


def test_a_file_that_blocks_a_directory_stays(opened: Open, root: Path) -> None:
    """The entry that needs the directory fails."""
    write(root, {"a": b"precious"})
    with pytest.raises(
        EntryError, match='"a/b": blocked by an existing link, file or directory'
    ):
        opened().put(copy_of("a/b"), Bytes((b"",)))

    assert snapshot(root) == {"a": b"precious"}


def test_one_failure_in_a_batch_stops_no_other_entry(
    opened: Open, root: Path, outside: Path
) -> None:
    """The other entries of the batch are published, and nothing outside changes."""
    before = canary(outside)
    store = opened(durable=True)
    names = ["a", "d/x", "e/y", "f/1", "f/2", "f/3"]
    staged = [store.put(copy_of(name, b"x"), Bytes((b"x",))) for name in names]
    (root / "d").rename(root / "moved")
    (root / "d").symlink_to(outside)
    shown = {each.staged.copy.entry.key: each.error for each in store.publish(staged)}

    assert isinstance(shown.pop("d/x"), EntryError)
    assert set(shown.values()) == {None}
    assert canary(outside) == before
    assert {name: (root / name).read_bytes() for name in shown} == dict.fromkeys(shown, b"x")


def test_a_fifo_in_place_of_a_file_does_not_block_the_agent(opened: Open, root: Path) -> None:
    """It is moved to the trash unopened."""
    store = opened()
    staged = store.put(copy_of("a", b"new"), Bytes((b"new",)))
    os.mkfifo(root / "a")
    (shown,) = store.publish([staged])

    assert shown.error is None
    assert snapshot(root) == {"a": b"new"}
    assert trash(root) == {"a": b"special"}


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_an_immutable_file_stops_no_other_entry(opened: Open, root: Path) -> None:
    """A file that not even root may replace is reported and stays."""
    write(root, {"a": b"fixed", "b": b"old"})
    with immutable(root / "a"):
        store = opened()
        shown = install(store, "a", b"new", edited("a", b"fixed"))
        with pytest.raises(DirectoryError):
            store.delete(Entry("a"))

        assert isinstance(shown.error, DirectoryError)
        assert install(store, "b", b"new").error is None
        assert snapshot(root) == {"a": b"fixed", "b": b"new"}
