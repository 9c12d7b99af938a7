"""What `S3Target` writes, on three servers that have nothing in common but the protocol.

The suite of all stores is `test_stores.py`; this one is about the headers, the parts, and the two writers.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.contents import Bytes, entry_of
from support.moto_server import moto, rclone_server

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import S3Settings
from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.errors import Interrupted, SourceChanged
from s32s_agent.model import Copy, Entry, Kind, Location, Why
from s32s_agent.stores.base import Attributes, Staged
from s32s_agent.stores.s3.buffers import Buffers
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.probe import probe
from s32s_agent.stores.s3.target import S3Target, UploadOptions
from s32s_agent.stores.s3.traits import AS_AWS, Checksum, Guard, StoreTraits
from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20
LARGE = os.urandom(20 * MIB)
NAMES = ["a", "with space", "+", "%", "&", "#", "?", "a+b%20c", "é", "e\u0301", "日本/語", "*"]
CONTROL_NAMES = ["new\nline", "tab\there", "esc\x1b[31m", "del\x7f"]
"""moto does not route them, and rclone serves a file system."""
IGNORED = ("create", "replace", "complete_new", "complete_over", "read")
RCLONE: dict[str, Any] = {
    **dict.fromkeys(IGNORED, Guard.IGNORED),
    "crc64nvme": Checksum.KEPT,
    "keeps_directories": False,
    "names_part_sizes": False,
}
MOTO: dict[str, Any] = {
    "complete_over": Guard.IGNORED,
    "checks_md5": False,
    "crc64nvme": Checksum.DROPPED,
}
SEAWEEDFS: dict[str, Any] = {"in_key_order": False, "keeps_names": False}
METADATA = {"mtime": "1700000000.123456789", "mode": "0640"}


@dataclass
class Server:
    """A server, and which parts of the protocol it implements."""

    name: str
    endpoint_url: str
    traits: Mapping[str, Any] = field(default_factory=dict)
    """What it does otherwise than AWS."""
    control_names: bool = False
    directories: bool = False
    """It keeps a directory when its last object is gone, and refuses a new object of its name."""
    complete: bool = True
    """It lists uploads and markers, and keeps content type, cache control and storage class."""


@pytest.fixture(scope="module")
def keys(seaweedfs_server: S3Server) -> Iterator[None]:
    """One pair of keys for all servers: the others accept any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.secret_key)
        yield


@pytest.fixture(scope="module", params=["seaweedfs", "moto", "rclone"])
def server(
    request: pytest.FixtureRequest,
    keys: None,
    seaweedfs_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Each server in turn."""
    del keys
    if request.param == "seaweedfs":
        yield Server(
            "seaweedfs",
            seaweedfs_server.endpoint_url,
            SEAWEEDFS,
            control_names=True,
            directories=True,
        )
    elif request.param == "moto":
        with moto() as url:
            yield Server("moto", url, MOTO)
    else:
        directory = tmp_path_factory.mktemp("rclone")
        with rclone_server(directory) as url:
            yield Server("rclone", url, RCLONE, complete=False)


@dataclass
class Rig:
    """A target, and a client of its own to see what the target did."""

    server: Server
    target: S3Target
    client: S3Client
    uploads: Uploads
    bucket: str

    def put(
        self,
        key: str,
        data: bytes,
        replaces: Entry | None = None,
        attributes: Attributes | None = None,
    ) -> Staged:
        content = Bytes((data,), attributes or Attributes())
        return self.target.put(Copy(entry_of(key, data), Why.NEW, replaces), content)

    def head(self, key: str) -> dict[str, Any]:
        return dict(self.client.head_object(Bucket=self.bucket, Key=f"data/{key}"))

    def get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=f"data/{key}")["Body"] as body:
            return body.read()

    def unfinished(self) -> list[str]:
        if not self.server.complete:
            return []
        found = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Uploads", [])]

    def scanned(self) -> dict[str, Entry]:
        return {each.key: each for each in self.target.scan() if isinstance(each, Entry)}


@pytest.fixture(scope="module")
def connection(server: Server) -> Connection:
    """One connection for each server: it takes half a second."""
    url = server.endpoint_url
    return Connection(S3Settings(endpoint_url=url, addressing_style="path"))


@pytest.fixture(scope="module")
def traits(connection: Connection) -> StoreTraits:
    """What the server was found to do, beside objects of other people that have names like those of a probe."""
    client = connection.access.boto3("")
    client.create_bucket(Bucket="tried")
    theirs = {"data/small": b"a", "data/.s32s/x": b"b", "other/large": b"c"}
    for key, data in theirs.items():
        client.put_object(Bucket="tried", Key=key, Body=data)
    found = probe(connection, Location("tried", "data"), with_parts=True)
    left = client.list_objects_v2(Bucket="tried")["Contents"]
    bodies = {
        each["Key"]: client.get_object(Bucket="tried", Key=each["Key"])["Body"].read()
        for each in left
    }
    assert bodies == theirs
    return found


@pytest.fixture
def rig(
    server: Server,
    connection: Connection,
    traits: StoreTraits,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Rig:
    """A target in a bucket of its own."""
    uploads = Uploads(tmp_path / "uploads")
    options = UploadOptions(
        uploads,
        {".x": "a/short", ".tar.x": "a/long"},
        {".tar.x": "gzip"},
        "max-age=60",
        "private",
        "STANDARD_IA",
    )
    bucket = f"b{hashlib.md5(request.node.name.encode()).hexdigest()[:20]}"
    client = connection.access.boto3("")
    client.create_bucket(Bucket=bucket)
    target = S3Target(connection, Location(bucket, "data"), options)
    target.traits = traits
    return Rig(server, target, client, uploads, bucket)


def test_what_a_store_does_is_found_out(server: Server, traits: StoreTraits) -> None:
    """What was measured of each store, and nothing that was there is touched."""
    found = {name: getattr(traits, name) for name in server.traits}

    assert found == server.traits
    assert traits == replace(AS_AWS, server=traits.server, **server.traits)


def test_many_objects_are_deleted_at_once(rig: Rig) -> None:
    """One request deletes all that it names, also names that XML or a URL writes otherwise, and nothing else."""
    names = (
        [*NAMES, "a/b"] if rig.server.name == "rclone" else [*NAMES, "a/b", "a&amp;b", "<a>"]
    )
    names = [name for name in names if name != "a"]
    for name in [*names, "stays"]:
        rig.put(name, b"x")
    entries = [Entry(name) for name in [*names, "never was"]]

    deleted = rig.target.delete_many(entries)

    assert deleted >= set(names)
    assert set(rig.scanned()) - {"a/"} == {"stays"}


@pytest.mark.parametrize("size", [0, 1, MIB + 1, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_every_size_is_proven(rig: Rig, size: int) -> None:
    """Up to 8 MiB the MD5 proves an object, above it the ETag of its parts; the bytes are what was sent."""
    data = LARGE[:size]
    staged = rig.put("x", data)

    assert rig.get("x") == data
    assert staged.verified == ("md5" if size <= 8 * MIB else "multipart")
    assert (staged.etag[32:33] == "-") == (size > 8 * MIB)
    assert rig.unfinished() == []
    assert rig.scanned()["x"].size == size


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_metadata_and_headers_are_kept(rig: Rig, size: int) -> None:
    """mtime to the nanosecond, mode, type, cache control and storage class, in one piece or in parts."""
    rig.put("f.tar.x", LARGE[:size], attributes=Attributes(1700000000123456789, 0o640))
    head = rig.head("f.tar.x")

    assert {name.lower(): value for name, value in head["Metadata"].items()} == METADATA
    if rig.server.complete:
        names = ("ContentType", "ContentEncoding", "CacheControl", "StorageClass")
        kept = tuple(head[name] for name in names)
        assert kept == ("a/long", "gzip", "max-age=60", "STANDARD_IA")


def test_every_key_is_written_exactly(rig: Rig) -> None:
    """A key means its bytes on every server, whichever library sends it."""
    names = NAMES + CONTROL_NAMES * rig.server.control_names
    for name in names:
        rig.put(name, name.encode())

    assert {key for key, each in rig.scanned().items() if each.kind is Kind.FILE} == set(names)
    assert {name: rig.get(name) for name in names} == {name: name.encode() for name in names}


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_a_new_object_of_another_writer_is_not_overwritten(rig: Rig, size: int) -> None:
    """An object that was written after the listing stays, and no upload stays open."""
    rig.client.put_object(Bucket=rig.bucket, Key="data/x", Body=b"theirs")

    with pytest.raises(SourceChanged):
        rig.put("x", LARGE[:size])

    assert rig.get("x") == b"theirs"
    assert rig.unfinished() == []


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_a_changed_object_of_another_writer_is_not_overwritten(rig: Rig, size: int) -> None:
    """An object that is no longer the listed version, or was deleted, is not replaced."""
    rig.client.put_object(Bucket=rig.bucket, Key="data/x", Body=b"theirs")
    listed = entry_of("x", b"an older version")

    with pytest.raises(SourceChanged):
        rig.put("x", LARGE[:size], listed)
    with pytest.raises(SourceChanged):
        rig.put("gone", LARGE[:size], listed)

    assert rig.get("x") == b"theirs"
    assert set(rig.scanned()) == {"x"}
    assert rig.unfinished() == []


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_a_name_that_was_a_directory_becomes_an_object(rig: Rig, size: int) -> None:
    """At once where a store knows only objects; where it keeps the directory for a while, the error says so."""
    rig.put("x/y/z", b"inner")
    rig.target.delete(rig.scanned()["x/y/z"])

    if rig.server.directories:
        with pytest.raises(SourceChanged, match="still has a directory") as error:
            rig.put("x", LARGE[:size])
        assert "a later run" in error.value.remedy
        assert (rig.scanned(), rig.unfinished()) == ({}, [])
    else:
        rig.put("x", LARGE[:size])
        assert rig.get("x") == LARGE[:size]


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_the_listed_version_is_replaced(rig: Rig, size: int) -> None:
    """With the ETag that the listing showed, an object is replaced: one piece by parts, and parts by one piece."""
    rig.put("x", LARGE[: size + 1])
    rig.put("x", LARGE[:size], rig.scanned()["x"])
    rig.put("x", b"small", rig.scanned()["x"])

    assert rig.get("x") == b"small"


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_an_object_that_the_agent_wrote_itself_is_recognised(rig: Rig, size: int) -> None:
    """When the answer to a write got lost and the repeated request is refused, the object is recognised."""
    first = rig.put("x", LARGE[:size])
    if rig.server.name == "rclone" and size > MIB:
        # Its ETag is the MD5 of all bytes, which nobody has computed: the next run finds out that they are equal.
        with pytest.raises(SourceChanged):
            rig.put("x", LARGE[:size])
    else:
        assert rig.put("x", LARGE[:size]).etag == first.etag
    assert rig.get("x") == LARGE[:size]


def test_parts_return_their_buffers(rig: Rig) -> None:
    """More parts than buffers are sent one after the other, and every buffer is free afterwards."""
    buffers = rig.target._multipart._buffers = Buffers(2)
    sender = threading.Thread(target=lambda: rig.put("x", LARGE), daemon=True)
    sender.start()
    sender.join(200)

    assert not sender.is_alive()
    assert rig.get("x") == LARGE
    assert buffers.free == 2


def test_a_signal_between_two_parts_that_leaves_a_truncated_object_at_its_key(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that were sent before a run was cancelled are never completed as if they were all of the file."""
    chunks, token = count(1), CancelToken()

    def cancel_in_the_second_part() -> None:
        if next(chunks) == 10:
            token.cancel(Interrupted(15))

    pieces = tuple(LARGE[start : start + MIB] for start in range(0, len(LARGE), MIB))
    content = Bytes(pieces, between=cancel_in_the_second_part)
    with monkeypatch.context() as patch:
        patch.setattr(rig.target._connection, "cancel_token", token)
        with pytest.raises(Interrupted):
            rig.target.put(Copy(entry_of("x", LARGE), Why.NEW, None), content)

    assert "x" not in rig.scanned()
    assert not rig.server.complete or rig.unfinished() == []


def test_markers(rig: Rig) -> None:
    """A directory is an empty object whose key ends in a slash, and is deleted with that object."""
    rig.put("d/e/", b"")

    if rig.server.complete:
        assert rig.scanned()["d/e/"].kind is Kind.DIRECTORY
    assert rig.target.delete(Entry("d/e/", kind=Kind.DIRECTORY))
    assert "d/e/" not in rig.scanned()


def test_only_uploads_of_the_agent_are_aborted(rig: Rig) -> None:
    """Uploads that a killed run left below the prefix are aborted, those of other programs never."""
    if not rig.server.complete:
        pytest.skip(f"{rig.server.name} does not list uploads")
    begun = {
        key: rig.client.create_multipart_upload(Bucket=rig.bucket, Key=key)["UploadId"]
        for key in ("data/ours", "data/theirs", "data2/ours")
    }
    endpoint = rig.client.meta.endpoint_url
    for key in ("data/ours", "data2/ours"):
        rig.uploads.begin(Upload(endpoint, rig.bucket, key, begun[key]))
    rig.uploads.begin(Upload("http://elsewhere", rig.bucket, "data/x", begun["data/theirs"]))

    assert (rig.target.remove_leftovers(), rig.target.remove_leftovers()) == ({}, {})
    assert set(rig.unfinished()) == {"data/theirs", "data2/ours"}
