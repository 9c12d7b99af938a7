"""Read the documents of snapshots from their place in S3, each of them proven."""

from __future__ import annotations

from typing import NamedTuple

from s32s_agent.errors import AccessDenied, SourceChanged, StoreUnavailable
from s32s_agent.model import Location
from s32s_agent.snapshots.chunks import Chunk
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import (
    MAX_CHANNEL,
    MAX_SNAPSHOT,
    Channel,
    channel_key,
    chunk_key,
    decode_channel,
    snapshot_key,
)
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectName

_PUBLISH = "publish a first snapshot: run the master, or `s32s-agent --publish` in role master"
_NO_LIST = (
    "check the credentials and the bucket policy; without the right to list, a store answers the same for a channel"
    " that does not exist yet: publish a snapshot with a master or `s32s-agent --publish`"
)


class NoChannel(StoreUnavailable):
    """The channel does not exist: nothing has been published to it yet."""

    remedy = _PUBLISH


class FoundChannel(NamedTuple):
    """A channel as it is in the bucket."""

    channel: Channel
    data: bytes
    raw_etag: str
    """As the store wrote it."""


class Place:
    """Where the snapshots of one mapping are. Writes nothing.

    Args:
        connection: how S3 is reached.
        location: the place.
    """

    def __init__(self, connection: Connection, location: Location) -> None:
        self.connection = connection
        self.location = location
        self.prefix = f"{location.prefix}/" if location.prefix else ""

    def name_of(self, key: str) -> ObjectName:
        """Return how requests and messages name an object."""
        return ObjectName(self.location.bucket, self.prefix + key, f'"{self.location}/{key}"')

    def channel(self, name: str, known_etag: str = "") -> FoundChannel | None:
        """Fetch a channel; None when it still has the known ETag.

        Raises:
            NoChannel: it does not exist.
            NotASnapshot: it is no channel.
            AgentError: the store failed or refused.
        """
        try:
            found = self._fetch(channel_key(name), MAX_CHANNEL, known_etag)
        except SourceChanged as error:
            message = f'channel "{name}" does not exist in {self.location}'
            raise NoChannel(message) from error
        except AccessDenied as error:
            raise AccessDenied(str(error), remedy=_NO_LIST) from error
        if found is None:
            return None
        data, raw_etag = found
        return FoundChannel(decode_channel(data), data, raw_etag)

    def channel_if_any(self, name: str) -> FoundChannel | None:
        """Fetch a channel; None when it does not exist.

        Raises:
            AgentError: as `channel`, for every other reason.
        """
        try:
            return self.channel(name)
        except NoChannel:
            return None

    def snapshot(self, snapshot_id: str) -> bytes:
        """Fetch the bytes of a snapshot; that they are the right ones is not proven.

        Raises:
            NotASnapshot: it is not there.
        """
        return self._immutable(snapshot_key(snapshot_id), MAX_SNAPSHOT)

    def chunk(self, chunk: Chunk, *, in_worker: bool = False) -> bytes:
        """Fetch the bytes of a chunk, of at most the size that the snapshot names.

        Raises:
            NotASnapshot: it is not there.
        """
        return self._immutable(chunk_key(chunk.sha256), chunk.size, in_worker=in_worker)

    def _immutable(self, key: str, limit: int, *, in_worker: bool = False) -> bytes:
        try:
            found = self._fetch(key, limit, in_worker=in_worker)
        except SourceChanged as error:
            message = (
                f'"{self.location}/{key}" is missing, so the list of the source is incomplete'
            )
            raise NotASnapshot(message) from error
        return found[0] if found else b""

    def _fetch(
        self, key: str, limit: int, known_etag: str = "", *, in_worker: bool = False
    ) -> tuple[bytes, str] | None:
        bucket = self.location.bucket
        return self.connection.fetch(
            bucket, self.prefix + key, limit, known_etag, in_worker=in_worker
        )
