"""The contract that every store keeps, so that a pass does not know which side is S3.

One thread scans a store and publishes; `open`, `put`, `delete` and `confirm_absent` may be
called from many threads at once, each for another key. `tests/contract/` holds the suite that
every store passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from s32s_agent.errors import AgentError
from s32s_agent.model import Copy, Entry, Problem, Stamp


@dataclass(frozen=True, slots=True)
class Attributes:
    """What travels beside the bytes of an entry."""

    mtime_ns: int | None = None
    mode: int | None = None
    """Permission bits, masked to 0o777."""


class Content(Protocol):
    """The bytes of one entry of a source, read once."""

    @property
    def attributes(self) -> Attributes:
        """The entry's attributes."""

    @property
    def stamp(self) -> Stamp | None:
        """The local file's stamp as of opening; None where the source is not local."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in order, exactly once.

        Raises:
            IntegrityError: after the last chunk, when length or digest are not what the entry
            promised. SourceChanged: the source holds another version, or changed while it was
            read.
            AgentError: the store failed.
        """

    @property
    def verified(self) -> str:
        """What proved the bytes, once `chunks` has ended: `md5`, `multipart` or `length`."""


class File(Protocol):
    """Where the bytes of one entry go, at any position, from many threads at once."""

    def write(self, chunk: bytes, position: int) -> None:
        """Write the bytes there, all of them."""

    def read(self, size: int, position: int) -> bytes:
        """Read up to `size` bytes from there; none where nothing has been written yet."""


class RangedContent(ABC):
    """A content that can also be written to a file in any order, because something proves the whole in the end.

    A class and not a protocol, since who takes a content asks which kind it is.
    """

    @abstractmethod
    def fill(self, file: File, kept: int) -> None:
        """Write all bytes to a file, instead of yielding them, and prove them.

        Args:
            file: what they are written to; nobody writes to it any more after this has returned or raised.
            kept: how many bytes at its beginning an earlier attempt at the same version wrote. They are proven
                together with the rest.

        Raises:
            AgentError: as `Content.chunks`.
        """


@dataclass(frozen=True, slots=True)
class Staged:
    """An entry whose bytes the target has, but does not show yet."""

    copy: Copy
    verified: str
    etag: str
    """The version in S3, in normal form."""
    stamp: Stamp | None
    """Of the local file, where the source is local; a local target gives it when it publishes."""
    token: str = ""
    """The target's own name for what is staged."""


@dataclass(frozen=True, slots=True)
class Published:
    """The target shows the entry now, or could not be made to."""

    staged: Staged
    stamp: Stamp | None
    """Of the local file, on whichever side it is; None when an edit could hide in the clock's granularity."""
    error: Exception | None = None


class Source(Protocol):
    """The store that is right."""

    def scan(self) -> Iterator[Entry | Problem]:
        """Yield every entry in key order, strictly increasing by code point, with the problems in between.

        Ends without an exception only when nothing was left out that is not named by a problem.

        Raises:
            ListingInconsistent: the store contradicts itself.
            StoreUnavailable: the store did not answer, or something else did.
            AccessDenied: the store refused.
            DirectoryError: the directory itself cannot be read.
        """

    def open(self, entry: Entry) -> AbstractContextManager[Content]:
        """Open the version of the entry that was scanned, and no other.

        Raises:
            SourceChanged: there is another version now, or none.
            EntryUnreadable: it is there, but cannot be read.
        """

    def fresh(self, entry: Entry) -> Entry | None:
        """Give the version that may be taken in place of one that has changed; None when there is none."""

    def confirm_absent(self, key: str) -> bool:
        """Ask the store itself, past any listing, whether the key is gone."""


class Target(Protocol):
    """The store that is made equal to the source."""

    shows_at_once: bool
    """Whether `put` shows an entry already, so that what blocks it must go before."""

    def scan(self) -> Iterator[Entry | Problem]:
        """Yield every entry, as a source does."""

    def put(self, copy: Copy, content: Content) -> Staged:
        """Take the bytes and prove them; no part of an entry ever shows, and nothing new stays after an exception.

        Except, out of sight, of a large entry that was interrupted: what came of it, for a later attempt.

        The whole entry shows after `publish`; a store whose writes are whole by nature may show it at once. A
        directory has no bytes, and its content is not read. The bytes of a blocked copy are taken while what blocks
        it is still there, unless the store shows at once; `publish` is called when it is gone.

        Raises:
            DiskFull: there is no room; `free_space` may help.
            DirectoryError: it cannot be written.
            EntryError: this entry cannot; the others may.
        """

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Show the staged entries, each of them whole, and durably where that was asked for."""

    def discard(self, staged: Staged) -> None:
        """Forget a staged entry that will not be published; a large one may stay for a later attempt."""

    def delete(self, entry: Entry) -> bool:
        """Remove an entry; absent already is done already. False: a directory that is not empty stays."""

    def remove_leftovers(self, copies: Sequence[Copy] = ()) -> Mapping[str, AgentError]:
        """Remove what a killed pass left unfinished, but not what one of the copies can go on with.

        Returns:
            What had to stay, by place, and why.
        """

    def free_space(self) -> bool:
        """Give up what can be done without, since the store is full; tell whether there was any."""

    def make_durable(self) -> None:
        """Put what others wrote on the disk, before the index vouches for it."""

    def prune(self, now: datetime) -> None:
        """Remove what was kept for long enough, after the work is done."""
