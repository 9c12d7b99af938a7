"""Publish a snapshot: write its chunks, then the snapshot, and only then move the channel to it, conditionally.

A publisher that is killed in between leaves the channel where it was. Nothing here removes anything that this format
did not name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from s32s_agent.errors import DeletesRefused, SourceChanged
from s32s_agent.model import Entry, Kind, Mapping, Problem
from s32s_agent.snapshots.chunks import CUT, Chunk, Cut, pack
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import (
    Channel,
    Snapshot,
    channel_key,
    chunk_key,
    decode_snapshot,
    encode_channel,
    encode_snapshot,
    sha256_of,
    snapshot_key,
)
from s32s_agent.snapshots.place import FoundChannel, Place
from s32s_agent.snapshots.retention import present_chunks
from s32s_agent.snapshots.versions import with_versions
from s32s_agent.stores.s3.objects import ObjectHeaders, Precondition
from s32s_agent.stores.s3.write_requests import WriteRequests

_TRIES = 2
_NUMBERS = 16**6
"""How many ids a second has."""
_JSON = ObjectHeaders("application/json")
_GZIP = ObjectHeaders("application/gzip")
_LOST = "two publishers of one channel: let one of them publish, or publish again"
_EMPTY = "fill it, or set sync.allow_empty_source: true"
_UNPUBLISHED = (
    "rename or remove it, or leave `snapshots` out of the mapping; the channel was not moved"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be published, and by whom."""

    mapping: Mapping
    channel: str
    by: str
    now: datetime
    allow_empty: bool = False
    """Publish a prefix that holds nothing at all."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a channel points to after publishing."""

    channel: Channel
    raw_etag: str
    """Of the channel."""
    is_new: bool
    """False: the snapshot was there already, and nothing was written."""
    chunks: int = 0
    """Written for it."""


@dataclass(slots=True)
class _Contents:
    """What was counted while the entries passed."""

    objects: int = 0
    bytes: int = 0
    written: int = 0
    chunks: list[Chunk] = field(default_factory=list)


class _LostRace(SourceChanged):
    """Another publisher wrote first."""


class SnapshotPublisher:
    """Publishes snapshots to one place.

    Args:
        place: where they are.
        writes: how they are written.
        cut: where chunks end.
    """

    def __init__(self, place: Place, writes: WriteRequests, cut: Cut = CUT) -> None:
        self._place = place
        self._writes = writes
        self._cut = cut

    def publish(
        self, offer: Offer, list_entries: Callable[[], Iterable[Entry | Problem]]
    ) -> Publication:
        """Publish what the prefix holds; nothing new: nothing is written.

        A race that another publisher won is run once more, from the listing on, so that an older listing never
        replaces a newer one.

        Args:
            offer: what, and by whom.
            list_entries: lists the prefix, in key order.

        Raises:
            SourceChanged: another publisher moved the channel twice meanwhile.
            NotASnapshot: the listing cannot be published, or the channel is damaged.
            AgentError: the store failed or refused.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return self._attempt(offer, list_entries)
            except _LostRace as error:
                if attempt == _TRIES:
                    message = f'channel "{offer.channel}" of {self._place.location} was moved by another publisher'
                    raise SourceChanged(message, remedy=_LOST) from error
        raise AssertionError

    def _attempt(
        self, offer: Offer, list_entries: Callable[[], Iterable[Entry | Problem]]
    ) -> Publication:
        found = self._place.channel_if_any(offer.channel)
        current = self._current(found, offer.mapping)
        entries = _publishable(list_entries(), contents := _Contents())
        if self._place.connection.is_versioned(offer.mapping.location.bucket, unknown=False):
            entries = with_versions(self._place, offer.mapping, current, entries)
        # Only chunks that a channel names are safe from being removed before our channel names them.
        known = present_chunks(self._place, current.chunks if current else ())
        known_digests = {chunk.sha256 for chunk in known}
        for chunk, data in pack(entries, self._cut):
            contents.chunks.append(chunk)
            if chunk.sha256 not in known_digests:
                name = self._place.name_of(chunk_key(chunk.sha256))
                self._writes.put(name, data, _GZIP)
                contents.written += 1
        if not contents.chunks and not offer.allow_empty:
            message = f'"{offer.mapping.location}" is empty, so no snapshot was published'
            raise DeletesRefused(message, remedy=_EMPTY)
        is_same = current is not None and current.chunks == tuple(contents.chunks)
        if found and is_same:
            written = contents.written
            return Publication(found.channel, found.raw_etag, is_new=False, chunks=written)
        return self._move(offer, found, self._write_snapshot(offer, found, contents), contents)

    def _current(self, found: FoundChannel | None, mapping: Mapping) -> Snapshot | None:
        """Return the snapshot that the channel points to; None when it is missing or damaged, and to be replaced."""
        if found is None:
            return None
        try:
            data = self._place.snapshot(found.channel.snapshot)
            return decode_snapshot(data, found.channel, mapping.name, mapping.location)
        except NotASnapshot:
            return None

    def _write_snapshot(
        self, offer: Offer, found: FoundChannel | None, contents: _Contents
    ) -> tuple[Snapshot, bytes]:
        mapping = offer.mapping
        snapshot = Snapshot(
            new_snapshot_id(offer.now, found.channel.snapshot if found else ""),
            mapping.name,
            str(mapping.location),
            offer.now,
            offer.by,
            contents.objects,
            contents.bytes,
            tuple(contents.chunks),
        )
        data = encode_snapshot(snapshot)
        name = self._place.name_of(snapshot_key(snapshot.id))
        try:
            self._writes.put(name, data, _JSON, Precondition())
        except SourceChanged as error:
            raise _LostRace(str(error)) from error
        return snapshot, data

    def _move(
        self,
        offer: Offer,
        found: FoundChannel | None,
        written: tuple[Snapshot, bytes],
        contents: _Contents,
    ) -> Publication:
        snapshot, data = written
        channel = Channel(
            found.channel.sequence + 1 if found else 1,
            snapshot.id,
            sha256_of(data),
            snapshot.objects,
            snapshot.bytes,
            offer.now,
            offer.by,
            found.channel.snapshot if found else "",
        )
        try:
            raw_etag = move_channel(self._place, self._writes, offer.channel, channel, found)
        except SourceChanged as error:
            raise _LostRace(str(error)) from error
        return Publication(channel, raw_etag, is_new=True, chunks=contents.written)


def move_channel(
    place: Place,
    writes: WriteRequests,
    name: str,
    channel: Channel,
    found: FoundChannel | None,
) -> str:
    """Have a channel point to a snapshot, if it still is what was found.

    Returns:
        The ETag of the channel as the store wrote it.

    Raises:
        SourceChanged: another publisher has moved it meanwhile.
    """
    condition = Precondition(found.raw_etag if found else "")
    key = place.name_of(channel_key(name))
    return writes.put(key, encode_channel(channel), _JSON, condition)


def new_snapshot_id(now: datetime, after: str = "") -> str:
    """Return an id for a snapshot; ids sort by time, also behind the one that the channel has from the same second."""
    second = f"{now:%Y%m%dT%H%M%SZ}-"
    least = int(after.removeprefix(second), 16) + 1 if after.startswith(second) else 0
    least %= _NUMBERS
    return f"{second}{least + secrets.randbelow(_NUMBERS - least):06x}"


def _publishable(entries: Iterable[Entry | Problem], contents: _Contents) -> Iterator[Entry]:
    """Count entries as they pass.

    Raises:
        NotASnapshot: something in the prefix was not listed, or cannot be in a snapshot.
    """
    for entry in entries:
        if isinstance(entry, Problem):
            message = f'"{entry.key}" cannot be in a snapshot: {entry.reason}'
            raise NotASnapshot(message, remedy=_UNPUBLISHED)
        contents.objects += entry.kind is Kind.FILE
        contents.bytes += entry.size
        yield entry
