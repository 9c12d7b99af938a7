"""An S3 prefix as a source: it is listed and read, and nothing here can write or delete in S3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import SourceChanged
from s32s_agent.model import Entry, Location
from s32s_agent.plan import keys
from s32s_agent.stores.base import Content
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.download import Downloads
from s32s_agent.stores.s3.prefix import S3Prefix


class S3Source(S3Prefix):
    """A prefix of a bucket that is read.

    Args:
        connection: how S3 is reached; it outlives the store.
        location: the prefix.
    """

    def __init__(self, connection: Connection, location: Location) -> None:
        super().__init__(connection, location)
        self._downloads = Downloads(connection, self)

    @contextlib.contextmanager
    def open(self, entry: Entry, heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        """Request the version that was listed, and accept no other."""
        with contextlib.closing(self._downloads.open(entry, heartbeat)) as content:
            yield content

    def confirm_absent(self, key: str) -> bool:
        """Ask for the key itself; what no key can be is absent."""
        name = self.name_of(key)
        if keys.is_no_text(key) or len(name.key.encode()) > keys.KEY_BYTES:
            return True
        try:
            self._connection.head(name)
        except SourceChanged:
            return True
        return False
