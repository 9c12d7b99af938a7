"""Publish what prefixes hold, for buckets that another tool fills: `--publish`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from s32s_agent.arguments import Arguments
from s32s_agent.commands.of_snapshots import each_mapping
from s32s_agent.config.settings import Settings
from s32s_agent.errors import ConfigError
from s32s_agent.model import Entry, Location, Mapping, Problem, Role
from s32s_agent.snapshots.place import Place
from s32s_agent.snapshots.publishing import Offer, SnapshotPublisher
from s32s_agent.snapshots.retention import remove_old
from s32s_agent.stores.base import ScanHints
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.prefix import S3Prefix
from s32s_agent.stores.s3.write_requests import WriteRequests
from s32s_agent.text import printable, size_text


def publish(settings: Settings, arguments: Arguments) -> int:
    """List each prefix once, publish a snapshot of it, and return the exit status.

    No lock is held: conditions on the channel decide between publishers, wherever they run.

    Args:
        settings: the config's.
        arguments: the command line.

    Raises:
        AgentError: what stops every mapping.
    """
    if settings.role is not Role.MASTER:
        raise ConfigError("role", ["--publish needs `role: master`"])
    connection = Connection(settings.s3)
    writes, now = WriteRequests(connection), datetime.now(UTC)
    allow_empty = settings.sync.allow_empty_source

    def act(mapping: Mapping, location: Location) -> dict[str, object]:
        place = Place(connection, location)
        channel = settings.sync.channel
        offer = Offer(mapping, channel, socket.gethostname(), now, allow_empty)
        done = SnapshotPublisher(place, writes).publish(
            offer, lambda: _listing(connection, mapping)
        )
        removed = remove_old(place, writes, now) if done.is_new else 0
        return {
            "channel": channel,
            "snapshot": done.channel.snapshot,
            "sequence": done.channel.sequence,
            "objects": done.channel.objects,
            "bytes": done.channel.bytes,
            "new": done.is_new,
            "chunks": done.chunks,
            "removed": removed,
        }

    return each_mapping(settings, arguments, connection, act, _line)


def _listing(connection: Connection, mapping: Mapping) -> Iterator[Entry | Problem]:
    prefix = S3Prefix(connection, mapping.location)
    return iter(prefix.scan(ScanHints(unordered=prefix.may_be_unordered)))


def _line(done: dict[str, object]) -> str:
    name = printable(str(done["mapping"]))
    what = f"{done['objects']} objects, {size_text(int(str(done['bytes'])))}"
    verb = "published" if done["new"] else "nothing new,"
    return f"{name}: {verb} {done['snapshot']} in {done['channel']} ({what})"
