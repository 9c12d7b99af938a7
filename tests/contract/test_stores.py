"""One suite for every store: each sentence of `stores/base.py` holds for all of them.

A store joins with one line in `SOURCES` or `TARGETS`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.buckets import Bucket
from support.contents import Bytes, copy_of, md5
from support.rows import Rows

from s32s_agent.config.settings import S3Settings
from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.errors import IntegrityError, SourceChanged
from s32s_agent.model import Copy, Entry, Kind, Location, Problem, Why
from s32s_agent.stores.base import Content, Published, ScanHints, Source, Target
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.local.target import LocalOptions, LocalTarget
from s32s_agent.stores.local.tree import Tree
from s32s_agent.stores.memory import MemoryStore
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.stores.s3.target import S3Target, UploadOptions
from s32s_agent.stores.s3.unfinished_uploads import Uploads

PREFIX = "pre fix+é"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
HINTS = ScanHints(unordered=True)
"""SeaweedFS is not known to list in order."""
BIG = bytes(range(256)) * (9 << 12)
"""9 MiB: two parts for a store that cuts."""
NAMES = [
    "-rf",
    " ",
    "a b+c%20d",
    "a-b",
    "a.b",
    "a/b",
    "a/b-",
    "a0",
    "café",
    "caf\u0065\u0301",
    "line\nbreak\x01\x7f",
    "\ue000",
    "\U00010000",
    "~",
    "x" * 200,
]
"""Not in order."""


@dataclass
class Rig:
    """A store, and a way past it to what it holds."""

    store: Any
    fill: Callable[[dict[str, bytes]], None]
    """Put entries there that were not put by the store; a key that ends in a slash is a directory."""
    shown: Callable[[], dict[str, bytes]]
    """Return every file, by key."""
    unfinished: Callable[[], list[str]] = list
    """List what is left unfinished."""
    fill_beside: Callable[[], None] = lambda: None
    """Put something beside the store, under a name that begins as its own."""
    pins: bool = True
    """It tells two versions of one size apart when it opens one."""
    has_current_version: bool = True
    """It has a version to offer in place of one that changed."""
    publishes_on_put: bool = False
    """`put` publishes, since its writes are whole by nature."""
    directories: bool = True
    """A directory that is not empty stays."""

    def remove(self, key: str) -> None:
        self.store.delete(Entry(key))


@dataclass
class Makers:
    """What the rigs are made of."""

    directory: Path
    bucket: Callable[[], Bucket]
    connection: Callable[[], Connection]


def memory(_: Makers) -> Rig:
    store = MemoryStore()

    def shown() -> dict[str, bytes]:
        return {key: data for key, data in store.entries.items() if not key.endswith("/")}

    return Rig(store, store.entries.update, shown, lambda: list(store.staged))


def local_parts(makers: Makers) -> dict[str, Any]:
    root = makers.directory / "tree"
    root.mkdir()

    def fill_beside() -> None:
        (makers.directory / "tree0").mkdir()
        (makers.directory / "tree0" / "x").write_bytes(b"beside")

    def fill(entries: dict[str, bytes]) -> None:
        for key, data in entries.items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if key.endswith("/") else path.write_bytes(data)

    def files() -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    def shown() -> dict[str, bytes]:
        return {key: data for key, data in files().items() if ".s32s" not in key}

    def unfinished() -> list[str]:
        return [key for key in files() if ".s32s-tmp." in key]

    return {
        "fill": fill,
        "shown": shown,
        "unfinished": unfinished,
        "fill_beside": fill_beside,
    }


def local(makers: Makers) -> Rig:
    parts = local_parts(makers)
    options = LocalOptions("20261122T000000Z-000000")
    store = LocalTarget(Tree(str(makers.directory / "tree")), Rows(), options)
    return Rig(store, **parts, pins=False, has_current_version=False)


def local_source(makers: Makers) -> Rig:
    parts = local_parts(makers)
    rig = Rig(
        LocalSource(Tree(str(makers.directory / "tree")), tuple),
        **parts,
        pins=False,
        has_current_version=False,
    )
    rig.remove = lambda key: (makers.directory / "tree" / key).unlink()  # type: ignore[method-assign]
    return rig


def s3(makers: Makers) -> Rig:
    bucket = makers.bucket()
    options = UploadOptions(Uploads(makers.directory / "uploads"))
    store = S3Target(makers.connection(), Location(bucket.name, PREFIX), options)

    def fill(entries: dict[str, bytes]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda each: bucket.put(f"{PREFIX}/{each[0]}", each[1]), entries.items()
                )
            )

    def shown() -> dict[str, bytes]:
        return {
            key.removeprefix(f"{PREFIX}/"): bucket.get(key)
            for key in bucket.keys()  # noqa: SIM118 - no dict
            if not key.endswith("/")
        }

    def unfinished() -> list[str]:
        found = bucket.client.list_multipart_uploads(Bucket=bucket.name)
        notes = (makers.directory / "uploads").glob("*")
        return [each["Key"] for each in found.get("Uploads", [])] + list(map(str, notes))

    def fill_beside() -> None:
        bucket.put(f"{PREFIX}0/x", b"beside")

    return Rig(
        store,
        fill,
        shown,
        unfinished,
        fill_beside,
        publishes_on_put=True,
        directories=False,
    )


def s3_read_only(makers: Makers) -> Rig:
    rig, bucket = s3(makers), makers.bucket()
    rig.store = S3Source(makers.connection(), Location(bucket.name, PREFIX))
    rig.remove = lambda key: bucket.delete(f"{PREFIX}/{key}")  # type: ignore[method-assign]
    return rig


SOURCES = [memory, local_source, s3_read_only]
READABLE = [*SOURCES, local]
"""What can be scanned and opened: a local target, too, so that its files can be hashed."""
TARGETS = [memory, local, s3]


@pytest.fixture(scope="session")
def s3_connection(seaweedfs_server: S3Server) -> Iterator[Connection]:
    settings = S3Settings(
        endpoint_url=seaweedfs_server.endpoint_url,
        region=seaweedfs_server.region,
        addressing_style="path",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.secret_key)
        yield Connection(settings)


@pytest.fixture
def makers(request: pytest.FixtureRequest, tmp_path: Path) -> Makers:
    """Start the server only for a store that needs it."""
    return Makers(
        tmp_path,
        lambda: request.getfixturevalue("bucket"),
        lambda: request.getfixturevalue("s3_connection"),
    )


@pytest.fixture(params=SOURCES, ids=lambda make: str(make.__name__))
def source(request: pytest.FixtureRequest, makers: Makers) -> Iterator[Rig]:
    yield from made(request, makers)


@pytest.fixture(params=READABLE, ids=lambda make: str(make.__name__))
def readable(request: pytest.FixtureRequest, makers: Makers) -> Iterator[Rig]:
    yield from made(request, makers)


@pytest.fixture(params=TARGETS, ids=lambda make: str(make.__name__))
def target(request: pytest.FixtureRequest, makers: Makers) -> Iterator[Rig]:
    yield from made(request, makers)


def made(request: pytest.FixtureRequest, makers: Makers) -> Iterator[Rig]:
    rig: Rig = request.param(makers)
    yield rig
    if hasattr(rig.store, "close"):
        rig.store.close()


def scanned(store: Source | Target) -> dict[str, Entry]:
    """Scan; no problem is expected."""
    found = list(store.scan(HINTS))
    assert [each for each in found if isinstance(each, Problem)] == []
    return {each.key: each for each in found if isinstance(each, Entry)}


def read(content: Content) -> bytes:
    return b"".join(content.chunks())


def install(store: Target, copy: Copy, *pieces: bytes) -> Published:
    """Put and publish."""
    (shown,) = store.publish([store.put(copy, Bytes(pieces))])
    assert shown.error is None
    return shown


# --- scan ---


def test_an_empty_store_is_empty(readable: Rig) -> None:
    """An empty store yields nothing, without an exception."""

    assert scanned(readable.store) == {}


def test_scan_yields_every_entry_in_key_order(readable: Rig) -> None:
    """Keys come strictly increasing by code point, each exactly as it was written, with its size."""
    readable.fill({name: name.encode() for name in NAMES})
    found = [each for each in readable.store.scan(HINTS) if each.kind is Kind.FILE]

    assert [each.key for each in found] == sorted(NAMES)
    assert [each.size for each in found] == [len(name.encode()) for name in sorted(NAMES)]


def test_scan_is_strictly_increasing_over_all_kinds(readable: Rig) -> None:
    """Directories sort among the files by their keys, slash included."""
    readable.fill(
        {"a/b": b"", "a-": b"", "a0": b"", "e/": b"", "d/e/f": b"", "d/e-": b"", "a.": b""}
    )
    found = [each.key for each in readable.store.scan(HINTS)]

    assert found == sorted(set(found))
    assert {"a-", "a.", "a/b", "a0", "d/e-", "d/e/f", "e/"} <= set(found)


def test_an_empty_directory_is_an_entry(readable: Rig) -> None:
    """A directory is one, with its slash and without bytes or ETag."""
    readable.fill({"d/": b""})

    assert scanned(readable.store)["d/"] == Entry("d/", kind=Kind.DIRECTORY)


def test_scan_may_be_repeated(readable: Rig) -> None:
    """Each scan starts at the beginning, also after one that was not read to its end."""
    readable.fill({"a": b"1", "b": b"22"})
    begun = readable.store.scan(HINTS)
    next(begun)
    begun.close()

    assert scanned(readable.store) == scanned(readable.store)
    assert set(scanned(readable.store)) == {"a", "b"}


def test_a_prefix_is_a_directory(readable: Rig) -> None:
    """What lies beside the store, under a name that begins alike, is not in it."""
    readable.fill({"a": b""})
    readable.fill_beside()

    assert set(scanned(readable.store)) == {"a"}


# --- open ---


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one byte", "9 MiB"])
def test_open_reads_the_bytes(readable: Rig, data: bytes) -> None:
    """The chunks are the bytes, and `verified` says afterwards what proved them."""
    readable.fill({"d/x": data})
    with readable.store.open(scanned(readable.store)["d/x"]) as content:
        found = read(content)

        assert found == data
        assert content.verified in {"md5", "multipart", "length"}


def test_names_of_every_kind_can_be_opened(readable: Rig) -> None:
    """Whatever a key holds, its own bytes come back."""
    readable.fill({name: name.encode() for name in NAMES})
    found = {}
    for key, entry in scanned(readable.store).items():
        if entry.kind is Kind.FILE:
            with readable.store.open(entry) as content:
                found[key] = read(content)

    assert found == {name: name.encode() for name in NAMES}


def test_open_accepts_no_other_size(readable: Rig) -> None:
    """A version of another size is not the one that was scanned."""
    readable.fill({"a": b"old"})
    entry = scanned(readable.store)["a"]
    readable.fill({"a": b"newer"})

    with pytest.raises(SourceChanged), readable.store.open(entry) as content:
        read(content)


def test_open_accepts_no_other_version(readable: Rig) -> None:
    """A version of the same size is another version all the same, where the store can tell."""
    readable.fill({"a": b"old"})
    entry = scanned(readable.store)["a"]
    readable.fill({"a": b"new"})
    if not readable.pins:
        with readable.store.open(entry) as content:
            assert (read(content), content.stamp is not None) == (b"new", True)
        return

    with pytest.raises(SourceChanged), readable.store.open(entry) as content:
        read(content)


def test_open_of_a_removed_entry(readable: Rig) -> None:
    """An entry that was removed after the scan has changed; that is no failure of the store."""
    readable.fill({"a": b"old"})
    entry = scanned(readable.store)["a"]
    readable.remove("a")

    with pytest.raises(SourceChanged), readable.store.open(entry):
        pass


def test_current_version(source: Rig) -> None:
    """The version that replaced a changed one can be opened; without one there is None."""
    source.fill({"a": b"old"})
    entry = scanned(source.store)["a"]
    source.fill({"a": b"newer"})
    current = source.store.current_version(entry)
    source_has = current is not None
    if current is not None:
        with source.store.open(current) as content:
            assert read(content) == b"newer"
    source.remove("a")

    assert source_has == source.has_current_version
    assert source.store.current_version(entry) is None


@pytest.mark.parametrize(
    ("key", "absent"),
    [
        ("a", False),
        ("d/b", False),
        ("b", True),
        ("d/c", True),
        ("d", True),
        ("a/b", True),
        ("x/y/z", True),
    ],
)
def test_confirm_absent(source: Rig, key: str, absent: bool) -> None:  # noqa: FBT001
    """Only the key itself counts: neither what lies below it, nor a file in the place of its directory."""
    source.fill({"a": b"", "d/b": b"", "d0": b""})

    assert source.store.confirm_absent(key) == absent


def test_reads_from_many_threads(source: Rig) -> None:
    """`open` and `confirm_absent` may run at once, each for another key."""
    files = {f"d{number % 3}/f{number}": os.urandom(3000 + number) for number in range(40)}
    source.fill(files)
    entries = [each for each in scanned(source.store).values() if each.kind is Kind.FILE]

    def fetch(entry: Entry) -> tuple[str, bytes, bool]:
        with source.store.open(entry) as content:
            return entry.key, read(content), source.store.confirm_absent(entry.key)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fetch, entries))

    assert {key: data for key, data, _ in found} == files
    assert not any(absent for _, _, absent in found)


# --- put, publish, discard ---


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one byte", "9 MiB"])
def test_what_is_put_and_published_shows(target: Rig, data: bytes) -> None:
    """The bytes are there, complete, and the scan lists them."""
    shown = install(target.store, copy_of("d/e/x", data), data[:5], data[5:])

    assert target.shown() == {"d/e/x": data}
    assert scanned(target.store)["d/e/x"].size == len(data)
    assert shown.staged.copy.entry.key == "d/e/x"
    assert target.unfinished() == []


def test_the_etag_of_a_published_entry_is_the_version_in_s3(target: Rig) -> None:
    """What the index will remember is the ETag that a listing will show."""
    shown = install(target.store, copy_of("a", b"data"), b"data")

    assert shown.staged.etag == md5(b"data")


def test_names_of_every_kind_can_be_written(target: Rig) -> None:
    """Every key that a file can have is written under exactly that key."""
    for name in NAMES:
        install(target.store, copy_of(name, name.encode()), name.encode())

    assert target.shown() == {name: name.encode() for name in NAMES}


def test_an_entry_is_replaced_whole(target: Rig) -> None:
    """A shorter version leaves nothing of the longer one, and no version shows in part."""
    target.fill({"a": b"the old version"})
    old = scanned(target.store)["a"]
    seen: list[dict[str, bytes]] = []
    content = Bytes((b"n", b"ew"), between=lambda: seen.append(target.shown()))
    staged = target.store.put(copy_of("a", b"new", old, Why.SIZE), content)
    before = target.shown()
    (shown,) = target.store.publish([staged])

    assert seen == [{"a": b"the old version"}] * 3
    assert before == {"a": b"new" if target.publishes_on_put else b"the old version"}
    assert shown.error is None
    assert target.shown() == {"a": b"new"}


@pytest.mark.parametrize("pieces", [(), (b"n",), (BIG, b"n")], ids=["0", "1", "9 MiB"])
def test_after_an_exception_nothing_new_stays(target: Rig, pieces: tuple[bytes, ...]) -> None:
    """When the bytes turn out to be wrong the old version stays, and nothing unfinished is left."""
    target.fill({"a": b"old", "b": b""})
    old = scanned(target.store)["a"]
    calls: list[None] = []

    def fail() -> None:
        calls.append(None)
        if len(calls) > len(pieces):
            raise IntegrityError("torn")

    copy = Copy(Entry("a", len(b"".join(pieces)) + 1, md5(b"new")), Why.SIZE, old)
    with pytest.raises(IntegrityError, match="torn"):
        target.store.put(copy, Bytes(pieces, between=fail))

    assert target.shown() == {"a": b"old", "b": b""}
    assert target.unfinished() == []


def test_a_batch_is_published_entry_by_entry(target: Rig) -> None:
    """Each staged entry is reported exactly once."""
    names = [f"d{number % 2}/f{number}" for number in range(7)]
    staged = [
        target.store.put(copy_of(name, name.encode()), Bytes((name.encode(),)))
        for name in names
    ]
    published = list(target.store.publish(staged))

    assert sorted(each.staged.copy.entry.key for each in published) == sorted(names)
    assert {each.error for each in published} == {None}
    assert target.shown() == {name: name.encode() for name in names}


def test_publishing_nothing(target: Rig) -> None:
    """An empty batch publishes nothing."""

    assert list(target.store.publish([])) == []


def test_a_discarded_entry_never_shows(target: Rig) -> None:
    """A staged entry that is not published leaves nothing behind."""
    target.fill({"a": b"old"})
    old = scanned(target.store)["a"]
    staged = target.store.put(copy_of("a", b"new", old), Bytes((b"new",)))
    target.store.discard(staged)

    assert target.shown() == {"a": b"new" if target.publishes_on_put else b"old"}
    assert target.unfinished() == []


def test_a_directory_has_no_bytes(target: Rig) -> None:
    """A directory is made without reading its content, and made again without an error."""

    def read_it() -> None:
        raise AssertionError

    content = Bytes((), between=read_it)
    for _ in range(2):
        entries = scanned(target.store)
        copy = Copy(Entry("d/e/", kind=Kind.DIRECTORY), Why.NEW, entries.get("d/e/"))
        (shown,) = target.store.publish([target.store.put(copy, content)])
        assert shown.error is None

    assert scanned(target.store)["d/e/"].kind is Kind.DIRECTORY
    assert target.shown() == {}


def test_writes_from_many_threads(target: Rig) -> None:
    """`put` and `delete` may run at once, each for another key, in directories that are made meanwhile."""
    files = {f"d{number % 3}/e/f{number}": os.urandom(2000 + number) for number in range(60)}
    doomed = [f"x{number % 3}/f{number}" for number in range(30)]
    target.fill(dict.fromkeys(doomed, b""))
    barrier = threading.Barrier(8)

    def work(number: int) -> list[Any]:
        barrier.wait()
        for key in doomed[number::8]:
            assert target.store.delete(Entry(key))
        return [
            target.store.put(copy_of(key, files[key]), Bytes((files[key],)))
            for key in list(files)[number::8]
        ]

    with ThreadPoolExecutor(8) as pool:
        staged = [each for some in pool.map(work, range(8)) for each in some]
    published = list(target.store.publish(staged))

    assert len(published) == len(files)
    assert target.shown() == files
    assert target.unfinished() == []


# --- delete ---


def test_delete_removes_that_entry_and_no_other(target: Rig) -> None:
    """Entries whose keys have the same beginning stay."""
    files = dict.fromkeys(["a", "a-b", "a.b", "a0", "b/a", "b/a2"], b"x")
    target.fill(files)

    assert target.store.delete(Entry("a"))
    assert target.store.delete(Entry("b/a"))
    assert set(target.shown()) == {"a-b", "a.b", "a0", "b/a2"}


def test_an_absent_entry_counts_as_deleted(target: Rig) -> None:
    """Deleting twice, or below a directory that does not exist, succeeds."""
    target.fill({"a": b""})

    assert [target.store.delete(Entry(key)) for key in ("a", "a", "x/y")] == [True] * 3
    assert target.store.delete(Entry("x/", kind=Kind.DIRECTORY))


def test_a_directory_is_only_deleted_empty(target: Rig) -> None:
    """What another user put into a directory meanwhile is not deleted with it."""
    target.fill({"d/": b"", "e/": b""})
    target.fill({"d/new": b"precious"})
    directory = Entry("d/", kind=Kind.DIRECTORY)

    assert target.store.delete(directory) == (not target.directories)
    assert target.store.delete(Entry("e/", kind=Kind.DIRECTORY))
    assert target.shown() == {"d/new": b"precious"}
    assert "e/" not in scanned(target.store)


# --- the rest ---


def test_removing_leftovers_of_a_clean_store(target: Rig) -> None:
    """Where nothing is unfinished nothing is removed."""
    target.fill({"a": b"", "tmp.x": b""})
    scanned(target.store)

    assert target.store.remove_leftovers() == {}
    assert set(target.shown()) == {"a", "tmp.x"}


def test_freeing_space_in_a_clean_store(target: Rig) -> None:
    """No entry of a store counts as something that it can do without."""
    target.fill({"a": b"", "d/b": b""})

    assert not target.store.free_space()
    target.store.make_durable()
    target.store.prune(NOW)
    assert set(target.shown()) == {"a", "d/b"}
