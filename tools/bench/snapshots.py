"""Publish snapshots of a data set, as a master would: with the agent's own chunks, by the rule of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from s32s_agent.model import Entry
from s32s_agent.snapshots.chunks import Chunk, pack
from s32s_agent.snapshots.manifest import (
    Channel,
    Snapshot,
    channel_key,
    chunk_key,
    encode_channel,
    encode_snapshot,
    sha256_of,
    snapshot_key,
)

from .data import DataSet
from .stage import BUCKET, Stage
from .tools import MAPPING, PREFIX, SNAPSHOTS

CHANNEL = "current"


def publish(stage: Stage, sequence: int, versions: Mapping[int, int]) -> None:
    """Write chunks, the snapshot and the channel.

    Args:
        stage: the store.
        sequence: of the publication.
        versions: of the objects that are not in their first version, by number.
    """
    data = stage.workload.data
    now, chunks = datetime.now(UTC), list[Chunk]()
    for chunk, packed in pack(entries(data, versions)):
        chunks.append(chunk)
        _put(stage, chunk_key(chunk.sha256), packed)
    name = f"20261201T000000Z-{sequence:06x}"
    location = f"{BUCKET}/{PREFIX}"
    document = encode_snapshot(
        Snapshot(name, MAPPING, location, now, "bench", data.count, data.total, tuple(chunks))
    )
    _put(stage, snapshot_key(name), document)
    digest = sha256_of(document)
    channel = Channel(sequence, name, digest, data.count, data.total, now, "bench")
    _put(stage, channel_key(CHANNEL), encode_channel(channel))


def entries(data: DataSet, versions: Mapping[int, int]) -> Iterator[Entry]:
    """Yield what the store holds, in key order."""
    for number in range(data.count):
        file = data.file(number, versions.get(number, 0))
        yield Entry(data.key(number), file.size, file.md5)


def _put(stage: Stage, key: str, body: bytes) -> None:
    stage.put(BUCKET, f"{SNAPSHOTS}/{key}", body)
