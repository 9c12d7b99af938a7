"""A source directory, by descriptors and by paths: both list the same, and report nothing unreadable as absent."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.agents import PACKAGE_ROOT

from s32s_agent.errors import DirectoryError, EntryError, SourceChanged
from s32s_agent.model import Entry, IndexRow, Kind, Problem
from s32s_agent.stores.base import ScanHints
from s32s_agent.stores.local.path_root import PathRoot, open_root
from s32s_agent.stores.local.root import Root
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.local.stamps import stamp_of
from s32s_agent.stores.local.tree import Tree

MIB = 1 << 20
Opener = Callable[[str], Root]


@pytest.fixture(params=[Tree, PathRoot], ids=["descriptors", "paths"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Both implementations of a directory."""
    found: Opener = request.param
    return found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory that holds every kind of file that a walk can meet."""
    top = tmp_path / "top"
    for name in ("d/e", "d-", "empty", ".s32s/trash", "lost+found", "d/lost+found"):
        (top / name).mkdir(parents=True)
    for name in (
        "a",
        "d/b",
        "d/e/c",
        "d0",
        "d.",
        "é日",
        "new\nline",
        ".s32s/x",
        "lost+found/x",
    ):
        (top / name).write_bytes(name.encode())
    for name in (".s32s-tmp.1", "d/.s32s-tmp.2", ".nfs0000000012345678"):
        (top / name).write_bytes(b"leftover")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(top / "socket"))
    (top / "link").symlink_to("a")
    (top / "dir-link").symlink_to("d")
    (top / "dangling").symlink_to("nowhere")
    (top / "self").symlink_to("self")
    (top / "d/up").symlink_to("..")
    (top / "out").symlink_to("/etc")
    return top


def reader(opener: Opener, top: Path, *rows: IndexRow, follow: bool = False) -> LocalSource:
    return LocalSource(opener(str(top)), lambda: rows, follow_links=follow)


def scan(*arguments: object, **options: bool) -> dict[str, Entry | Problem]:
    opened = reader(*arguments, **options)  # type: ignore[arg-type]
    found = list(opened.scan())
    opened.close()
    assert [each.key for each in found] == sorted({each.key for each in found})
    return {each.key: each for each in found}


def kinds(found: dict[str, Entry | Problem]) -> dict[str, str]:
    return {
        key: "problem" if isinstance(each, Problem) else each.kind.value
        for key, each in found.items()
    }


PLAIN = {
    **dict.fromkeys(["a", "d.", "d/b", "d/e/c", "d0", "new\nline", "é日"], "file"),
    **dict.fromkeys(["d-/", "d/", "d/e/", "d/lost+found/", "empty/"], "directory"),
    **dict.fromkeys(["pipe", "socket"], "special"),
}
LINKS = ["link", "dir-link", "dangling", "self", "d/up", "out"]


def test_a_scan_lists_every_kind_of_file(opener: Opener, top: Path) -> None:
    """In key order, without following links, and without the files of the agent and the file system."""
    opened = reader(opener, top).scan()
    list(opened)

    assert kinds(scan(opener, top)) == {**PLAIN, **dict.fromkeys(LINKS, "link")}
    assert sorted(opened.learned.leftovers) == [".s32s-tmp.1", "d/.s32s-tmp.2"]


def test_no_link_is_followed_out_of_the_directory(opener: Opener, top: Path) -> None:
    """One that leads out, in circles or to no file is a problem, and the target keeps what it has there."""
    found = scan(opener, top, follow=True)
    inner = {f"dir-link/{key[2:]}": kind for key, kind in PLAIN.items() if key[:2] == "d/"}
    problems = {"dangling", "self", "d/up/", "out/", "dir-link/up/"}

    assert {key for key, kind in kinds(found).items() if kind == "problem"} == problems
    assert {key: kind for key, kind in kinds(found).items() if key not in problems} == {
        **PLAIN,
        **{key: kind for key, kind in inner.items() if key != "dir-link/"},
        "dir-link/": "directory",
        "link": "file",
    }
    for key in problems:
        problem = found[key]
        assert isinstance(problem, Problem)
        assert (problem.scope, problem.fatal) == (key, False)


@pytest.mark.parametrize("follow", [False, True])
def test_descriptors_and_paths_list_the_same(top: Path, follow: bool) -> None:  # noqa: FBT001
    """The code for Windows lists on Linux exactly what the code for POSIX lists."""

    assert scan(PathRoot, top, follow=follow) == scan(Tree, top, follow=follow)


def test_an_unchanged_file_has_the_etag_of_the_index(opener: Opener, top: Path) -> None:
    """Another stamp is an edit, and a row without a file is listed as gone."""
    stamp = stamp_of((top / "a").stat())
    rows = [
        IndexRow("a", "etag-a", stamp),
        IndexRow("d/b", "etag-b", stamp),
        IndexRow("d/gone", "etag-gone", stamp),
        IndexRow("zz", "etag-z", stamp),
    ]
    found = scan(opener, top, *rows)

    assert found["a"] == Entry("a", 1, "etag-a")
    assert found["d/b"] == Entry("d/b", 3, None, edited=True)
    assert found["d/gone"] == Entry("d/gone", 1, "etag-gone", Kind.MISSING)
    assert found["zz"] == Entry("zz", 1, "etag-z", Kind.MISSING)


def test_a_directory_that_cannot_be_listed_is_not_empty(
    opener: Opener, top: Path, tmp_path: Path
) -> None:
    """A directory that vanished between opening and scanning is an error."""
    opened = reader(opener, top)
    if opener is PathRoot:
        top.rename(tmp_path / "moved")
        with pytest.raises(DirectoryError):
            list(opened.scan())
    else:
        opened.close()
        with pytest.raises(DirectoryError):
            list(opened.scan())


def test_an_empty_directory_where_a_disk_was_mounted_is_a_problem(
    opener: Opener, top: Path
) -> None:
    """Its files were not deleted; the directory stays known as one on which a disk belongs."""
    hints = ScanHints(mounts=("d/", "empty/"))
    with contextlib.closing(
        LocalSource(opener(str(top)), tuple, enters_mounts=True)
    ) as source:
        found = source.scan(hints)
        problems = [each for each in found if isinstance(each, Problem)]

    assert [(each.key, each.scope, each.fatal) for each in problems] == [
        ("empty/", "empty/", True)
    ]
    assert found.learned.mounts == ("empty/",)


# --- reading ---


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A directory with one file of three chunks."""
    (tmp_path / "big").mkdir()
    path = tmp_path / "big" / "x"
    path.write_bytes(os.urandom(3 * MIB))
    return path


def read(opener: Opener, path: Path, size: int, between: Callable[[], object] = bool) -> bytes:
    """Read a file; `between` is called after its first chunk."""
    opened = reader(opener, path.parent)
    with opened.open(Entry(path.name, size)) as content:
        chunks: Iterator[bytes] = content.chunks()
        first = next(chunks, b"")
        between()
        return first + b"".join(chunks)


def test_an_unchanged_file_is_read(opener: Opener, big: Path) -> None:
    """The bytes, with time, mode and stamp as of opening; set-id bits are not copied."""
    big.chmod(0o6750)
    os.utime(big, ns=(5, 1_700_000_000_123_456_789))
    opened = reader(opener, big.parent)
    with opened.open(Entry("x", 3 * MIB)) as content:
        found = b"".join(content.chunks())
        attributes, stamp = content.attributes, content.stamp

    assert found == big.read_bytes()
    assert (attributes.mtime_ns, attributes.mode) == (1_700_000_000_123_456_789, 0o750)
    assert stamp == stamp_of(big.stat())


def edit_and_restore_the_time(path: Path) -> None:
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(2 * MIB)
        stream.write(b"edited")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, MIB + 5),
    "emptied": lambda path: os.truncate(path, 0),
    "growing": lambda path: path.open("ab").write(b"more"),
    "edited": edit_and_restore_the_time,
    "deleted": Path.unlink,
    "replaced": lambda path: path.with_name("y").replace(path),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_not_sent(
    opener: Opener, big: Path, name: str
) -> None:
    """Whatever changes between the first chunk and the last, the bytes are not taken for a version."""
    big.with_name("y").write_bytes(b"other")

    with pytest.raises(SourceChanged):
        read(opener, big, 3 * MIB, lambda: CHANGES[name](big))


def test_a_file_of_another_size_than_listed_is_not_sent(opener: Opener, big: Path) -> None:
    """A file that grew or vanished since it was listed has changed."""
    with pytest.raises(SourceChanged):
        read(opener, big, 3 * MIB - 1)
    big.unlink()
    with pytest.raises(SourceChanged):
        read(opener, big, 3 * MIB)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("y")])
def test_what_replaced_a_file_is_not_read(
    opener: Opener, big: Path, make: Callable[[Path], object]
) -> None:
    """The agent does not wait for a FIFO, and does not follow a link."""
    big.with_name("y").write_bytes(bytes(3 * MIB))
    big.unlink()
    make(big)

    with pytest.raises(EntryError):
        read(opener, big, 3 * MIB)


def test_confirm_absent(opener: Opener, top: Path) -> None:
    """Only what does not exist is absent; a dangling link exists."""
    opened = reader(opener, top)
    keys = ["a", "nothing", "no/where", "a/b", "../a", "dangling", "pipe", "d/b"]

    assert [opened.confirm_absent(key) for key in keys] == [
        False,
        True,
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_open_root(tmp_path: Path, top: Path) -> None:
    """A source must be a directory that exists."""
    for wrong in (tmp_path / "missing", top / "a"):
        with pytest.raises(OSError, match=r"No such|Not a directory"):
            open_root(str(wrong))
        with pytest.raises(OSError, match=r"No such|Not a directory"):
            PathRoot(str(wrong))
    opened = open_root(str(top))
    opened.close()

    assert isinstance(opened, Tree)


# --- Windows ---

BLOCKED = ("fcntl", "pwd", "grp", "resource", "termios")
MODULES = (
    "cli",
    "commands.check",
    "monitoring.last_run",
    "run.mapping_run",
    "run.run",
)
IMPORTS = f"import {', '.join(f's32s_agent.{name}' for name in MODULES)}"


def test_a_master_imports_nothing_that_windows_lacks() -> None:
    """Neither a module that only POSIX has, nor at its start the libraries that only a run needs."""
    lines = ["import sys"]
    lines += [f"sys.modules[{name!r}] = None" for name in BLOCKED]
    lines += [IMPORTS, "assert 's32s_agent.stores.local.tree' not in sys.modules"]
    lines += ["assert not {'boto3', 'obstore'} & set(sys.modules)"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=PACKAGE_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0


def test_files_below_a_followed_link_are_not_reported_as_absent(
    opener: Opener, top: Path
) -> None:
    """With links followed, a key below a link is checked where the link leads."""
    followed = reader(opener, top, follow=True)
    with contextlib.closing(followed):
        gone = {
            key: followed.confirm_absent(key) for key in ("dir-link/b", "dir-link/no", "a")
        }

    assert gone == {"dir-link/b": False, "dir-link/no": True, "a": False}
