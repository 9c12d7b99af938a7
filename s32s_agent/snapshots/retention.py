"""Remove old snapshots, and the chunks that nothing names any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from s32s_agent.errors import SourceChanged
from s32s_agent.snapshots.fields import SHA256, NotASnapshot
from s32s_agent.snapshots.manifest import (
    CHANNELS,
    CHUNKS,
    MAX_SNAPSHOT,
    SNAPSHOTS,
    Snapshot,
    read_snapshot,
    snapshot_key,
)
from s32s_agent.snapshots.names import CHANNEL_NAME, SNAPSHOT_ID
from s32s_agent.snapshots.place import FoundChannel, Place
from s32s_agent.stores.s3.listing import Listing, decoded_keys
from s32s_agent.stores.s3.write_requests import WriteRequests

KEPT = 20
"""Snapshots that stay, whether a channel points to them or not."""
_CHUNK_AGE = timedelta(days=1)
"""A publisher that is at work names its chunks long before they are this old."""
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
    ids = sorted(_matches(place, SNAPSHOTS, _SNAPSHOT))
    if len(ids) <= KEPT:
        return 0
    pointed = {
        each
        for found in channels_of(place).values()
        for each in (found.channel.snapshot, found.channel.previous)
    }
    kept = {*ids[-KEPT:], *pointed}
    named = {sha256 for each in kept.intersection(ids) for sha256 in _chunks_of(place, each)}
    removed = [snapshot_key(each) for each in ids if each not in kept]
    for stored in list(listed_objects(place, CHUNKS)):
        found_chunk = _CHUNK.fullmatch(stored.key)
        if found_chunk and found_chunk[1] not in named and _is_old(stored, now):
            removed.append(stored.key)
    for key in removed:  # snapshots first, so that none names a chunk that is gone
        writes.delete(place.name_of(key))
    return len(removed)


def _matches(place: Place, below: str, pattern: re.Pattern[str]) -> list[str]:
    found = (pattern.fullmatch(stored.key) for stored in listed_objects(place, below))
    return [match[1] for match in found if match]


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
    label = f"snapshot {snapshot_id}"
    key = place.prefix + snapshot_key(snapshot_id)
    try:
        found = place.connection.fetch(place.location.bucket, key, MAX_SNAPSHOT)
    except SourceChanged as error:
        raise NotASnapshot(f"{label} does not exist in {place.location}") from error
    data = found[0] if found else b""
    snapshot = read_snapshot(label, data)
    if snapshot.id != snapshot_id:
        raise NotASnapshot(f'{label}: its id is "{snapshot.id}"')
    return snapshot, data


def _chunks_of(place: Place, snapshot_id: str) -> list[str]:
    return [chunk.sha256 for chunk in fetch_snapshot(place, snapshot_id)[0].chunks]


def _is_old(stored: Stored, now: datetime) -> bool:
    try:
        modified = datetime.fromisoformat(stored.modified)
        return now - modified > _CHUNK_AGE
    except (ValueError, TypeError):
        return False
