"""What a store was found to do with the requests that the stores of S3 disagree about. Pure.

`probe` finds it out; the target decides by it, and `--check` prints it. AWS does everything that is asked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, NamedTuple, Self


class Guard(Enum):
    """What a store does with a condition on a request."""

    HELD = "held"
    """A wrong one is refused, the right one is carried out."""
    BARE = "bare"
    """The same, but the ETag must be sent without its quotes: Ceph 16 on PUT."""
    IGNORED = "ignored"
    """The request is carried out whatever the condition says."""
    REFUSED = "refused"
    """The right condition is refused too."""

    @property
    def protects(self) -> bool:
        """Whether the condition keeps two writers from overwriting each other."""
        return self in (Guard.HELD, Guard.BARE)


class Checksum(Enum):
    """What a store does with a CRC64NVME that is sent with an object."""

    CHECKED = "checked"
    """A wrong one is refused, the right one is given back."""
    KEPT = "kept"
    """It is given back, but a wrong one is taken too."""
    DROPPED = "dropped"
    """It is not given back."""


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """What one bucket of one store was found to do; the defaults are what AWS does."""

    server: str = ""
    """What the store calls itself: other traits may hold for another name or version."""
    create: Guard = Guard.HELD
    """PUT with `If-None-Match: *`."""
    replace: Guard = Guard.HELD
    """PUT with `If-Match`."""
    complete_new: Guard = Guard.HELD
    """CompleteMultipartUpload with `If-None-Match: *`."""
    complete_over: Guard = Guard.HELD
    """CompleteMultipartUpload with `If-Match`."""
    read: Guard = Guard.HELD
    """GET with `If-Match`."""
    lists_etags: bool = True
    """A listing has the ETag of every object."""
    answers_not_modified: bool = True
    """GET with `If-None-Match` and the known ETag is 304."""
    checks_md5: bool = True
    """A body that does not have its `Content-MD5` is refused."""
    crc64nvme: Checksum = Checksum.CHECKED
    keeps_directories: bool = True
    """An empty object whose key ends in `/` stays one."""
    deletes_many: bool = True
    """One request with a `Content-MD5` deletes many objects."""
    names_part_sizes: bool = True
    """HEAD of part 1 says how large it is, and how many there are."""
    in_key_order: bool = True
    """A listing is in the order of the bytes of the keys."""
    starts_after: bool = True
    """A listing starts after a key that is named."""
    continues: bool = True
    """A listing in several pages has every key once."""
    keeps_names: bool = True
    """A backslash in a key stays one."""
    versioned: bool = False
    """The bucket keeps old versions."""

    def as_json(self) -> dict[str, Any]:
        """Return the traits as a document of `from_json`."""
        return {
            name: value.value if isinstance(value, Enum) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave.

        Raises:
            ValueError: it is not that.
        """
        defaults = cls()
        given: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            value, kind = document.get(name), type(getattr(defaults, name))
            if issubclass(kind, Enum):
                given[name] = kind(value)
            elif isinstance(value, kind):
                given[name] = value
            else:
                raise ValueError(name)  # noqa: TRY004 (what is wrong is the document)
        return cls(**given)


AS_AWS = StoreTraits()


class Promise(NamedTuple):
    """One line of what a store can promise, for people."""

    subject: str
    found: str
    consequence: str = ""
    """What the agent does about it; "" where nothing is missing."""
    is_risk: bool = False
    """Something may be lost or go unnoticed; otherwise it only takes longer, or is left out."""


_TWO_WRITERS = "the agent compares before each write; two writers at the same moment can still overwrite each other"
NO_ETAGS = (
    "a change is seen by size and time of writing only, and a copy is proven by its length; have the store list ETags"
    " (JuiceFS gateway: --keep-etag)"
)
"""What follows where a store's listings have no ETags."""


class _Row(NamedTuple):
    """What is told of a trait; `{}` stands for its value where that is a word."""

    trait: str
    subject: str
    good: str
    bad: str
    consequence: str = ""
    is_risk: bool = False


_ROWS = (
    _Row("lists_etags", "ETags in listings", "yes", "no", NO_ETAGS, is_risk=True),
    _Row(
        "read",
        *("one version is read", "If-Match {}", "If-Match {}"),
        "the ETag of the answer is compared instead",
    ),
    _Row(
        "answers_not_modified",
        *("unchanged maps", "304", "sent again", "every run fetches the map files whole"),
    ),
    _Row("versioned", "old versions", "kept", "not kept"),
    _Row("in_key_order", "order of listings", "by key", "another", "the agent sorts them"),
    _Row(
        "continues",
        *("pages of listings", "every key once", "not every key once"),
        "a prefix of more than 1,000 objects cannot be mirrored from this store",
        is_risk=True,
    ),
    _Row(
        "starts_after",
        *("listing from a key on", "yes", "no", "pages are fetched one after the other"),
    ),
    _Row(
        "checks_md5",
        *("damage on the way to the store", "refused", "not noticed by the store"),
        "the ETag that it answers is compared instead",
    ),
    _Row("crc64nvme", "CRC64NVME", "{}", "{}"),
    _Row(
        "names_part_sizes",
        *("sizes of parts", "by HEAD", "not named"),
        "usual part sizes are tried to prove a large object",
    ),
    _Row(
        "keeps_directories",
        *("empty directories", "kept", "not kept", "a master sends none of them"),
    ),
    _Row(
        "keeps_names",
        *(
            "backslashes in names",
            "kept",
            "changed",
            "a file with one in its name is not sent",
        ),
    ),
    _Row(
        "deletes_many",
        *("deletes of many objects", "one request", "one request each", "deletes take longer"),
    ),
)


def promises(traits: StoreTraits) -> Iterator[Promise]:
    """Yield what a store can promise, and what follows where it cannot."""
    yield _of_writers("two writers, small objects", traits.create, traits.replace)
    yield _of_writers("two writers, large objects", traits.complete_new, traits.complete_over)
    for row in _ROWS:
        value = getattr(traits, row.trait)
        word = value.value if isinstance(value, Enum) else ""
        if value.protects if isinstance(value, Guard) else value:
            yield Promise(row.subject, row.good.format(word))
        else:
            yield Promise(row.subject, row.bad.format(word), row.consequence, row.is_risk)


def _of_writers(subject: str, new: Guard, over: Guard) -> Promise:
    found = f"If-None-Match {new.value} and If-Match {over.value}"
    is_safe = new.protects and over.protects
    return Promise(subject, found, "" if is_safe else _TWO_WRITERS, not is_safe)
