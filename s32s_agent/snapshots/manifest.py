"""The documents of the format: what a channel and a snapshot say, and where they are. Pure: no disk, no network.

`docs/reference/snapshots.md` describes the format byte by byte. Everyone who can write to the bucket may have written
what is read here, so nothing is believed that is not checked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from s32s_agent.model import Location
from s32s_agent.snapshots.chunks import MAX_ENTRIES, MAX_STORED, Chunk
from s32s_agent.snapshots.fields import (
    SHA256,
    TIME,
    VERSION,
    Fields,
    NotASnapshot,
    document,
)
from s32s_agent.snapshots.names import SNAPSHOT_ID

MAX_CHANNEL = 64 << 10
"""Bytes of a channel, that a reader accepts."""
MAX_SNAPSHOT = 8 << 20
"""Bytes of a snapshot, that a reader accepts."""
MAX_CHUNKS = 20_000
"""Of one snapshot, that a reader accepts."""
_PREVIOUS = re.compile(rf"(?:{SNAPSHOT_ID.pattern})?")
CHANNELS, SNAPSHOTS, CHUNKS = "channels/", "snapshots/", "chunks/"
"""Where the three kinds of objects are, below the place of the snapshots."""


def channel_key(name: str) -> str:
    """Return the key of a channel, relative to the place of the snapshots."""
    return f"{CHANNELS}{name}.json"


def snapshot_key(snapshot_id: str) -> str:
    """Return the key of a snapshot."""
    return f"{SNAPSHOTS}{snapshot_id}.json"


def chunk_key(sha256: str) -> str:
    """Return the key of a chunk."""
    return f"{CHUNKS}{sha256}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel points to."""

    sequence: int
    """Of the publication: it only grows."""
    snapshot: str
    """The snapshot's id."""
    sha256: str
    """Of the bytes of the snapshot."""
    objects: int
    bytes: int
    """Of all objects."""
    created: datetime
    """When the channel was moved."""
    by: str
    """Who moved it: a host name."""
    previous: str = ""
    """The snapshot that the channel pointed to before; "" for the first."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every entry of a mapping's prefix at one moment."""

    id: str
    mapping: str
    """The mapping's name."""
    s3: str
    """The mapping's `bucket/prefix`."""
    created: datetime
    by: str
    objects: int
    """Files; directories are not counted."""
    bytes: int
    chunks: tuple[Chunk, ...] = ()


def sha256_of(data: bytes) -> str:
    """Return the digest by which one document names another."""
    return hashlib.sha256(data).hexdigest()


def encode_channel(channel: Channel) -> bytes:
    """Return the bytes of a channel."""
    return _encoded(
        {"schema_version": VERSION, **asdict(channel), "created": _time(channel.created)}
    )


def decode_channel(data: bytes) -> Channel:
    """Read the bytes of a channel.

    Raises:
        NotASnapshot: anything about them is wrong.
    """
    fields = document("channel", data)
    fields.require_version()
    return Channel(
        sequence=fields.number("sequence"),
        snapshot=fields.text("snapshot", SNAPSHOT_ID),
        sha256=fields.text("sha256", SHA256),
        objects=fields.number("objects"),
        bytes=fields.number("bytes"),
        created=fields.time("created"),
        by=fields.text("by"),
        previous=fields.text("previous", _PREVIOUS),
    )


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot."""
    return _encoded(
        {
            "schema_version": VERSION,
            "id": snapshot.id,
            "mapping": snapshot.mapping,
            "s3": snapshot.s3,
            "created": _time(snapshot.created),
            "by": snapshot.by,
            "objects": snapshot.objects,
            "bytes": snapshot.bytes,
            "chunks": [_row(chunk) for chunk in snapshot.chunks],
        }
    )


def read_snapshot(label: str, data: bytes) -> Snapshot:
    """Read the bytes of a snapshot; that they are the right ones is not proven.

    Raises:
        NotASnapshot: anything about them is wrong.
    """
    fields = document(label, data)
    fields.require_version()
    snapshot = Snapshot(
        fields.text("id", SNAPSHOT_ID),
        fields.text("mapping"),
        fields.text("s3"),
        fields.time("created"),
        fields.text("by"),
        fields.number("objects"),
        fields.number("bytes"),
        tuple(_chunks(label, fields.list("chunks", MAX_CHUNKS))),
    )
    if snapshot.objects > sum(chunk.entries for chunk in snapshot.chunks):
        raise fields.wrong("objects", "are more than the entries of all chunks")
    return snapshot


def decode_snapshot(
    data: bytes, expected: Channel, mapping: str, location: Location
) -> Snapshot:
    """Read the bytes of a snapshot, and prove that they are the one that a channel names.

    Args:
        data: what the bucket holds under its name.
        expected: the channel.
        mapping: the name that it must be of.
        location: the prefix that it must be of.

    Raises:
        NotASnapshot: anything about them is wrong, or they are of another mapping.
    """
    label = f"snapshot {expected.snapshot}"
    if sha256_of(data) != expected.sha256:
        raise NotASnapshot(f"{label}: its bytes are not those that the channel names")
    found = read_snapshot(label, data)
    for name, text, wanted in (
        ("id", found.id, expected.snapshot),
        ("mapping", found.mapping, mapping),
        ("s3", found.s3, str(location)),
    ):
        if text != wanted:
            raise NotASnapshot(f'{label}: {name}: is "{text}", expected "{wanted}"')
    if (found.objects, found.bytes) != (expected.objects, expected.bytes):
        raise NotASnapshot(f"{label}: objects and bytes are not those of the channel")
    return found


def _chunks(label: str, rows: Sequence[object]) -> Iterable[Chunk]:
    last = ""
    for number, row in enumerate(rows, 1):
        fields = Fields(f"{label}, chunk {number}", row)
        sha256, first = fields.text("sha256", SHA256), fields.key("first")
        chunk = Chunk(sha256, first, fields.number("count"), fields.number("size"))
        if first <= last:
            raise fields.wrong("first", f'"{first}" stands after "{last}"')
        if not 0 < chunk.entries <= MAX_ENTRIES or not 0 < chunk.size <= MAX_STORED:
            raise fields.wrong("count, size", "too large, or zero")
        last = first
        yield chunk


def _encoded(document: Mapping[str, object]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _time(time: datetime) -> str:
    return time.strftime(TIME)


def _row(chunk: Chunk) -> dict[str, object]:
    return {
        "sha256": chunk.sha256,
        "first": chunk.first,
        "count": chunk.entries,
        "size": chunk.size,
    }
