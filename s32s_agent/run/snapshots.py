"""What a run does with snapshots: a slave's source follows a channel, a master publishes after its work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, SourceChanged
from s32s_agent.model import Entry, Extras, Kind, Location, Mapping, Plan, Problem, Role
from s32s_agent.plan import keys
from s32s_agent.run.context import RunContext
from s32s_agent.run.report import MappingReport
from s32s_agent.run.state_directory import PINS, SNAPSHOTS
from s32s_agent.snapshots.following import SnapshotSource, follow, follow_pin
from s32s_agent.snapshots.manifest import Channel, decode_channel, decode_snapshot
from s32s_agent.snapshots.memory import Memory, Remembered
from s32s_agent.snapshots.pins import read_pin
from s32s_agent.snapshots.place import Place
from s32s_agent.state.index import MappingIndex
from s32s_agent.stores.base import ScanHints
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.prefix import S3Prefix

_CHUNK_WORKERS = 8
_OTHER_WRITER = "the next run puts it right and publishes; one prefix has one master"


def open_source(context: RunContext, mapping: Mapping, location: Location) -> SnapshotSource:
    """Return the source of a slave whose mapping has snapshots: the one of its channel, or of its pin.

    Args:
        context: of the run.
        mapping: whose prefix it is.
        location: where its snapshots are.

    Raises:
        NoChannel: nothing has been published yet. Such a mapping is never listed instead.
        AgentError: as `follow`.
    """
    place = Place(context.connection, location)
    pin = _pin(context, mapping)
    memory = _memory(context, mapping, location, is_pinned=pin is not None)
    channel = context.settings.sync.channel
    if pin is None:
        followed = follow(place, memory, mapping, channel, _CHUNK_WORKERS)
    else:
        followed = follow_pin(place, memory, mapping, pin, _CHUNK_WORKERS)
    context.log.info(
        "snapshot.followed",
        mapping=mapping.name,
        snapshot=followed.snapshot.id,
        channel=channel,
        sequence=followed.channel.sequence,
        chunks=followed.fetched,
        new=followed.is_new,
        pinned=pin is not None,
    )
    return SnapshotSource(place, memory, mapping, followed)


def _pin(context: RunContext, mapping: Mapping) -> Channel | None:
    pins = context.options.pins
    if mapping.name in pins:
        return pins[mapping.name]
    return read_pin(Path(context.settings.state_dir, PINS), mapping.name)


def note_snapshot(report: MappingReport, source: object, channel: str) -> None:
    """Note which snapshot a slave follows, and whether it is pinned to it."""
    if isinstance(source, SnapshotSource):
        report.snapshot, report.channel = source.snapshot_id, channel
        report.pinned = source.snapshot_id if source.is_pinned else ""


def try_snapshot(settings: Settings, connection: Connection, mapping: Mapping) -> str:
    """Return which snapshot a slave would take, without a listing, since a follower may have no right to list.

    Raises:
        AgentError: there is none, it cannot be read, or it is of another mapping.
    """
    if mapping.snapshots is None:
        return ""
    place, name = Place(connection, mapping.snapshots), settings.sync.channel
    pin = read_pin(Path(settings.state_dir, PINS), mapping.name)
    found = None if pin else place.channel(name)
    channel = found.channel if found else pin
    if channel is None:
        return ""
    snapshot = decode_snapshot(
        place.snapshot(channel.snapshot), channel, mapping.name, mapping.location
    )
    held = "is pinned" if pin else f'is in channel "{name}"'
    return f"snapshot {snapshot.id} of {snapshot.objects} objects {held}"


def _memory(
    context: RunContext, mapping: Mapping, place: Location, *, is_pinned: bool = False
) -> Memory:
    settings = context.settings
    identity = (
        settings.role.value,
        context.connection.endpoint,
        str(place),
        "a pin" if is_pinned else settings.sync.channel,
        mapping.name,
        str(mapping.location),
    )
    directory = Path(settings.state_dir, SNAPSHOTS)
    return Memory(directory, "\n".join(identity), read_only=context.options.dry_run)


@dataclass(frozen=True, slots=True)
class AfterRun:
    """Publishes what a master's run left in S3."""

    context: RunContext
    mapping: Mapping
    place: Location
    index: MappingIndex

    @property
    def _memory(self) -> Memory:
        return _memory(self.context, self.mapping, self.place)

    def before(self, plan: Plan) -> None:
        """Forget that the snapshot is current, before anything changes: a run that is killed must not be believed."""
        if plan.copies or plan.clears or plan.deletes:
            self._memory.forget()

    def after(self, report: MappingReport) -> None:
        """Publish, if the mapping is in sync; a run that changed nothing asks whether its snapshot is current.

        Raises:
            SourceChanged: the prefix is not as this run left it, or another publisher moves the channel.
            AgentError: the store failed or refused.
        """
        log = self.context.log.bind(mapping=self.mapping.name)
        channel = self.context.settings.sync.channel
        if report.exit_code or report.withheld:
            reason = "the mapping is not in sync"
            log.warning("snapshot.withheld", channel=channel, reason=reason)
            return
        place = Place(self.context.connection, self.place)
        report.channel = channel
        known, memory = self._memory.read(), self._memory
        if known and place.channel(channel, known.raw_etag) is None:
            report.snapshot = decode_channel(known.channel).snapshot
            return
        report.snapshot = self._publish(place, memory, channel)

    def _publish(self, place: Place, memory: Memory, name: str) -> str:
        """Publish, remember it, and return the snapshot's id."""
        # Imported here, so that in a slave's process nothing exists that could write or delete in S3.
        from s32s_agent.snapshots.manifest import encode_channel  # noqa: PLC0415
        from s32s_agent.snapshots.publishing import Offer, SnapshotPublisher  # noqa: PLC0415
        from s32s_agent.snapshots.retention import remove_old  # noqa: PLC0415
        from s32s_agent.stores.s3.write_requests import WriteRequests  # noqa: PLC0415

        context = self.context
        writes = WriteRequests(context.connection)
        empty = context.settings.sync.allow_empty_source
        offer = Offer(self.mapping, name, socket.gethostname(), context.now, empty)
        done = SnapshotPublisher(place, writes).publish(offer, self._listing)
        memory.write(Remembered(done.raw_etag, encode_channel(done.channel), b""))
        if not done.is_new:
            return done.channel.snapshot
        self._log(name, done.channel, done.chunks)
        try:
            remove_old(place, writes, context.now)
        except AgentError as error:
            fields = error.fields()
            context.log.warning("snapshot.unpruned", mapping=self.mapping.name, **fields)
        return done.channel.snapshot

    def _log(self, name: str, channel: Channel, chunks: int) -> None:
        self.context.log.info(
            "snapshot.published",
            mapping=self.mapping.name,
            snapshot=channel.snapshot,
            channel=name,
            sequence=channel.sequence,
            objects=channel.objects,
            bytes=channel.bytes,
            chunks=chunks,
        )

    def _listing(self) -> Iterator[Entry | Problem]:
        """List the prefix once more, and compare it with what the run left there."""
        hints = ScanHints(self.index.unordered, self.index.boundaries)
        prefix = S3Prefix(self.context.connection, self.mapping.location)
        return unchanged(prefix.scan(hints), self.index, self.mapping)


def unchanged(
    found: Iterator[Entry | Problem], index: MappingIndex, mapping: Mapping
) -> Iterator[Entry | Problem]:
    """Yield a listing, if it is what a run left there.

    Args:
        found: the listing, in key order.
        index: what the run left there.
        mapping: says what is its own.

    Raises:
        SourceChanged: another writer changed, added or removed an object of the mapping.
    """
    ignored = keys.matcher(mapping.ignore)
    is_exact = mapping.files is None and mapping.extras is Extras.DELETE

    def is_own(key: str) -> bool:
        return not ignored(key) and (mapping.files is None or key in mapping.files)

    rows = (row for row in index.rows() if not row.key.endswith("/") and is_own(row.key))
    row = next(rows, None)
    for entry in found:
        is_file = isinstance(entry, Entry) and entry.kind is Kind.FILE
        if isinstance(entry, Entry) and is_file and is_own(entry.key):
            if row is not None and row.key < entry.key:
                raise _changed(row.key)
            if row is not None and row.key == entry.key:
                if row.etag != entry.etag:
                    raise _changed(entry.key)
                row = next(rows, None)
            elif is_exact:
                raise _changed(entry.key)
        yield entry
    if row is not None:
        raise _changed(row.key)


def _changed(key: str) -> SourceChanged:
    message = f'"{key}" was modified by another writer, so no snapshot was published'
    return SourceChanged(message, remedy=_OTHER_WRITER)


def publisher_of(
    context: RunContext, mapping: Mapping, location: Location, index: MappingIndex
) -> AfterRun | None:
    """Return what publishes after a run to the place of the snapshots; None where nothing is published."""
    is_master = context.settings.role is Role.MASTER
    if not is_master or context.options.dry_run:
        return None
    return AfterRun(context, mapping, location, index)
