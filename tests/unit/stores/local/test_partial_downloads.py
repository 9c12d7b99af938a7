"""Partial downloads of large entries: which are resumed, which are kept, and which are removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of
from support.rows import Rows

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DiskFull,
    EntryError,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, Why
from s32s_agent.stores.base import File, RangedContent
from s32s_agent.stores.local.partial_downloads import is_partial, name_of, resumable
from s32s_agent.stores.local.target import LocalOptions, LocalTarget
from s32s_agent.stores.local.tree import Tree
from s32s_agent.stores.s3.ranges import AHEAD, RANGE, RANGED_FROM

SIZE = (AHEAD + 3) * RANGE
ENTRY = Entry("d/disk.img", SIZE, "0cc175b9c0f1b6a831c399e269772661")
COPY = Copy(ENTRY, Why.NEW)
MARK = b"here"


@dataclass
class Ranged(Bytes, RangedContent):
    """A content of ENTRY's size that marks where it begins to write, and then fails or completes the file."""

    pieces: tuple[bytes, ...] = ()
    failure: Exception | None = None
    kept: list[int] = field(default_factory=list)

    def fill(self, file: File, kept: int) -> None:
        self.kept.append(kept)
        file.write(MARK, kept)
        if self.failure is not None:
            raise self.failure
        file.write(b"!", SIZE - 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "d").mkdir(parents=True)
    return path


@pytest.fixture
def store(root: Path) -> Iterator[LocalTarget]:
    options = LocalOptions("20261122T204012Z-ab", durable=False)
    with contextlib.closing(LocalTarget(Tree(str(root)), Rows(), options)) as opened:
        yield opened


def leave(root: Path, length: int, entry: Entry = ENTRY) -> Path:
    """Create what a killed download leaves; the file is sparse, so it takes no space."""
    path = root / "d" / name_of(entry)
    path.touch(mode=0o600)
    os.truncate(path, length)
    return path


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "d").iterdir())


def test_each_version_of_each_key_has_its_own_name() -> None:
    """Another key, ETag or size has another name; all of them are the agent's own."""
    others = [
        ENTRY,
        ENTRY._replace(key="d/disk.im"),
        ENTRY._replace(etag="0cc175b9c0f1b6a831c399e269772662"),
        ENTRY._replace(size=SIZE + 1),
    ]

    assert len({name_of(each) for each in others}) == len(others)
    assert all(is_partial(name_of(each)) for each in others)
    assert name_of(ENTRY) == name_of(ENTRY._replace(edited=True))


def test_small_copies_are_not_resumed() -> None:
    """Only what is fetched in ranges can be resumed."""
    small = copy_of("small", b"")._replace(entry=ENTRY._replace(size=RANGED_FROM - 1))

    assert resumable([small, COPY]) == {f"d/{name_of(ENTRY)}": ENTRY.key}


def test_a_partial_download_of_a_blocked_entry_is_resumed() -> None:
    """While the entry is blocked, its bytes are in the nearest directory that exists."""
    name = name_of(ENTRY)

    assert resumable([COPY._replace(blocked=True)]) == dict.fromkeys(
        (name, f"d/{name}"), ENTRY.key
    )


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        (0, 0),
        ((AHEAD + 1) * RANGE - 1, 0),
        ((AHEAD + 1) * RANGE, RANGE),
        (SIZE - 1, 2 * RANGE),
        (SIZE, 3 * RANGE),
        (2 * SIZE, 3 * RANGE),
    ],
)
def test_a_download_resumes_after_the_bytes_that_are_surely_complete(
    store: LocalTarget, root: Path, length: int, kept: int
) -> None:
    """The last ranges may have holes, so they are fetched again; nothing beyond the size stays."""
    leave(root, length)
    content = Ranged()

    staged = store.put(COPY, content)

    assert content.kept == [kept]
    assert staged.token == f"d/{name_of(ENTRY)}"
    data = (root / staged.token).read_bytes()
    assert (data.find(MARK), len(data)) == (kept, SIZE)


@pytest.mark.parametrize(
    "failure", [Cancelled("now"), StoreUnavailable("gone"), AccessDenied("expired")]
)
def test_an_interrupted_download_is_kept(
    store: LocalTarget, root: Path, failure: AgentError
) -> None:
    """It does not show, and the next attempt resumes it."""
    leave(root, SIZE - 1)
    with pytest.raises(type(failure)):
        store.put(COPY, Ranged(failure=failure))
    kept = names(root)
    content = Ranged()

    (shown,) = store.publish([store.put(COPY, content)])

    assert (kept, shown.error) == ([name_of(ENTRY)], None)
    assert names(root) == ["disk.img"]


@pytest.mark.parametrize(
    "failure",
    [
        IntegrityError("corrupt"),
        SourceChanged("another version"),
        EntryError("in the way"),
        DiskFull("full"),
        OSError(5, "the disk is broken"),
        ValueError("a bug"),
    ],
)
def test_a_download_that_failed_for_good_is_not_kept(
    store: LocalTarget, root: Path, failure: Exception
) -> None:
    """After any other error than an interruption no file stays, and the next attempt starts from zero."""
    leave(root, SIZE - 1)
    with pytest.raises(Exception, match=r"corrupt|another|way|full|broken|bug"):
        store.put(COPY, Ranged(failure=failure))
    left = names(root)
    content = Ranged()
    store.put(COPY, content)

    assert (left, content.kept) == ([], [0])


def test_an_interrupted_stream_leaves_no_file(store: LocalTarget, root: Path) -> None:
    """A stream cannot be resumed."""

    def fail() -> None:
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        store.put(copy_of("d/x", b"x"), Bytes((b"x",), between=fail))

    assert names(root) == []


def scan_leftovers(store: LocalTarget) -> tuple[str, ...]:
    """Scan, and return the temporary files that the scan met."""
    found = store.scan()
    list(found)
    return found.learned.leftovers


def test_only_what_a_copy_can_resume_is_kept(store: LocalTarget, root: Path) -> None:
    """A partial download of another version, or of no copy of the plan, is removed."""
    leave(root, SIZE - 1)
    leave(root, SIZE - 1, ENTRY._replace(etag="ffffffffffffffffffffffffffffffff"))
    (root / "d" / ".s32s-tmp.0123456789abcdef").touch()

    assert store.remove_leftovers(scan_leftovers(store), [COPY]) == {}
    assert names(root) == [name_of(ENTRY)]
    assert store.remove_leftovers(scan_leftovers(store), []) == {}
    assert names(root) == []


def test_a_leftover_is_removed_when_the_entry_is_staged_without_it(
    store: LocalTarget, root: Path
) -> None:
    """Another version, or a stream in place of ranges: no temporary file stays."""
    leave(root, SIZE - 1)
    store.remove_leftovers(scan_leftovers(store), [COPY])

    list(store.publish([store.put(copy_of(ENTRY.key, b"new"), Bytes((b"new",)))]))

    assert names(root) == ["disk.img"]


def test_an_entry_that_was_staged_when_the_run_ended_is_not_fetched_again(
    store: LocalTarget, root: Path
) -> None:
    """After a signal, a file that was complete but not published is resumed near its end."""
    leave(root, SIZE - 1)
    store.discard(store.put(COPY, Ranged()))
    content = Ranged()

    store.put(COPY, content)

    assert content.kept == [3 * RANGE]


def test_an_entry_that_cannot_be_published_leaves_no_file(
    store: LocalTarget, root: Path
) -> None:
    """A directory blocks it: its bytes do not stay and fill the disk."""
    (root / ENTRY.key).mkdir()

    (shown,) = store.publish([store.put(COPY, Ranged())])

    assert isinstance(shown.error, EntryError)
    assert names(root) == ["disk.img"]


def second_name(path: Path, precious: Path) -> None:
    path.unlink()
    path.hardlink_to(precious)


def symbolic_link(path: Path, precious: Path) -> None:
    path.unlink()
    path.symlink_to(precious)


def other_owner(path: Path, _: Path) -> None:
    os.chown(path, 12345, -1)


def directory(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [second_name, symbolic_link, other_owner, directory, fifo])
def test_a_planted_leftover_leads_to_no_other_file(
    store: LocalTarget, root: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    """Another user who guesses the name gains nothing: the planted file is not written, and the entry is right."""
    if os.geteuid() != 0 and plant is other_owner:
        pytest.skip("only root can give files away")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    path = leave(root, SIZE - 1)
    plant(path, precious)
    content = Ranged()

    (shown,) = store.publish([store.put(COPY, content)])

    assert (shown.error, content.kept) == (None, [0])
    assert (root / ENTRY.key).read_bytes()[:4] == MARK
    assert precious.read_bytes() == b"precious"
