"""The objects of a published snapshot, for programs that publish what no bucket holds: with the agent's own chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

CHANNEL = "current"
_WHEN = datetime(2026, 12, 1, tzinfo=UTC)
_BY = "master"


def publication(
    entries: Iterable[Entry], mapping: str, location: str, sequence: int
) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a publication below the place of the snapshots: chunks, the snapshot, the channel last.

    Args:
        entries: in key order.
        mapping: its name.
        location: its bucket and prefix.
        sequence: of the publication.
    """
    chunks: list[Chunk] = []
    sizes: list[int] = []

    def counted() -> Iterator[Entry]:
        for entry in entries:
            sizes.append(entry.size)
            yield entry

    for chunk, packed in pack(counted()):
        chunks.append(chunk)
        yield chunk_key(chunk.sha256), packed
    name, count, total = f"{_WHEN:%Y%m%dT%H%M%SZ}-{sequence:06x}", len(sizes), sum(sizes)
    snapshot = Snapshot(name, mapping, location, _WHEN, _BY, count, total, tuple(chunks))
    document = encode_snapshot(snapshot)
    yield snapshot_key(name), document
    channel = Channel(sequence, name, sha256_of(document), count, total, _WHEN, _BY)
    yield channel_key(CHANNEL), encode_channel(channel)
