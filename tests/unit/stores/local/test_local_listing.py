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


def test_a_scan_is_in_key_order(opened: Open, root: Path) -> None:
    """A directory sorts with its slash: this is neither the order of names nor that of paths."""
    names = ["a-b", "a/b", "a/b-", "a.b", "a0", "a/b.c/d", "A", "b", "\ue000/x", "\U00010000"]
    write(root, dict.fromkeys(names, b""))

    found = keys(opened())

    assert found == sorted([*names, "a/", "a/b.c/", "\ue000/"])
    assert found[1:4] == ["a-b", "a.b", "a/"]


def test_names_that_are_not_utf8_are_listed(opened: Open, root: Path) -> None:
    """Such a name becomes a key that no object in S3 can have."""
    for name in (b"\xff", b"z", b"\xc3\xa9"):
        (root / os.fsdecode(name)).touch()

    assert keys(opened()) == ["z", "é", "\udcff"]


def test_a_very_deep_tree_is_listed_and_closed(opened: Open) -> None:
    """Three hundred levels are walked without recursion, and no descriptor stays open."""
    deep = "/".join(["d"] * 300)
    store = opened()
    install(store, f"{deep}/x", b"data")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    assert len(scan(store)) == 301
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_scan_that_ends_early_closes_its_directories(opened: Open, root: Path) -> None:
    """A scan that is not read to its end leaves no descriptor open."""
    write(root, {"a/b/c/d": b""})
    store = opened()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    walk = store.scan()
    next(walk)
    next(walk)
    walk.close()

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_files_of_the_agent_and_the_file_system_are_not_listed(
    opened: Open, root: Path
) -> None:
    """The trash, temporary files, NFS leftovers and lost+found are no entries; the same names elsewhere are."""
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


def test_links_and_special_files_are_listed_by_their_kind(
    opened: Open, root: Path, outside: Path
) -> None:
    """No link is followed and no special file opened."""
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


def test_an_unchanged_stamp_gives_the_etag_of_the_index(opened: Open, root: Path) -> None:
    """When all four fields are equal, the file holds the bytes of the index's ETag."""
    write(root, {"a": b"data"})

    assert scan(opened([row_of(root / "a", "a")])) == [Entry("a", 4, "etag")]


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_an_edit_that_changes_one_field_of_the_stamp_is_found(
    opened: Open, root: Path, field: str
) -> None:
    """Whichever field differs, the file counts as edited."""
    write(root, {"a": b"data"})
    stamp = row_of(root / "a", "a").stamp
    stamp = stamp._replace(**{field: getattr(stamp, field) + 1})

    assert scan(opened([IndexRow("a", "etag", stamp)])) == [Entry("a", 4, None, edited=True)]


def test_an_edit_that_restores_size_and_mtime_is_found(opened: Open, root: Path) -> None:
    """`touch -r` cannot hide an edit, since the ctime changes."""
    write(root, {"a": b"data"})
    row = row_of(root / "a", "a")
    (root / "a").write_bytes(b"evil")
    os.utime(root / "a", ns=(row.stamp.mtime_ns, row.stamp.mtime_ns))

    assert scan(opened([row])) == [Entry("a", 4, None, edited=True)]


def test_verify_trusts_no_stamp(opened: Open, root: Path) -> None:
    """With `--verify` every known file counts as edited."""
    write(root, {"a": b"data"})

    found = scan(opened([row_of(root / "a", "a")], trust=False))

    assert found == [Entry("a", 4, None, edited=True)]


def test_rows_without_files_are_listed_as_gone(opened: Open, root: Path) -> None:
    """A key that only the index knows is listed, in key order."""
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
    assert {each.key for each in found if each.kind is Kind.MISSING} == {
        row.key for row in rows
    }


def test_a_published_file_is_unchanged_at_the_next_scan(opened: Open, root: Path) -> None:
    """The stamp that publishing returns is the one that the next scan reads."""
    shown = install(opened(), "d/a", b"data")
    assert shown.stamp is not None
    rows = [IndexRow("d/a", shown.staged.etag, shown.stamp)]

    assert scan(opened(rows))[1] == Entry("d/a", 4, shown.staged.etag)
    (root / "d" / "a").write_bytes(b"evil")
    assert scan(opened(rows))[1] == Entry("d/a", 4, None, edited=True)
