"""Compare two snapshots: only the parts of their lists that differ are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from s32s_agent.model import Entry, Kind
from s32s_agent.snapshots.chunks import Chunk, unpack
from s32s_agent.snapshots.manifest import Snapshot
from s32s_agent.snapshots.place import Place


@dataclass(frozen=True, slots=True)
class Changes:
    """What one snapshot has that the one before has not. Directories are not counted."""

    added: int = 0
    changed: int = 0
    deleted: int = 0
    bytes: int = 0
    """Of what was added and changed: what a server fetches that goes from one to the other."""


def changes_between(place: Place, before: Snapshot, after: Snapshot) -> Changes:
    """Count what differs between two snapshots of one place.

    A chunk that both have holds the same entries, so that no entry that differs is in one. Memory: two chunks.

    Raises:
        NotASnapshot: a chunk is missing or damaged.
        AgentError: the store failed or refused.
    """
    shared = set(before.chunks) & set(after.chunks)
    old = _files(place, [each for each in before.chunks if each not in shared])
    new = _files(place, [each for each in after.chunks if each not in shared])
    added = changed = deleted = size = 0
    left, right = next(old, None), next(new, None)
    while left or right:
        if right is None or (left and left.key < right.key):
            deleted += 1
            left = next(old, None)
        elif left is None or right.key < left.key:
            added, size = added + 1, size + right.size
            right = next(new, None)
        else:
            if (left.size, left.etag) != (right.size, right.etag):
                changed, size = changed + 1, size + right.size
            left, right = next(old, None), next(new, None)
    return Changes(added, changed, deleted, size)


def _files(place: Place, chunks: list[Chunk]) -> Iterator[Entry]:
    """Yield the files of chunks, in key order."""
    for chunk in chunks:
        found = unpack(chunk, place.chunk(chunk))
        yield from (entry for entry in found if entry.kind is Kind.FILE)
