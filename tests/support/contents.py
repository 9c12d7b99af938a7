"""Contents from memory, with the faults that a test wants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from s32s_agent.model import Copy, Entry, Kind, Stamp, Why
from s32s_agent.stores.base import Attributes


@dataclass
class Bytes:
    """A content that yields these chunks, and calls a function of the test between them."""

    pieces: tuple[bytes, ...]
    attributes: Attributes = field(default_factory=Attributes)
    stamp: Stamp | None = None
    verified: str = "md5"
    between: Callable[[], None] = lambda: None
    """Called before every chunk and after the last; what it raises, `chunks` raises."""

    def chunks(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.between()
            yield piece
        self.between()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def entry_of(key: str, data: bytes = b"") -> Entry:
    """Return the entry of an object with these bytes; a key that ends in a slash is a directory."""
    if key.endswith("/"):
        return Entry(key, kind=Kind.DIRECTORY)
    return Entry(key, len(data), md5(data))


def copy_of(
    key: str, data: bytes = b"", replaces: Entry | None = None, why: Why = Why.NEW
) -> Copy:
    """Return the copy of an object with these bytes."""
    return Copy(entry_of(key, data), why, replaces)
