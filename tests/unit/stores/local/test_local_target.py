"""A directory as a target, on a real file system: what shows, what is kept, and what is never touched."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of, entry_of
from support.disks import or_skip, small_tmpfs
from support.rows import Rows
from support.trees import canary, snapshot, write

from s32s_agent.config.settings import SyncSettings
from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    DiskFull,
    EntryError,
    IntegrityError,
    LockHeld,
    SourceChanged,
)
from s32s_agent.model import Copy, Entry, IndexRow, Kind, Problem, Stamp, Why
from s32s_agent.stores.base import Attributes, Published, Staged
from s32s_agent.stores.local import files, syscalls
from s32s_agent.stores.local.files import OpenFile
from s32s_agent.stores.local.owners import Owner
from s32s_agent.stores.local.publishing import Publisher
from s32s_agent.stores.local.target import LocalOptions, LocalTarget, open_target
from s32s_agent.stores.local.translate import translate
from s32s_agent.stores.local.tree import Tree

RUN = "20261122T204012Z-abcdef"
NOW = datetime(2026, 11, 22, 20, 40, 12, tzinfo=UTC)
MTIME_NS = 1_700_000_000_123_456_789


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree beside the directory that nobody may touch."""
    path = tmp_path / "outside"
    write(path, {"a": b"precious", "d/b": b"precious too"})
    return path


Open = Callable[..., LocalTarget]


@pytest.fixture
def opened(root: Path) -> Iterator[Open]:
    """Open stores on the directory; all are closed in the end."""
    with contextlib.ExitStack() as stack:

        def make(
            rows: list[IndexRow] | None = None, *, trust: bool = True, **options: object
        ) -> LocalTarget:
            chosen = LocalOptions(**{"run_id": RUN, "durable": False, **options})  # type: ignore[arg-type]
            store = LocalTarget(Tree(str(root)), Rows(rows or ()), chosen, trust_index=trust)
            stack.callback(store.close)
            return store

        yield make


@pytest.fixture(params=["openat2", "an old kernel"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: as the kernel is, and as if it, or a sandbox, lacked the call that notices mounts."""

    def refuse(*_arguments: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    if request.param != "openat2":
        monkeypatch.setattr(syscalls.LIBC, "syscall", refuse)


def scan(store: LocalTarget) -> list[Entry]:
    """Scan; no problem is expected."""
    found = list(store.scan())
    assert not [each for each in found if isinstance(each, Problem)]
    return [each for each in found if isinstance(each, Entry)]


def keys(store: LocalTarget) -> list[str]:
    return [each.key for each in scan(store)]


def install(
    store: LocalTarget, key: str, data: bytes, replaces: Entry | None = None
) -> Published:
    (shown,) = store.publish([store.put(copy_of(key, data, replaces), Bytes((data,)))])
    return shown


def trash(root: Path, run_id: str = RUN) -> dict[str, bytes | None]:
    place = root / ".s32s" / "trash" / run_id
    return snapshot(place) if place.is_dir() else {}


def met(store: LocalTarget) -> tuple[str, ...]:
    """Scan, and give the temporary files that the scan met."""
    found = store.scan()
    list(found)
    return found.learned.leftovers


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob(".s32s-tmp.*"))


# --- the walk ---


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


def test_paths_beyond_path_max_are_reached(opened: Open) -> None:
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


# --- what the index vouches for ---


def row_of(path: Path, key: str) -> IndexRow:
    status = path.stat()
    stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return IndexRow(key, "etag", stamp)


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


# --- reading ---


def test_a_file_that_is_written_while_it_is_read_is_not_taken(
    opened: Open, root: Path
) -> None:
    """A mixture of two versions is no version."""
    write(root, {"a": b"x" * 5_000_000})
    store = opened()
    (entry,) = scan(store)
    with store.open(entry) as content:
        chunks = content.chunks()
        next(chunks)
        with (root / "a").open("r+b") as stream:
            stream.write(b"y")

        with pytest.raises(SourceChanged, match="while it was read"):
            list(chunks)


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "gone"])
def test_what_is_no_file_any_more_is_not_read(
    opened: Open, root: Path, outside: Path, kind: str
) -> None:
    """A FIFO does not hang the agent, and a link is not followed, when they come after the scan."""
    path = root / "a"
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(outside / "a"),
        "directory": path.mkdir,
        "gone": lambda: None,
    }
    make[kind]()
    store = opened()
    errors: list[Exception] = []

    def read() -> None:
        try:
            with store.open(Entry("a", 8)):
                pass
        except EntryError as error:
            errors.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)

    assert len(errors) == 1


# --- replacing ---


def test_a_reader_sees_whole_versions_only(opened: Open, root: Path) -> None:
    """Whoever opens the file all the time finds one version or the next, never a part and never nothing."""
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


def test_mode_and_time_are_on_the_file_before_anybody_sees_it(
    opened: Open, root: Path
) -> None:
    """What travels with the entry is on the temporary file already, past the umask."""
    old = os.umask(0o077)
    try:
        store = opened()
        content = Bytes((b"data",), Attributes(MTIME_NS, 0o4751))
        staged = store.put(copy_of("d/a", b"data"), content)
        (temporary,) = leftovers(root)
        before = temporary.stat()
        list(store.publish([staged]))
    finally:
        os.umask(old)
    after = (root / "d" / "a").stat()

    assert (stat.S_IMODE(before.st_mode), before.st_mtime_ns) == (0o751, MTIME_NS)
    assert (stat.S_IMODE(after.st_mode), after.st_mtime_ns) == (0o751, MTIME_NS)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755


def test_modes_of_the_settings(opened: Open, root: Path) -> None:
    """Where the object carries no mode, the settings' is used; directories get theirs."""
    store = opened(file_mode=0o640, dir_mode=0o2750)
    install(store, "d/a", b"")
    store.put(Copy(entry_of("e/"), Why.NEW), Bytes(()))

    assert stat.S_IMODE((root / "d" / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o2750
    assert stat.S_IMODE((root / "e").stat().st_mode) == 0o2750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_settings(opened: Open, root: Path) -> None:
    """New files and directories belong to whom the settings say, from the beginning."""
    store = opened(owner=Owner(1234, 4321))
    staged = store.put(copy_of("d/a"), Bytes(()))
    (temporary,) = leftovers(root)
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (temporary, root / "d")]
    list(store.publish([staged]))

    assert owners == [(1234, 4321)] * 2


@pytest.mark.parametrize("data", [b"short", b"much too long"])
def test_bytes_that_are_too_few_or_too_many_are_not_installed(
    opened: Open, root: Path, data: bytes
) -> None:
    """The length is held against the entry's, whatever the content says."""
    write(root, {"a": b"old"})
    with pytest.raises(IntegrityError, match=rf'"a": got {len(data)} bytes, expected 8'):
        opened().put(copy_of("a", b"expected"), Bytes((data,)))

    assert snapshot(root) == {"a": b"old"}


def test_a_long_name_has_room_for_its_temporary(opened: Open, root: Path) -> None:
    """A name of 255 bytes is written, since the temporary's does not depend on it."""
    for name in ("x" * 255, "é" * 127):
        install(opened(), name, b"data")

        assert (root / name).read_bytes() == b"data"


def test_hard_links_outside_keep_their_bytes(opened: Open, root: Path, outside: Path) -> None:
    """A file that is also linked elsewhere is replaced, not written into."""
    os.link(outside / "a", root / "a")
    install(opened(), "a", b"new")

    assert (root / "a").read_bytes() == b"new"
    assert (outside / "a").read_bytes() == b"precious"


def test_what_was_made_durable_is_published_all_the_same(opened: Open, root: Path) -> None:
    """Few files and many take different ways to the disk, and both arrive."""
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


# --- the trash ---


def edited(key: str, data: bytes) -> Entry:
    return Entry(key, len(data), None, edited=True)


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


def test_an_edit_between_the_renaming_and_the_stamp_is_not_vouched_for(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was edited in place, in the same size, before its stamp was taken has no stamp."""
    sync_names = Publisher._sync_names

    def sync_and_edit(publisher: Publisher, staged: Sequence[Staged]) -> None:
        sync_names(publisher, staged)
        (root / "a").write_bytes(b"bad")

    monkeypatch.setattr(Publisher, "_sync_names", sync_and_edit)
    store = opened()
    (shown,) = store.publish([store.put(copy_of("a", b"new"), Bytes((b"new",)))])

    assert (shown.error, shown.stamp) == (None, None)


def test_a_link_put_on_the_way_after_resolving_leads_nowhere(tmp_path: Path) -> None:
    """A directory above the target that became a link since the maps were read is not followed."""
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


def test_a_missing_directory_is_made_and_a_missing_parent_is_not(tmp_path: Path) -> None:
    """Only the mapping's own directory is made; a parent that is missing may be a disk that is not mounted."""
    settings = SyncSettings(dir_mode=0o711)
    open_target(str(tmp_path / "site"), Rows(), settings, "20261122T204012Z-abc123").close()

    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == 0o711
    with pytest.raises(DirectoryError, match="does not exist"):
        open_target(
            str(tmp_path / "mnt" / "site"), Rows(), settings, "20261122T204012Z-abc123"
        )
    assert not (tmp_path / "mnt").exists()


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


def named(age: timedelta) -> str:
    return f"{NOW - age:%Y%m%dT%H%M%SZ}-0000aa"


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


# --- leftovers ---


def test_only_the_agent_s_own_temporaries_are_removed(
    opened: Open, root: Path, outside: Path
) -> None:
    """What a killed pass left goes; a link, FIFO or directory of such a name is nobody's temporary file."""
    write(root, {".s32s-tmp.1": b"x", "d/.s32s-tmp.2": b"x", "d/s32s-tmp.3": b"x", "a": b""})
    (root / ".s32s-tmp.link").symlink_to(outside / "a")
    os.mkfifo(root / ".s32s-tmp.fifo")
    before = canary(outside)
    store = opened()
    found = met(store)
    (root / "d/.s32s-tmp.2").unlink()  # gone already is as good

    assert [store.remove_leftovers(found) for _ in range(2)] == [{}, {}]
    assert set(snapshot(root)) == {
        "d",
        "d/s32s-tmp.3",
        "a",
        ".s32s-tmp.link",
        ".s32s-tmp.fifo",
    }
    assert canary(outside) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another's place")
def test_temporaries_of_another_user_are_left(root: Path) -> None:
    """Without being root, only what belongs to the agent's own user is removed."""
    root.chmod(0o777)
    (root / ".s32s-tmp.root").touch()
    script = (
        "import os, sys, types; from s32s_agent.stores.local.target import *;"
        "tree = Tree(sys.argv[1]); os.fchdir(tree.fd);"
        "os.setegid(65534); os.seteuid(65534);"
        "store = LocalTarget(tree, types.SimpleNamespace(rows=tuple), LocalOptions('r'));"
        "open('.s32s-tmp.own', 'w').close();"
        "scan = store.scan(); list(scan); print(store.remove_leftovers(scan.learned.leftovers))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, root],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("{}\n", "")
    assert leftovers(root) == [root / ".s32s-tmp.root"]


# --- what is blocked ---


@pytest.mark.parametrize(
    ("key", "here", "aside"),
    [
        ("place", "place/in", ""),
        ("place/deep/in", "place", ""),
        ("d/place/deep/in", "d/place", "d"),
    ],
)
@pytest.mark.parametrize("durable", [False, True])
def test_a_blocked_entry_waits_beside_what_is_in_its_way(
    opened: Open, root: Path, key: str, here: str, aside: str, *, durable: bool
) -> None:
    """Its bytes come while all is as it was; when the way is free it goes in, and nothing is left aside."""
    write(root, {here: b"precious"})
    store = opened(durable=durable)
    before = snapshot(root)
    staged = store.put(copy_of(key, b"new")._replace(blocked=True), Bytes((b"new",)))

    assert [each.parent for each in leftovers(root)] == [root / aside]
    leftovers(root)[0].unlink(missing_ok=False)
    assert snapshot(root) == before

    staged = store.put(copy_of(key, b"new")._replace(blocked=True), Bytes((b"new",)))
    (root / here).unlink()
    if here.startswith(f"{key}/"):
        (root / key).rmdir()
    (shown,) = store.publish([staged])

    assert shown.error is None
    assert (root / key).read_bytes() == b"new"
    assert leftovers(root) == []


def test_a_blocked_entry_that_is_given_up_leaves_nothing(opened: Open, root: Path) -> None:
    """Discarded, or with its way still blocked, its bytes go, and what is in the way stays."""
    write(root, {"place": b"precious"})
    store, copy = opened(), copy_of("place/in", b"new")._replace(blocked=True)

    store.discard(store.put(copy, Bytes((b"new",))))
    assert leftovers(root) == []
    (shown,) = store.publish([store.put(copy, Bytes((b"new",)))])

    assert "blocked by an existing link, file or directory" in str(shown.error)
    assert snapshot(root) == {"place": b"precious"}


# --- what is in the way ---


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("key", ["../outside/a", "..", "d/../../outside/a", ".", "d/.", "../"])
def test_no_key_leaves_the_directory_whoever_lets_it_through(
    opened: Open, root: Path, outside: Path, key: str
) -> None:
    """The disk's own border refuses dots too, for every way in (CVE-2026-71313)."""
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
def test_a_link_in_a_directory_s_place_is_never_followed(
    opened: Open, root: Path, outside: Path
) -> None:
    """Neither a copy nor a delete goes through a link, at the end of the way or in its middle."""
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


def test_a_directory_in_a_file_s_place_is_an_entry_s_failure(opened: Open, root: Path) -> None:
    """A directory that appears where a file must go stays, with its content; the temporary goes."""
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


def test_a_file_in_a_directory_s_place_is_an_entry_s_failure(opened: Open, root: Path) -> None:
    """What needs a directory where there is a file fails, and the file stays."""
    write(root, {"a": b"precious"})
    with pytest.raises(
        EntryError, match='"a/b": blocked by an existing link, file or directory'
    ):
        opened().put(copy_of("a/b"), Bytes((b"",)))

    assert snapshot(root) == {"a": b"precious"}


def test_one_failure_in_a_batch_is_only_its_own(
    opened: Open, root: Path, outside: Path
) -> None:
    """The others of a batch are published when one cannot be, and nothing of it lies about."""
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


def test_a_fifo_in_the_way_does_not_hang_the_agent(opened: Open, root: Path) -> None:
    """A FIFO that appears in a file's place is moved aside unopened."""
    store = opened()
    staged = store.put(copy_of("a", b"new"), Bytes((b"new",)))
    os.mkfifo(root / "a")
    (shown,) = store.publish([staged])

    assert shown.error is None
    assert snapshot(root) == {"a": b"new"}
    assert trash(root) == {"a": b"special"}


@pytest.mark.usefixtures("kernel")
def test_a_directory_that_got_a_file_meanwhile_stays(opened: Open, root: Path) -> None:
    """ENOTEMPTY is no error: the next pass looks again."""
    write(root, {"d/new": b"precious"})

    assert not opened().delete(Entry("d/", kind=Kind.DIRECTORY))
    assert snapshot(root) == {"d": None, "d/new": b"precious"}


@pytest.fixture
def mount(root: Path) -> Iterator[Path]:
    """Another file system in the directory, with a file in it."""
    with or_skip(), small_tmpfs(root / "mnt", "size=1m") as place:
        write(place, {"a": b"precious", "d/b": b"precious"})
        yield place


@pytest.mark.usefixtures("kernel")
def test_a_mounted_disk_is_never_entered(opened: Open, mount: Path) -> None:
    """What is mounted in the directory is a boundary: not listed, not written, not deleted."""
    before = canary(mount)
    store = opened()
    found = scan(store)
    for key in ("mnt/a", "mnt/new", "mnt/d/b"):
        with pytest.raises(EntryError, match="another file system is mounted"):
            store.put(copy_of(key), Bytes((b"",)))
        with pytest.raises(EntryError, match="another file system is mounted"):
            store.delete(Entry(key))
    with pytest.raises(DirectoryError):
        store.delete(Entry("mnt/", kind=Kind.DIRECTORY))

    assert found == [Entry("mnt/", kind=Kind.MOUNT)]
    assert canary(mount) == before


@pytest.mark.usefixtures("kernel")
def test_what_is_bound_into_a_directory_is_never_entered(
    opened: Open, root: Path, outside: Path
) -> None:
    """A directory of the same file system that is mounted in this one is a boundary as well."""
    before, place = canary(outside), root / "bound"
    place.mkdir()
    done = subprocess.run(["mount", "--bind", outside, place], check=False)
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
        subprocess.run(["umount", place], check=True)

    assert found == [Entry("bound/", kind=Kind.MOUNT)]
    assert canary(outside) == before


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


def test_a_full_disk_leaves_the_old_file(mount: Path) -> None:
    """ENOSPC is said as such, before and while the bytes come; nothing lies about."""
    options = LocalOptions(RUN, durable=False)
    with contextlib.closing(LocalTarget(Tree(str(mount)), Rows(), options)) as store:
        for size in (2 << 20, 1 << 10):
            if size < 1 << 20:
                with contextlib.suppress(OSError), (mount / "filler").open("wb", 0) as stream:
                    while True:
                        stream.write(bytes(4096))
            with pytest.raises(DiskFull):
                store.put(copy_of("a", bytes(size)), Bytes((bytes(size),)))

        assert (mount / "a").read_bytes() == b"precious"
        assert leftovers(mount) == []


# --- races ---


SWAP = """
import ctypes, os, sys
libc, here, rename_exchange = ctypes.CDLL(None), -100, 2
one, other = (os.fsencode(path) for path in sys.argv[1:])
print("begun", flush=True)
while libc.renameat2(here, one, here, other, rename_exchange) == 0:
    pass
"""
"""Lets two names change places, each time in one step; a process, so that no lock of Python's keeps it in step."""


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
def test_a_directory_swapped_for_a_link_never_leads_out(
    opened: Open, root: Path, outside: Path
) -> None:
    """While somebody swaps a directory for a link to outside, nothing outside changes."""
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
            found = met(store)
            for key in ("d/a", "d/d/b", f"d/n{number}", f"d/new{number}/x", f"d/new{number}/"):
                try:
                    store.delete(entry_of(key, b"evil"))
                except (EntryError, DirectoryError) as error:
                    failures.append(error)
            store.remove_leftovers(found)

    assert canary(outside) == before
    assert failures
    assert done


# --- the claim, and late workers ---


def test_two_passes_never_write_one_directory(opened: Open) -> None:
    """The directory itself is claimed, whatever config and state the other pass has."""
    first, second = opened(), opened()
    first.lock()

    with pytest.raises(LockHeld, match="locked by another run"):
        second.lock()


def test_a_worker_that_comes_late_writes_nowhere(root: Path) -> None:
    """After the store is closed its descriptor cannot be somebody else's."""
    store = LocalTarget(Tree(str(root)), Rows(), LocalOptions(RUN))
    store.close()

    with pytest.raises(DirectoryError):
        store.put(copy_of("a"), Bytes((b"",)))
    with pytest.raises(DirectoryError):
        store.delete(Entry("a"))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, DiskFull, "free space"),
        (errno.EDQUOT, DiskFull, "free space"),
        (errno.ELOOP, EntryError, "remove it"),
        (errno.EISDIR, EntryError, "remove it"),
        (errno.EXDEV, EntryError, "unmount it"),
        (errno.EROFS, DirectoryError, "read-only"),
        (errno.EPERM, DirectoryError, "chattr -i"),
        (errno.EACCES, DirectoryError, "chattr -i"),
        (errno.EIO, DirectoryError, "kernel's log"),
        (errno.ESTALE, DirectoryError, "mount"),
        (errno.EFBIG, DirectoryError, "LimitFSIZE"),
        (errno.EMFILE, DirectoryError, "LimitNOFILE="),
        (errno.ENAMETOOLONG, DirectoryError, "file system"),
    ],
)
def test_what_the_system_says_is_translate(
    number: int, kind: type[AgentError], remedy: str
) -> None:
    """Each error number means trouble with one entry, with the directory, or with the disk."""
    error = translate(OSError(number, os.strerror(number)), "k")

    assert type(error) is kind
    assert remedy in error.remedy
    assert str(error).startswith('"k": ')


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_an_immutable_file_is_an_entry_s_failure(opened: Open, root: Path) -> None:
    """A file that not even root may replace is told, stays, and stops no other."""
    write(root, {"a": b"fixed", "b": b"old"})
    with immutable(root / "a"):
        store = opened()
        shown = install(store, "a", b"new", edited("a", b"fixed"))
        with pytest.raises(DirectoryError):
            store.delete(Entry("a"))

        assert isinstance(shown.error, DirectoryError)
        assert install(store, "b", b"new").error is None
        assert snapshot(root) == {"a": b"fixed", "b": b"new"}


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_a_temporary_that_cannot_be_removed_is_told(opened: Open, root: Path) -> None:
    """What fills the disk without being in the source is not passed over in silence; the others are swept."""
    write(root, {".s32s-tmp.1": b"fixed", ".s32s-tmp.2": b"x", "d/.s32s-tmp.3": b"x"})
    with immutable(root / ".s32s-tmp.1"):
        store = opened()
        hindered = store.remove_leftovers(met(store))

    assert [(place, type(error)) for place, error in hindered.items()] == [
        (".s32s-tmp.1", DirectoryError)
    ]
    assert "chattr -i" in hindered[".s32s-tmp.1"].remedy
    assert leftovers(root) == [root / ".s32s-tmp.1"]


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    if subprocess.run(["chattr", "+i", path], check=False).returncode:
        pytest.skip("chattr does not work here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_disk_begins_with_a_large_file_before_its_end(
    root: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    """In whatever order the ranges come; and only where a sync will wait for it."""
    begun: list[range] = []
    monkeypatch.setattr(
        files,
        "start_writeback",
        lambda _, position, size: begun.append(range(position, position + size)),
    )
    length = 8 << 20
    for to_disk in (True, False):
        with (root / f"{to_disk}").open("wb") as file:
            opened = OpenFile(file.fileno(), to_disk=to_disk)
            for number in order:
                for offset in range(0, length, 1 << 20):
                    opened.write(bytes(1 << 20), number * length + offset)

        assert {each // length for one in begun for each in (one.start, one.stop - 1)} == (
            {0, 1, 2} if to_disk else set()
        )
        begun.clear()
