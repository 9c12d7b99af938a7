"""The nouns of the program, as values. Nothing here does anything.

Glossary, one word an idea:

    run         everything that one `--once` does, from its first log event to its exit status
    mapping     what goes where: an S3 prefix, a local directory, and how they are kept equal
    map file    a file in S3 that describes mappings
    role        which side this computer is: a slave copies from S3, a master copies to S3
    store       a tree of entries: an S3 prefix or a local directory
    source      the store that is right;  target: the store that is made equal to it
    entry       one thing in a store: an object, a file, a directory marker
    key         an entry's name below the prefix or directory, `/` between its parts; a directory's ends in `/`
    scan        reading all entries of a store, in key order;  listing: what S3 answers to that, in pages
    boundary    the last key of a page of a listing, behind which the next page begins
    hint        what an earlier scan learned, and this one may use
    etag        the opaque name of a version of an object, without quotes
    digest      what is computed from bytes while they are transferred; some ETags are one, and then prove the bytes
    stamp       what the file system says of a local file; another stamp means that it may have been edited
    index       what the agent remembers: with this etag in S3 and this stamp here, both held the same bytes
    vouched     the index and the stamp agree: the local file holds the bytes of the index's etag
    difference  what two scans differ in;  problem: what could not be read, or cannot be in the target
    check       two entries of one size, which are hashed before it is decided whether to copy
    plan        every action of a mapping, decided before the first one is done: copies, clears, deletes
    clear       a delete that makes way for a copy;  blocked: a copy that something is in the way of
    extra       what the target has and the source lacks
    adopted     found to be equal already, so that only the index changes
    guard       what must hold for deletes to be believed;  withheld: deletes that a guard did not allow
    context     what the work is done with: a run context for all mappings, a mapping context for one
    stage       bring the bytes of an entry to the target, where they do not show yet, and prove them
    publish     show a staged entry, whole;  batch: staged entries that are published together
    outcome     what became of one action
    report      the outcomes of a run, counted;  record: the report as `last_run.json` has it
    snapshot    an immutable list of every entry of a mapping's prefix at one moment
    channel     a named pointer to one snapshot, which servers follow
    hook        a command of the operator that runs before, during or after a run
    pending     changed, and reported to no `on_change` hook yet
    cancel      end a run early, because of a signal or `sync.run_timeout`; a cancel token carries that to the workers
    trash       where a slave keeps for some days what it removed or overwrote
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from s32s_agent.errors import EntryUnreadable


class Role(Enum):
    """Which side this computer is."""

    SLAVE = "slave"
    """S3 is the source."""
    MASTER = "master"
    """S3 is the target."""


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    """A symbolic link: never followed."""
    SPECIAL = "special"
    """A FIFO, socket or device: never opened."""
    MOUNT = "mount"
    """A directory on which another file system is mounted: never entered."""
    MISSING = "missing"
    """Only the index still knows it."""


class Stamp(NamedTuple):
    """What the file system says of a file's content."""

    size: int
    """Bytes."""
    mtime_ns: int
    ctime_ns: int
    inode: int


class Entry(NamedTuple):
    """One thing in a store. A NamedTuple because a run makes one for every entry of both sides."""

    key: str
    size: int = 0
    """Bytes; 0 for what is not a file."""
    etag: str | None = None
    """The normal form (`etags.normal`); at a local store the one that the index vouches for, None without one."""
    kind: Kind = Kind.FILE
    edited: bool = False
    """The index knows it, but the stamp is another one."""
    raw_etag: str = ""
    """As the store wrote it, where quoting the normal form would not give that; for `If-Match`."""
    version_id: str = ""
    """Of a versioned bucket, where a snapshot names it: the version can be fetched after it was replaced."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that could not be read, or that cannot be in a target."""

    key: str
    reason: str
    scope: str | None = None
    """This key and everything below it keeps what it has; "" is the whole tree, None nothing."""
    fatal: bool = False
    """Something may be there that was not seen: nothing is deleted, and at a target nothing is planned."""
    expected: bool = False
    """The settings demand it, so it is no failure."""


class Why(Enum):
    """Why an entry is copied."""

    NEW = "new"
    SIZE = "size"
    ETAG = "etag"
    LOCAL_CHANGED = "local_changed"
    MISSING_LOCALLY = "missing_locally"


class Copy(NamedTuple):
    """A copy to be made: the target's entry becomes equal to the source's."""

    entry: Entry
    """The source's."""
    why: Why
    replaces: Entry | None = None
    """What the target holds at that key now."""
    blocked: bool = False
    """Something must be cleared before the target can show it."""


class Check(NamedTuple):
    """Same size, but nothing vouches for the local bytes: hash them before deciding."""

    entry: Entry
    """The source's."""
    found: Entry
    """The target's."""
    why: Why
    """Why it is copied if the bytes differ."""


class Delete(NamedTuple):
    """A delete to be made: the source lacks the entry."""

    entry: Entry
    """The target's."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Deletes that a guard withheld."""

    count: int
    reason: str
    is_consequence: bool = False
    """Another failure, counted by itself, is the reason."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every action of one mapping, in the order in which they are carried out."""

    clears: tuple[Delete, ...] = ()
    """What is in the way of the copies that are blocked."""
    copies: tuple[Copy, ...] = ()
    """In key order; a directory before what is in it."""
    deletes: tuple[Delete, ...] = ()
    """In reverse key order, so that a directory comes after what was in it."""
    adopted: tuple[Check, ...] = ()
    """Both sides were found to hold the same bytes already: only the index changes."""
    forgotten: tuple[str, ...] = ()
    """Keys that only the index still knows."""
    skipped: tuple[Problem, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    unchanged: int = 0

    @property
    def bytes(self) -> int:
        """The bytes to copy."""
        return sum(copy.entry.size for copy in self.copies)


class Status(Enum):
    """What became of an action."""

    COPIED = "copied"
    DELETED = "deleted"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action."""

    status: Status
    key: str
    size: int = 0
    """Bytes moved."""
    why: Why | None = None
    seconds: float = 0.0
    verified: str = ""
    """What proved a copy: `md5`, `multipart`, or `length` (length and pinned ETag)."""
    error: Exception | None = None

    @classmethod
    def of_error(cls, key: str, error: Exception, why: Why | None = None) -> Outcome:
        """Return what became of an action that an error ended: skipped, where what is there cannot be touched now."""
        is_skipped = isinstance(error, EntryUnreadable)
        return cls(Status.SKIPPED if is_skipped else Status.FAILED, key, why=why, error=error)


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a prefix in S3."""

    bucket: str
    """A name or an access point's ARN."""
    prefix: str = ""
    """Without a slash at either end; "" is the whole bucket."""

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


class Extras(Enum):
    """What happens at the target to what the source does not have."""

    DELETE = "delete"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of a map file, for the role of this computer."""

    name: str
    location: Location
    directory: str
    """The local directory of this role, absolute, in normal form."""
    files: frozenset[str] | None = None
    """Only these keys are mirrored; None is all."""
    ignore: tuple[str, ...] = ()
    """Wildcard patterns over the whole key."""
    extras: Extras = Extras.DELETE
    description: str = ""
    content_types: dict[str, str] = field(default_factory=dict)
    """A suffix such as `.wasm` to a media type."""
    content_encoding: dict[str, str] = field(default_factory=dict)
    """A suffix such as `.gz` to a content coding."""
    cache_control: str | None = None
    acl: str | None = None
    storage_class: str | None = None
    snapshots: Location | None = None
    """Where the mapping's snapshots are; None: the prefix is listed."""


class IndexRow(NamedTuple):
    """Both sides held the same bytes: this version in S3, this stamp here."""

    key: str
    etag: str
    stamp: Stamp
