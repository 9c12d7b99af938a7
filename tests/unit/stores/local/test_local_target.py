"""A local directory as a target: what is staged, what blocks it, what is removed, and who else may write."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of, entry_of
from support.local_targets import (
    MTIME_NS,
    RUN,
    Open,
    immutable,
    install,
    leftovers,
    scan,
    scan_leftovers,
)
from support.rows import Rows
from support.trees import canary, snapshot, write

from s32s_agent.config.settings import SyncSettings
from s32s_agent.errors import (
    DirectoryError,
    DiskFull,
    EntryError,
    IntegrityError,
    LockHeld,
    SourceChanged,
)
from s32s_agent.model import Copy, Entry, Kind, Why
from s32s_agent.stores.base import Attributes
from s32s_agent.stores.local.owners import Owner
from s32s_agent.stores.local.target import LocalOptions, LocalTarget, open_target
from s32s_agent.stores.local.tree import Tree


def test_a_file_that_changes_while_it_is_hashed_is_no_version(
    opened: Open, root: Path
) -> None:
    """A mixture of two versions is never taken for one."""
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
def test_a_file_that_was_replaced_after_the_scan_is_not_read(
    opened: Open, root: Path, outside: Path, kind: str
) -> None:
    """The agent does not wait for a FIFO and does not follow a link."""
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


def test_mode_and_time_are_set_before_the_file_shows(opened: Open, root: Path) -> None:
    """The temporary file has the attributes of the entry already, whatever the umask is."""
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


def test_files_and_directories_get_the_modes_of_the_settings(opened: Open, root: Path) -> None:
    """Files whose object carries no mode, and all new directories."""
    store = opened(file_mode=0o640, dir_mode=0o2750)
    install(store, "d/a", b"")
    store.put(Copy(entry_of("e/"), Why.NEW), Bytes(()))

    assert stat.S_IMODE((root / "d" / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o2750
    assert stat.S_IMODE((root / "e").stat().st_mode) == 0o2750


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_modes_and_times_is_filled_all_the_same(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As vfat, CIFS and FUSE do; the file arrives, and what is missing is told once for all files."""

    def refuse(*_: object, **_given: object) -> None:
        raise OSError(number, os.strerror(number))

    store = opened()
    assert store.remarks() == []
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    content = Bytes((b"data",), Attributes(MTIME_NS, 0o600))
    shown = [
        list(store.publish([store.put(copy_of(key, b"data"), content)]))
        for key in ("d/a", "b")
    ]

    assert snapshot(root) == {"d": None, "d/a": b"data", "b": b"data"}
    assert [each.error for (each,) in shown] == [None, None]
    assert [each.partition(": ")[2] for each in store.remarks()] == [
        "the file system refuses modes, so files are installed without them",
        "the file system refuses times, so files are installed without them",
    ]


def test_a_disk_that_fails_is_no_file_system_without_modes(
    opened: Open, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error is one of the entry."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = opened()
    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(DirectoryError):
        store.put(copy_of("a", b"data"), Bytes((b"data",)))
    assert snapshot(root) == {}


def test_a_directory_that_a_team_shares_is_shared_below_its_first_level(
    opened: Open, root: Path
) -> None:
    """Without the set-group-id bit, what a member creates there belongs to a group that the others are not in."""
    root.chmod(0o2775)
    store = opened()
    install(store, "d/e/a", b"")
    store.put(Copy(entry_of("empty/"), Why.NEW), Bytes(()))

    for key in ("d", "d/e", "empty"):
        assert stat.S_IMODE((root / key).stat().st_mode) == 0o2755


def test_the_mode_that_an_object_carries_can_be_ignored(opened: Open, root: Path) -> None:
    """Every file then has the mode of the settings."""
    store = opened(restores_modes=False, file_mode=0o640)
    content = Bytes((b"data",), Attributes(MTIME_NS, 0o777))
    list(store.publish([store.put(copy_of("a", b"data"), content)]))
    status = (root / "a").stat()

    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, MTIME_NS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_and_directories_get_the_owner_of_the_settings(opened: Open, root: Path) -> None:
    """Before they show."""
    store = opened(owner=Owner(1234, 4321))
    staged = store.put(copy_of("d/a"), Bytes(()))
    (temporary,) = leftovers(root)
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (temporary, root / "d")]
    list(store.publish([staged]))

    assert owners == [(1234, 4321)] * 2


@pytest.mark.parametrize("data", [b"short", b"much too long"])
def test_a_file_of_the_wrong_length_is_not_installed(
    opened: Open, root: Path, data: bytes
) -> None:
    """The length must be that of the entry, whatever the content reports."""
    write(root, {"a": b"old"})
    with pytest.raises(IntegrityError, match=rf'"a": got {len(data)} bytes, expected 8'):
        opened().put(copy_of("a", b"expected"), Bytes((data,)))

    assert snapshot(root) == {"a": b"old"}


def test_a_file_with_the_longest_name_is_written(opened: Open, root: Path) -> None:
    """The name of the temporary file does not depend on it."""
    for name in ("x" * 255, "é" * 127):
        install(opened(), name, b"data")

        assert (root / name).read_bytes() == b"data"


@pytest.mark.parametrize(
    ("key", "here", "nearest"),
    [
        ("place", "place/in", ""),
        ("place/deep/in", "place", ""),
        ("d/place/deep/in", "d/place", "d"),
    ],
)
@pytest.mark.parametrize("durable", [False, True])
def test_a_blocked_entry_is_staged_while_what_blocks_it_stays(
    opened: Open, root: Path, key: str, here: str, nearest: str, *, durable: bool
) -> None:
    """Its bytes are written to the nearest directory; once unblocked it is published, and no temporary file stays."""
    write(root, {here: b"precious"})
    store = opened(durable=durable)
    before = snapshot(root)
    staged = store.put(copy_of(key, b"new")._replace(blocked=True), Bytes((b"new",)))

    assert [each.parent for each in leftovers(root)] == [root / nearest]
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


def test_a_blocked_entry_that_fails_leaves_no_temporary_file(opened: Open, root: Path) -> None:
    """Discarded, or still blocked, its bytes are removed, and what blocks it stays."""
    write(root, {"place": b"precious"})
    store, copy = opened(), copy_of("place/in", b"new")._replace(blocked=True)

    store.discard(store.put(copy, Bytes((b"new",))))
    assert leftovers(root) == []
    (shown,) = store.publish([store.put(copy, Bytes((b"new",)))])

    assert "blocked by an existing link, file or directory" in str(shown.error)
    assert snapshot(root) == {"place": b"precious"}


@pytest.mark.usefixtures("kernel")
def test_a_directory_that_is_no_longer_empty_is_not_deleted(opened: Open, root: Path) -> None:
    """ENOTEMPTY is no error: the next run compares again."""
    write(root, {"d/new": b"precious"})

    assert not opened().delete(Entry("d/", kind=Kind.DIRECTORY))
    assert snapshot(root) == {"d": None, "d/new": b"precious"}


def test_only_temporary_files_of_the_agent_are_removed(
    opened: Open, root: Path, outside: Path
) -> None:
    """Those of a killed run are; a link, FIFO or directory of such a name is not."""
    write(root, {".s32s-tmp.1": b"x", "d/.s32s-tmp.2": b"x", "d/s32s-tmp.3": b"x", "a": b""})
    (root / ".s32s-tmp.link").symlink_to(outside / "a")
    os.mkfifo(root / ".s32s-tmp.fifo")
    before = canary(outside)
    store = opened()
    found = scan_leftovers(store)
    (root / "d/.s32s-tmp.2").unlink()  # removed by another program

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
def test_temporary_files_of_another_user_stay(root: Path) -> None:
    """An agent that is not root removes only files of its own user."""
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


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_a_temporary_file_that_cannot_be_removed_is_reported(opened: Open, root: Path) -> None:
    """It fills the disk, so it is an error; the others are removed."""
    write(root, {".s32s-tmp.1": b"fixed", ".s32s-tmp.2": b"x", "d/.s32s-tmp.3": b"x"})
    with immutable(root / ".s32s-tmp.1"):
        store = opened()
        failures = store.remove_leftovers(scan_leftovers(store))

    assert [(key, type(error)) for key, error in failures.items()] == [
        (".s32s-tmp.1", DirectoryError)
    ]
    assert "chattr -i" in failures[".s32s-tmp.1"].remedy
    assert leftovers(root) == [root / ".s32s-tmp.1"]


def test_two_runs_never_write_one_directory(opened: Open) -> None:
    """The directory itself is locked, whatever config and state the other run has."""
    first, second = opened(), opened()
    first.lock()

    with pytest.raises(LockHeld, match="locked by another run"):
        second.lock()


def test_a_late_worker_writes_nothing_after_the_close(root: Path) -> None:
    """The number of the closed descriptor may belong to another file now; it is not used."""
    store = LocalTarget(Tree(str(root)), Rows(), LocalOptions(RUN))
    store.close()

    with pytest.raises(DirectoryError):
        store.put(copy_of("a"), Bytes((b"",)))
    with pytest.raises(DirectoryError):
        store.delete(Entry("a"))
    assert list(root.iterdir()) == []


def test_a_missing_directory_is_created_and_a_missing_parent_is_not(tmp_path: Path) -> None:
    """Only the mapping's own directory is created; a parent that is missing may be a disk that is not mounted."""
    settings = SyncSettings(dir_mode=0o711)
    open_target(str(tmp_path / "site"), Rows(), settings, "20261122T204012Z-abc123").close()

    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == 0o711
    with pytest.raises(DirectoryError, match="does not exist"):
        open_target(
            str(tmp_path / "mnt" / "site"), Rows(), settings, "20261122T204012Z-abc123"
        )
    assert not (tmp_path / "mnt").exists()


def test_a_full_disk_keeps_the_old_file(mount: Path) -> None:
    """ENOSPC is reported as such, before and during the transfer, and no temporary file stays."""
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
