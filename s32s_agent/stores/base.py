"""The contract of every store, so that a run does not know which side is S3.

A source is read, a target is written; neither has a method of the other. One thread scans a store and publishes;
`open`, `put`, `delete` and `confirm_absent` may be called from many threads at once, each for another key.
`tests/contract/` holds the suite that every store passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from s32s_agent.cancellation import UNWATCHED, Heartbeat
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
            IntegrityError: after the last chunk, when length or digest are not what the entry promised.
            SourceChanged: the source holds another version, or changed while it was read.
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

    A class and not a protocol, since a target checks which kind of content it is given.
    """

    @abstractmethod
    def fill(self, file: File, kept: int) -> None:
        """Write all bytes to a file, instead of yielding them, and prove them.

        Args:
            file: what they are written to; no thread writes to it after this has returned or raised.
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
    """Of the local file, where the source is local; a local target reports it when it publishes."""
    token: str = ""
    """The target's own name for what is staged."""


@dataclass(frozen=True, slots=True)
class Published:
    """An entry that the target shows now, or the error that prevented it."""

    staged: Staged
    stamp: Stamp | None
    """Of the local file, on whichever side it is; None when an edit could hide in the clock's granularity."""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class ScanHints:
    """What earlier scans of a mapping learned; each store uses what concerns it."""

    unordered: bool = False
    """The store is known not to list in key order, so that the scan sorts."""
    boundaries: tuple[str, ...] = ()
    """The last key of each page but the last, in the order of the store: pages can then be fetched in parallel."""
    mounts: tuple[str, ...] = ()
    """The directories, as keys, on which a file system was mounted; one that is empty without it was not emptied."""


NO_HINTS = ScanHints()


@dataclass(frozen=True, slots=True)
class Learned:
    """What one scan learned; None means that what is remembered still serves."""

    boundaries: tuple[str, ...] | None = None
    """For `ScanHints.boundaries`; () when the next scan should fetch page after page."""
    mounts: tuple[str, ...] | None = None
    """For `ScanHints.mounts`."""
    leftovers: tuple[str, ...] = ()
    """The agent's own temporary files that the scan met, for `Target.remove_leftovers`."""


class Scan(Iterable[Entry | Problem]):
    """One scan of a store, read once: its entries and problems, and, when it has ended, what it learned.

    Args:
        found: yields the entries and problems, and returns what the scan learned.
    """

    def __init__(self, found: Generator[Entry | Problem, None, Learned]) -> None:
        self._learned: list[Learned] = []
        # A generator that does not refer to the scan, so that a scan that is dropped ends, and closes, at once.
        self._found = _noting(found, self._learned)

    def __iter__(self) -> Iterator[Entry | Problem]:
        return self._found

    def __next__(self) -> Entry | Problem:
        return next(self._found)

    def close(self) -> None:
        """End the scan early; it then has learned nothing."""
        self._found.close()

    @property
    def learned(self) -> Learned:
        """What the scan learned.

        Raises:
            ValueError: it has not been read to its end.
        """
        if not self._learned:
            raise ValueError("the scan has not ended")
        return self._learned[0]


def _noting(
    found: Generator[Entry | Problem, None, Learned], learned: list[Learned]
) -> Generator[Entry | Problem, None, None]:
    learned.append((yield from found))


class Source(Protocol):
    """The store that is right. It is never written."""

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """Yield every entry in key order, strictly increasing by code point, with the problems in between.

        Ends without an exception only when nothing was left out that is not named by a problem.

        Raises:
            ListingInconsistent: the store contradicts itself.
            StoreUnavailable: the store did not answer, or something else did.
            AccessDenied: the store refused.
            DirectoryError: the directory itself cannot be read.
        """

    def open(
        self, entry: Entry, heartbeat: Heartbeat = UNWATCHED
    ) -> AbstractContextManager[Content]:
        """Open the version of the entry that was scanned, and no other.

        Args:
            entry: as it was scanned.
            heartbeat: of the worker that calls this; it beats while the store waits for a permit that other workers
                hold.

        Raises:
            SourceChanged: there is another version now, or none.
            EntryUnreadable: it is there, but cannot be read.
        """

    def current_version(self, entry: Entry) -> Entry | None:
        """Return the version that may be copied in place of one that has changed; None when there is none."""

    def confirm_absent(self, key: str) -> bool:
        """Ask the store itself, past any listing, whether the key is gone."""


class Target(Protocol):
    """The store that is made equal to the source."""

    publishes_on_put: bool
    """Whether `put` shows an entry already, so that what blocks it must be removed before."""

    @property
    def deletes_at_once(self) -> int:
        """How many entries `delete_many` takes; 1 where it need not be called."""

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """Yield every entry, as a source does."""

    def put(self, copy: Copy, content: Content, heartbeat: Heartbeat = UNWATCHED) -> Staged:
        """Take the bytes and prove them; no part of an entry ever shows, and nothing new stays after an exception.

        One thing may stay, out of sight: what an interrupted attempt brought of a large entry, for a later attempt.

        The whole entry shows after `publish`; a store whose writes are whole by nature may show it at once. A
        directory has no bytes, and its content is not read. The bytes of a blocked copy are taken while what blocks
        it is still there, unless the store publishes on put; `publish` is called when it is gone.

        Args:
            copy: what is copied.
            content: its bytes; reading them is what makes the heartbeat beat.
            heartbeat: of the worker that calls this; it beats while the store waits for a permit that other workers
                hold.

        Raises:
            DiskFull: there is no space; `free_space` may help.
            DirectoryError: it cannot be written.
            EntryError: this entry cannot; the others may.
        """

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Show the staged entries, each of them whole, and durably where the settings ask for it."""

    def discard(self, staged: Staged) -> None:
        """Forget a staged entry that will not be published; a large one may stay for a later attempt."""

    def delete(self, entry: Entry) -> bool:
        """Remove an entry; one that is absent counts as removed. False: a directory that is not empty stays."""

    def delete_many(self, entries: Sequence[Entry]) -> set[str]:
        """Remove files together; return the keys that are certainly gone. `delete` finds out about the others.

        Raises:
            AgentError: none of them may be gone, and asking for each would not help.
        """

    def remove_leftovers(
        self, leftovers: Sequence[str] = (), copies: Sequence[Copy] = ()
    ) -> Mapping[str, AgentError]:
        """Remove what a killed run left unfinished, but not what one of the copies can resume.

        Args:
            leftovers: the temporary files that the scan met.
            copies: all that the plan is about to make.

        Returns:
            By key, why a leftover could not be removed.
        """

    def free_space(self) -> bool:
        """Remove what the store can do without, since it is full; return whether there was any."""

    def make_durable(self) -> None:
        """Put on the disk what others wrote, before the index vouches for it."""

    def remarks(self) -> list[str]:
        """Return what the store did not keep of the entries that were put, a sentence for each kind."""

    def prune(self, now: datetime) -> list[str]:
        """Remove what has been kept for long enough, after the work is done; return what stays, and why.

        It raises nothing: what was to be done is done, and a status tells of that alone.
        """
