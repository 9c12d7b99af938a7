"""Move channels between snapshots that have been published: `--promote` and `--rollback --channel`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from s32s_agent.arguments import Arguments
from s32s_agent.commands.of_snapshots import each_mapping
from s32s_agent.config.settings import Settings
from s32s_agent.errors import ConfigError, SourceChanged
from s32s_agent.model import Location, Mapping, Role
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import Channel, decode_snapshot, sha256_of
from s32s_agent.snapshots.place import FoundChannel, Place
from s32s_agent.snapshots.publishing import move_channel
from s32s_agent.snapshots.retention import fetch_snapshot, require_chunks
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.write_requests import WriteRequests
from s32s_agent.text import printable

_NO_PREVIOUS = "name a snapshot; --snapshots shows them"
_LOST = "run it again, if it is still what you want"


class _Wanted(NamedTuple):
    """Which channel is to point to what."""

    name: str
    found: FoundChannel | None
    """The channel as it is; None when it does not exist."""
    target: Channel
    """Names the snapshot, its digest and its numbers."""


def promote(settings: Settings, arguments: Arguments) -> int:
    """Have a channel point to the snapshot that another one points to; return the exit status.

    Args:
        settings: the config's.
        arguments: the command line.

    Raises:
        AgentError: what stops every mapping.
    """
    from_name, to_name = arguments.promote

    def wanted(mapping: Mapping, place: Place) -> _Wanted:
        source = place.channel(from_name)
        if source is None:
            raise NotASnapshot(f'channel "{from_name}": no content')
        target = source.channel
        data = place.snapshot(target.snapshot)
        require_chunks(place, decode_snapshot(data, target, mapping.name, mapping.location))
        return _Wanted(to_name, place.channel_if_any(to_name), target)

    return _move(settings, arguments, wanted)


def roll_back_channel(settings: Settings, arguments: Arguments) -> int:
    """Have a channel point to the snapshot before, or to a named one; return the exit status.

    Args:
        settings: the config's.
        arguments: the command line.

    Raises:
        AgentError: what stops every mapping.
    """
    name = arguments.channel or ""

    def wanted(mapping: Mapping, place: Place) -> _Wanted:
        found = place.channel(name)
        if found is None:
            raise NotASnapshot(f'channel "{name}": no content')
        snapshot_id = arguments.rollback or found.channel.previous
        if not snapshot_id:
            message = f'channel "{name}" has pointed to no other snapshot before'
            raise NotASnapshot(message, remedy=_NO_PREVIOUS)
        target = channel_to(place, mapping, snapshot_id)
        require_chunks(place, fetch_snapshot(place, snapshot_id)[0])
        return _Wanted(name, found, target)

    return _move(settings, arguments, wanted)


def channel_to(place: Place, mapping: Mapping, snapshot_id: str) -> Channel:
    """Return how a channel names a snapshot, which exists and is of the mapping.

    Raises:
        NotASnapshot: it does not exist, or is of another mapping.
    """
    snapshot, data = fetch_snapshot(place, snapshot_id)
    target = Channel(
        sequence=0,
        snapshot=snapshot.id,
        sha256=sha256_of(data),
        objects=snapshot.objects,
        bytes=snapshot.bytes,
        created=snapshot.created,
        by=snapshot.by,
    )
    decode_snapshot(data, target, mapping.name, mapping.location)
    return target


def _move(
    settings: Settings, arguments: Arguments, wanted: Callable[[Mapping, Place], _Wanted]
) -> int:
    if settings.role is not Role.MASTER:
        raise ConfigError("role", ["moving a channel needs `role: master`"])
    connection = Connection(settings.s3)
    writes, now = WriteRequests(connection), datetime.now(UTC)

    def act(mapping: Mapping, location: Location) -> dict[str, object]:
        place = Place(connection, location)
        name, found, target = wanted(mapping, place)
        before = found.channel if found else None
        is_new = before is None or before.snapshot != target.snapshot
        channel = replace(
            target,
            sequence=before.sequence + 1 if before else 1,
            created=now,
            by=socket.gethostname(),
            previous=before.snapshot if before else "",
        )
        if is_new and not arguments.dry_run:
            try:
                move_channel(place, writes, name, channel, found)
            except SourceChanged as error:
                message = f'channel "{name}" was moved by another publisher meanwhile'
                raise SourceChanged(message, remedy=_LOST) from error
        return {
            "channel": name,
            "snapshot": target.snapshot,
            "sequence": channel.sequence if is_new or before is None else before.sequence,
            "previous": before.snapshot if before else "",
            "new": is_new,
            "dry_run": arguments.dry_run,
        }

    return each_mapping(settings, arguments, connection, act, _line)


def _line(done: dict[str, object]) -> str:
    name = printable(str(done["mapping"]))
    moved = "would point to" if done["dry_run"] else "now points to"
    verb = moved if done["new"] else "points to this already:"
    return f"{name}: {done['channel']} {verb} {done['snapshot']} (before: {done['previous'] or 'none'})"
