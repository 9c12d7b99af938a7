"""What a scan of a local directory yields: every entry in key order, and which files the index vouches for."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from support.local_targets import Open, install, keys, row_of, scan
from support.trees import write

from s32s_agent.model import Entry, IndexRow, Kind, Stamp


def test_the_walk_is_in_key_order(opened: Open, root: Path) -> None:
    """A directory sorts with its slash, which is neither the order of names nor that of paths."""
    names = ["a-b", "a/b", "a/b-", "a.b", "a0", "a/b.c/d", "A", "b", "\ue000/x", "\U00010000"]
    write(root, dict.fromkeys(names, b""))

    found = keys(opened())

    assert found == sorted([*names, "a/", "a/b.c/", "\ue000/"])
    assert found[1:4] == ["a-b", "a.b", "a/"]


def test_names_that_are_no_text_sort_too(opened: Open, root: Path) -> None:
    """A name that is not UTF-8 comes as a key that nothing in S3 can have."""
    for name in (b"\xff", b"z", b"\xc3\xa9"):
        (root / os.fsdecode(name)).touch()

    assert keys(opened()) == ["z", "é", "\udcff"]


def test_a_deep_tree_needs_no_recursion(opened: Open) -> None:
    """Three hundred levels are walked, and closed again."""
    deep = "/".join(["d"] * 300)
    store = opened()
    install(store, f"{deep}/x", b"data")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    assert len(scan(store)) == 301
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_walk_that_is_given_up_closes_what_it_opened(opened: Open, root: Path) -> None:
    """Whoever stops in the middle leaves no descriptor open."""
    write(root, {"a/b/c/d": b""})
    store = opened()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    walk = store.scan()
    next(walk)
    next(walk)
    walk.close()

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_what_the_agent_and_the_system_own_is_invisible(opened: Open, root: Path) -> None:
    """The trash, temporaries, NFS leftovers and lost+found are no entries; their likes elsewhere are."""
    write(
        root,
        {
            ".s32s/trash/x": b"",
            ".s32s-tmp.0": b"",
            "d/.s32s-tmp.1": b"",
            "d/.nfs000000000000abcd": b"",
            "lost+found/x": b"",
            "d/lost+found/x": b"",
            "d/.s32s/x": b"",
            ".nfsmount.conf": b"",
        },
    )

    assert keys(opened()) == [
        ".nfsmount.conf",
        "d/",
        "d/.s32s/",
        "d/.s32s/x",
        "d/lost+found/",
        "d/lost+found/x",
    ]


def test_links_and_special_files_show_as_what_they_are(
    opened: Open, root: Path, outside: Path
) -> None:
    """Nothing is followed and nothing is opened to be listed."""
    (root / "link").symlink_to(outside)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.chdir(root):
        sock.bind("socket")

    assert scan(opened()) == [
        Entry("dangling", kind=Kind.LINK),
        Entry("fifo", kind=Kind.SPECIAL),
        Entry("link", kind=Kind.LINK),
        Entry("socket", kind=Kind.SPECIAL),
    ]


def test_a_stamp_vouches(opened: Open, root: Path) -> None:
    """When all four fields agree the file holds the bytes of the index's ETag."""
    write(root, {"a": b"data"})

    assert scan(opened([row_of(root / "a", "a")])) == [Entry("a", 4, "etag")]


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_no_edit_hides_behind_three_fields(opened: Open, root: Path, field: str) -> None:
    """One field that differs is an edit, whichever it is."""
    write(root, {"a": b"data"})
    stamp = row_of(root / "a", "a").stamp
    stamp = stamp._replace(**{field: getattr(stamp, field) + 1})

    assert scan(opened([IndexRow("a", "etag", stamp)])) == [Entry("a", 4, None, edited=True)]


def test_an_edit_that_restores_size_and_mtime_is_seen(opened: Open, root: Path) -> None:
    """`touch -r` cannot hide an edit, since the ctime tells."""
    write(root, {"a": b"data"})
    row = row_of(root / "a", "a")
    (root / "a").write_bytes(b"evil")
    os.utime(root / "a", ns=(row.stamp.mtime_ns, row.stamp.mtime_ns))

    assert scan(opened([row])) == [Entry("a", 4, None, edited=True)]


def test_verify_believes_no_stamp(opened: Open, root: Path) -> None:
    """With `--verify` nothing vouches for anything."""
    write(root, {"a": b"data"})

    found = scan(opened([row_of(root / "a", "a")], trust=False))

    assert found == [Entry("a", 4, None, edited=True)]


def test_rows_without_files_show_as_gone(opened: Open, root: Path) -> None:
    """What only the index knows is told, in its place in the order."""
    write(root, {"b": b"", "d/e": b""})
    stamp = Stamp(7, 1, 2, 3)
    rows = [IndexRow(key, "etag", stamp) for key in ("a", "c", "d-", "d/d", "d/f", "e")]

    found = scan(opened(rows))

    assert [each.key for each in found] == [
        "a",
        "b",
        "c",
        "d-",
        "d/",
        "d/d",
        "d/e",
        "d/f",
        "e",
    ]
    assert {each.key for each in found if each.kind is Kind.GONE} == {row.key for row in rows}


def test_what_was_published_is_vouched_for(opened: Open, root: Path) -> None:
    """The stamp that publishing gives is the one that the next scan sees."""
    shown = install(opened(), "d/a", b"data")
    assert shown.stamp is not None
    rows = [IndexRow("d/a", shown.staged.etag, shown.stamp)]

    assert scan(opened(rows))[1] == Entry("d/a", 4, shown.staged.etag)
    (root / "d" / "a").write_bytes(b"evil")
    assert scan(opened(rows))[1] == Entry("d/a", 4, None, edited=True)
