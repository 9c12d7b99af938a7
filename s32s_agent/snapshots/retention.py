"""Remove old snapshots, and the chunks that nothing names any more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from s32s_agent.snapshots.chunks import Chunk
from s32s_agent.snapshots.fields import SHA256, NotASnapshot
from s32s_agent.snapshots.manifest import (
    CHANNELS,
    CHUNKS,
    SNAPSHOTS,
    Snapshot,
    chunk_key,
    read_snapshot,
    snapshot_key,
)
from s32s_agent.snapshots.names import CHANNEL_NAME, SNAPSHOT_ID
from s32s_agent.snapshots.place import FoundChannel, Place
from s32s_agent.stores.s3.listing import Listing, decoded_keys
from s32s_agent.stores.s3.write_requests import WriteRequests

_INCOMPLETE = "the channel was not moved: publish again, or name another snapshot"
KEPT = 20
"""Snapshots that stay, whether a channel points to them or not."""
_CHUNK_AGE = timedelta(days=1)
"""A publisher that is at work names its chunks long before they are this old."""
_SNAPSHOT_AGE = timedelta(minutes=30)
"""A publisher that is at work has its channel name its snapshot before it is this old, also where clocks differ by the
15 minutes that S3 accepts: the snapshot of a clock that is slow sorts before the newest."""
_CHANNEL = re.compile(rf"{CHANNELS}({CHANNEL_NAME.pattern})\.json")
_SNAPSHOT = re.compile(rf"{SNAPSHOTS}({SNAPSHOT_ID.pattern})\.json")
_CHUNK = re.compile(rf"{CHUNKS}({SHA256.pattern})\.jsonl\.gz")


class Stored(NamedTuple):
    """An object below the place of the snapshots."""

    key: str
    """Relative to the place."""
    size: int
    modified: str
    """ISO 8601, as the store wrote it."""


def listed_objects(place: Place, below: str) -> Iterator[Stored]:
    """List the objects of one kind, under every rule of completeness.

    Raises:
        ListingInconsistent: the listing proves nothing.
        AgentError: the store failed or refused.
    """
    bucket, prefix = place.location.bucket, place.prefix + below
    listing = Listing(bucket, prefix, strictly_ordered=False)
    where: dict[str, str] = {}
    while True:
        page = place.connection.page(bucket, Prefix=prefix, **where).page
        names = decoded_keys(page)
        for _ in listing.take(page, names):
            pass  # checks the page; an entry does not say when it was modified
        for name, listed in zip(names, page.contents, strict=True):
            relative = name.removeprefix(place.prefix)
            yield Stored(relative, int(listed.size), listed.modified)
        token = listing.next_token(page)
        if token is None:
            return
        where = {"ContinuationToken": token}


def remove_old(place: Place, writes: WriteRequests, now: datetime) -> int:
    """Remove snapshots beyond the newest that no channel points to, and old chunks that nothing names any more.

    What cannot be read may name anything, so then nothing is removed. Objects of other names are left alone.

    Args:
        place: where the snapshots are.
        writes: how they are removed.
        now: this moment.

    Returns:
        How many objects were removed.

    Raises:
        AgentError: the store failed or refused.
    """
    stored_ids = _matches(place, SNAPSHOTS, _SNAPSHOT)
    ids = sorted(stored_ids)
    if len(ids) <= KEPT:
        return 0
    pointed = {
        each
        for found in channels_of(place).values()
        for each in (found.channel.snapshot, found.channel.previous)
    }
    young = {each for each in ids if not _is_older(stored_ids[each], _SNAPSHOT_AGE, now)}
    kept = {*ids[-KEPT:], *pointed, *young}
    named = {sha256 for each in kept.intersection(ids) for sha256 in _chunks_of(place, each)}
    removed = [snapshot_key(each) for each in ids if each not in kept]
    for sha256, stored in _matches(place, CHUNKS, _CHUNK).items():
        if sha256 not in named and _is_older(stored, _CHUNK_AGE, now):
            removed.append(stored.key)
    for key in removed:  # snapshots first, so that none names a chunk that is gone
        writes.delete(place.name_of(key))
    return len(removed)


def _matches(place: Place, below: str, pattern: re.Pattern[str]) -> dict[str, Stored]:
    """Return the objects of one kind that this format named, by id, name or digest."""
    found = ((pattern.fullmatch(each.key), each) for each in listed_objects(place, below))
    return {match[1]: each for match, each in found if match}


def channels_of(place: Place) -> dict[str, FoundChannel]:
    """Fetch every channel, by name.

    Raises:
        NotASnapshot: one of them cannot be read.
        AgentError: the store failed or refused.
    """
    channels: dict[str, FoundChannel] = {}
    for name in _matches(place, CHANNELS, _CHANNEL):
        found = place.channel(name)
        if found is not None:
            channels[name] = found
    return channels


def snapshots_of(place: Place) -> Iterator[Snapshot]:
    """Fetch every snapshot, the newest first; whether a channel vouches for it is not proven.

    Raises:
        NotASnapshot: one of them cannot be read.
        AgentError: the store failed or refused.
    """
    for each in sorted(_matches(place, SNAPSHOTS, _SNAPSHOT), reverse=True):
        yield fetch_snapshot(place, each)[0]


def fetch_snapshot(place: Place, snapshot_id: str) -> tuple[Snapshot, bytes]:
    """Fetch a snapshot by its id, with its bytes.

    Raises:
        NotASnapshot: it is missing, or cannot be read.
    """
    label, data = f"snapshot {snapshot_id}", place.snapshot(snapshot_id)
    snapshot = read_snapshot(label, data)
    if snapshot.id != snapshot_id:
        raise NotASnapshot(f'{label}: its id is "{snapshot.id}"')
    return snapshot, data


def _chunks_of(place: Place, snapshot_id: str) -> list[str]:
    return [chunk.sha256 for chunk in fetch_snapshot(place, snapshot_id)[0].chunks]


def require_chunks(place: Place, snapshot: Snapshot) -> None:
    """Refuse a snapshot whose chunks are not all in the bucket.

    Raises:
        NotASnapshot: chunks are missing, or have another size than the snapshot says.
        AgentError: the store failed or refused.
    """
    missing = len(set(snapshot.chunks) - present_chunks(place, snapshot.chunks))
    if missing:
        message = f"snapshot {snapshot.id}: {missing} of its {len(snapshot.chunks)} chunks are missing or damaged"
        raise NotASnapshot(message, remedy=_INCOMPLETE)


def present_chunks(place: Place, chunks: Iterable[Chunk]) -> set[Chunk]:
    """Return which chunks are in the bucket, with the right size.

    Raises:
        AgentError: the store failed or refused.
    """
    wanted = set(chunks)
    sizes = {each.key: each.size for each in listed_objects(place, CHUNKS)} if wanted else {}
    return {each for each in wanted if sizes.get(chunk_key(each.sha256)) == each.size}


def _is_older(stored: Stored, age: timedelta, now: datetime) -> bool:
    try:
        modified = datetime.fromisoformat(stored.modified)
        return now - modified > age
    except (ValueError, TypeError):
        return False
