"""A dict as a store, for the tests of everything above the stores, and for a directory that does not exist yet.

It keeps the contract of `base.py` and nothing else: no disk, no network. An ETag is the MD5 of the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import AgentError, SourceChanged
from s32s_agent.model import Copy, Entry, Kind, Problem, Stamp
from s32s_agent.stores.base import (
    NO_HINTS,
    Attributes,
    Content,
    Learned,
    Published,
    Scan,
    ScanHints,
    Staged,
)


class MemoryStore:
    """Entries by key.

    Args:
        entries: bytes by key; a key that ends in `/` is a directory.
    """

    publishes_on_put = False
    deletes_at_once = 1

    def __init__(self, entries: dict[str, bytes] | None = None) -> None:
        self.entries = dict(entries or {})
        self.staged: dict[str, bytes] = {}
        """Bytes by key that were put and not yet published."""

    def scan(self, _hints: ScanHints = NO_HINTS) -> Scan:
        """Yield the entries in key order."""
        return Scan(self._scan())

    def _scan(self) -> Generator[Entry | Problem, None, Learned]:
        for key in sorted(self.entries):
            yield self._entry(key)
        return Learned()

    def _entry(self, key: str) -> Entry:
        if key.endswith("/"):
            return Entry(key, kind=Kind.DIRECTORY)
        data = self.entries[key]
        return Entry(key, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())

    @contextlib.contextmanager
    def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        """Open a version."""
        if entry.key not in self.entries or self._entry(entry.key).etag != entry.etag:
            raise SourceChanged(f'"{entry.key}" is another version now')
        yield _Bytes(self.entries[entry.key])

    def current_version(self, entry: Entry) -> Entry | None:
        """Return the version that is there now."""
        return self._entry(entry.key) if entry.key in self.entries else None

    def confirm_absent(self, key: str) -> bool:
        """Look the key up."""
        return key not in self.entries

    def put(self, copy: Copy, content: Content, _heartbeat: Heartbeat = UNWATCHED) -> Staged:
        """Keep the bytes aside."""
        key = copy.entry.key
        is_directory = copy.entry.kind is Kind.DIRECTORY
        self.staged[key] = b"" if is_directory else b"".join(content.chunks())
        return Staged(copy, content.verified, copy.entry.etag or "", content.stamp, key)

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Show what was kept aside."""
        for each in staged:
            self.entries[each.token] = self.staged.pop(each.token)
            yield Published(each, each.stamp)

    def discard(self, staged: Staged) -> None:
        """Forget what was kept aside."""
        self.staged.pop(staged.token, None)

    def delete(self, entry: Entry) -> bool:
        """Remove an entry; a directory only when nothing is in it."""
        inside = (
            key for key in self.entries if key.startswith(entry.key) and key != entry.key
        )
        if entry.kind is Kind.DIRECTORY and any(inside):
            return False
        self.entries.pop(entry.key, None)
        return True

    def delete_many(self, _entries: Sequence[Entry]) -> set[str]:
        """Remove nothing: entries are removed one at a time."""
        return set()

    def remove_leftovers(
        self, _leftovers: Sequence[str] = (), _copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        """Forget everything that was kept aside."""
        self.staged.clear()
        return {}

    def free_space(self) -> bool:
        """Return that there is nothing to remove."""
        return False

    def make_durable(self) -> None:
        """Do nothing: memory is as durable as it gets."""

    def remarks(self) -> list[str]:
        """Return nothing: it keeps all that it is given."""
        return []

    def prune(self, now: datetime) -> list[str]:  # noqa: ARG002 (nothing is kept)
        """Return that nothing stays: nothing is kept."""
        return []


class _Bytes:
    """The bytes of an entry."""

    attributes = Attributes()
    stamp: Stamp | None = None
    verified = "md5"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def chunks(self) -> Iterator[bytes]:
        """Yield them in one piece."""
        yield self._data
