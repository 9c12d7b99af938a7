"""Follow a channel: one conditional request tells whether there is anything new."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import SourceChanged
from s32s_agent.model import Entry, Kind, Mapping, Problem
from s32s_agent.snapshots.chunks import Chunk, unpack
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import (
    Channel,
    Snapshot,
    decode_channel,
    decode_snapshot,
    encode_channel,
)
from s32s_agent.snapshots.memory import Memory, Remembered
from s32s_agent.snapshots.place import Place
from s32s_agent.stores.base import NO_HINTS, Content, Learned, Scan, ScanHints
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.workers import in_parallel

_OVERTAKEN = "the next publication repairs it: publish again after every change of the prefix"
_PIN_LOST = (
    "it is older than what the publisher keeps, or damaged: pin the mapping to another snapshot with --rollback ID, or"
    " release it with --follow; --snapshots shows what there is"
)
_WENT_BACK = (
    "two publishers overtook each other, or another user put back an old channel: publish again; to follow the channel"
    " as it is, remove the mapping's files in state_dir/snapshots"
)


@dataclass(frozen=True, slots=True)
class Followed:
    """The snapshot that a channel points to."""

    channel: Channel
    snapshot: Snapshot
    is_new: bool
    """The channel has changed since it was last followed."""
    fetched: int
    """Chunks that were not known."""
    is_pinned: bool = False
    """A pin holds it, whatever the channel says."""


def follow(
    place: Place, memory: Memory, mapping: Mapping, channel: str, workers: int
) -> Followed:
    """Ask the channel for news; when this returns, every chunk of its snapshot is here.

    Args:
        place: where the snapshots are.
        memory: what is known of earlier runs.
        mapping: that the snapshot must be of.
        channel: its name.
        workers: how many chunks are fetched at the same time.

    Raises:
        NoChannel: nothing has been published.
        NotASnapshot: anything is missing or wrong, or the sequence number has fallen.
        AgentError: the store failed or refused.
    """
    known, known_data = _known(memory, mapping)
    found = place.channel(channel, known_data.raw_etag if known and known_data else "")
    if found is None:
        if known is None:
            raise NotASnapshot(f'channel "{channel}": "not modified" without a condition')
        fetched = _fetch_missing(place, memory, known.snapshot, workers)
        return Followed(known.channel, known.snapshot, is_new=False, fetched=fetched)
    if known and found.channel.sequence < known.channel.sequence:
        numbers = f"{found.channel.sequence} after {known.channel.sequence}"
        message = f'channel "{channel}": its sequence number fell: {numbers}'
        raise NotASnapshot(message, remedy=_WENT_BACK)
    data = place.snapshot(found.channel.snapshot)
    snapshot = decode_snapshot(data, found.channel, mapping.name, mapping.location)
    fetched = _fetch_missing(place, memory, snapshot, workers)
    memory.write(Remembered(found.raw_etag, found.data, data), snapshot.chunks)
    return Followed(found.channel, snapshot, is_new=True, fetched=fetched)


def follow_pin(
    place: Place, memory: Memory, mapping: Mapping, pin: Channel, workers: int
) -> Followed:
    """Take the snapshot to which a mapping is pinned; when this returns, every chunk of it is here.

    From then on the pin needs nothing of the place, where the publisher may remove an old snapshot.

    Args:
        place: where the snapshots are; it is asked only for what is not known.
        memory: what is known of earlier runs with this pin.
        mapping: that the snapshot must be of.
        pin: names the snapshot.
        workers: how many chunks are fetched at the same time.

    Raises:
        NotASnapshot: anything is missing or wrong.
        AgentError: the store failed or refused.
    """
    try:
        return _pinned(place, memory, mapping, pin, workers)
    except NotASnapshot as error:
        message = (
            f"the mapping is pinned to snapshot {pin.snapshot}, which cannot be read: {error}"
        )
        raise NotASnapshot(message, remedy=_PIN_LOST) from error


def _pinned(
    place: Place, memory: Memory, mapping: Mapping, pin: Channel, workers: int
) -> Followed:
    known, _ = _known(memory, mapping)
    if known is None or known.channel != pin:
        data = place.snapshot(pin.snapshot)
        snapshot = decode_snapshot(data, pin, mapping.name, mapping.location)
        fetched = _fetch_missing(place, memory, snapshot, workers)
        memory.write(Remembered("", encode_channel(pin), data), snapshot.chunks)
        return Followed(pin, snapshot, is_new=True, fetched=fetched, is_pinned=True)
    fetched = _fetch_missing(place, memory, known.snapshot, workers)
    return Followed(pin, known.snapshot, is_new=False, fetched=fetched, is_pinned=True)


def _known(memory: Memory, mapping: Mapping) -> tuple[Followed | None, Remembered | None]:
    """Return what is remembered, where it can be proven."""
    remembered = memory.read()
    if remembered is None:
        return None, None
    try:
        channel = decode_channel(remembered.channel)
        data = remembered.snapshot
        snapshot = decode_snapshot(data, channel, mapping.name, mapping.location)
    except NotASnapshot:
        return None, None
    return Followed(channel, snapshot, is_new=False, fetched=0), remembered


def _fetch_missing(place: Place, memory: Memory, snapshot: Snapshot, workers: int) -> int:
    """Fetch the chunks that are not known, and return how many they were."""
    missing = [chunk for chunk in snapshot.chunks if not memory.has(chunk)]
    results = in_parallel(
        lambda chunk, _: _proven(place, chunk, in_worker=True),
        missing,
        workers,
        place.connection.cancel_token,
        place.connection.answered,
    )
    with contextlib.closing(results):
        for chunk, data in results:
            if isinstance(data, Exception):
                raise data
            memory.keep(chunk, data)
    return len(missing)


def _proven(place: Place, chunk: Chunk, *, in_worker: bool = False) -> bytes:
    data = place.chunk(chunk, in_worker=in_worker)
    unpack(chunk, data)
    return data


class SnapshotSource(S3Source):
    """A prefix of a bucket as a snapshot lists it: nothing is ever listed, and no other version is taken.

    Args:
        place: where the snapshots are.
        memory: holds the chunks.
        mapping: whose prefix it is.
        followed: the snapshot.
    """

    def __init__(
        self, place: Place, memory: Memory, mapping: Mapping, followed: Followed
    ) -> None:
        super().__init__(place.connection, mapping.location)
        self._place = place
        self._memory = memory
        self._snapshot = followed.snapshot
        self.is_pinned = followed.is_pinned

    @property
    def snapshot_id(self) -> str:
        """The id of the snapshot."""
        return self._snapshot.id

    @property
    def may_be_unordered(self) -> bool:
        """Whether disorder is a habit of the store: never, a snapshot is in key order."""
        return False

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:  # noqa: ARG002 (a snapshot needs no hints)
        """Read the list of the snapshot."""
        return Scan(self._entries())

    def _entries(self) -> Generator[Entry | Problem, None, Learned]:
        last, objects, size = "", 0, 0
        for chunk in self._snapshot.chunks:
            data = self._memory.chunk(chunk)
            if data is None:  # damaged on this computer
                data = _proven(self._place, chunk)
                self._memory.keep(chunk, data)
            for entry in unpack(chunk, data, last):
                yield entry
                last = entry.key
                objects += entry.kind is Kind.FILE
                size += entry.size
        if (objects, size) != (self._snapshot.objects, self._snapshot.bytes):
            label = f"snapshot {self._snapshot.id}"
            raise NotASnapshot(f"{label}: its chunks have {objects} objects of {size} bytes")
        return Learned()

    @contextlib.contextmanager
    def open(self, entry: Entry, heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        """Request the version that the snapshot names, and accept no other bytes.

        A version that was removed, as a lifecycle rule removes all but the newest, may have been replaced by the same
        bytes: what has the same ETag now is taken too.
        """
        with contextlib.ExitStack() as stack:
            try:
                content = stack.enter_context(super().open(entry, heartbeat))
            except SourceChanged as error:
                if not entry.version_id:
                    raise self._overtaken(error) from error
                newest = entry._replace(version_id="")
                try:
                    content = stack.enter_context(super().open(newest, heartbeat))
                except SourceChanged:
                    raise self._overtaken(error) from error
            yield content

    def _overtaken(self, error: SourceChanged) -> SourceChanged:
        message = f"{error}; snapshot {self._snapshot.id} is overtaken"
        return SourceChanged(message, remedy=_OVERTAKEN)

    def current_version(self, entry: Entry) -> Entry | None:  # noqa: ARG002 (as in every source)
        """Return None: a version that the snapshot does not name belongs to no consistent whole."""
        return None

    def confirm_absent(self, key: str) -> bool:  # noqa: ARG002 (as in every source)
        """Return True without a request: the snapshot is complete and proven."""
        return True

    def similar_prefix(self) -> str:
        """Return "": a follower has no right to list."""
        return ""
