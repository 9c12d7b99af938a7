"""Local targets for unit tests: fixtures (a plugin of pytest) and helpers."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from s32s_agent.model import Entry, IndexRow, Problem, Stamp
from s32s_agent.stores.base import Published
from s32s_agent.stores.local import syscalls
from s32s_agent.stores.local.target import LocalOptions, LocalTarget
from s32s_agent.stores.local.tree import Tree
from support.contents import Bytes, copy_of
from support.disks import or_skip, small_tmpfs
from support.rows import Rows
from support.trees import snapshot, write

RUN = "20261122T204012Z-abcdef"
NOW = datetime(2026, 11, 22, 20, 40, 12, tzinfo=UTC)
MTIME_NS = 1_700_000_000_123_456_789
Open = Callable[..., LocalTarget]


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
    path = root / ".s32s" / "trash" / run_id
    return snapshot(path) if path.is_dir() else {}


def scan_leftovers(store: LocalTarget) -> tuple[str, ...]:
    """Scan, and return the temporary files that the scan met."""
    found = store.scan()
    list(found)
    return found.learned.leftovers


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob(".s32s-tmp.*"))


def row_of(path: Path, key: str) -> IndexRow:
    status = path.stat()
    stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return IndexRow(key, "etag", stamp)


def edited(key: str, data: bytes) -> Entry:
    return Entry(key, len(data), None, edited=True)


def run_id_of(age: timedelta) -> str:
    return f"{NOW - age:%Y%m%dT%H%M%SZ}-0000aa"


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    if subprocess.run(["chattr", "+i", path], check=False).returncode:
        pytest.skip("chattr does not work here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree beside the directory that must not change."""
    path = tmp_path / "outside"
    write(path, {"a": b"precious", "d/b": b"precious too"})
    return path


@pytest.fixture
def opened(root: Path) -> Iterator[Open]:
    """Open targets on the directory; all are closed in the end."""
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
    """Run a test twice: with the kernel as it is, and as if it, or a sandbox, lacked openat2."""

    def refuse(*_arguments: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    if request.param != "openat2":
        monkeypatch.setattr(syscalls.LIBC, "syscall", refuse)


@pytest.fixture
def mount(root: Path) -> Iterator[Path]:
    """Another file system in the directory, with a file in it."""
    with or_skip(), small_tmpfs(root / "mnt", "size=1m") as path:
        write(path, {"a": b"precious", "d/b": b"precious"})
        yield path
