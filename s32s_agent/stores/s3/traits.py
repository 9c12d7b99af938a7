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


def promises(traits: StoreTraits) -> Iterator[Promise]:
    """Yield what a store can promise, and what follows where it cannot."""
    yield from _of_writers(traits)
    yield from _of_versions(traits)
    yield from _of_listings(traits)
    yield from _of_objects(traits)


def _of_writers(traits: StoreTraits) -> Iterator[Promise]:
    for subject, guards in (
        ("two writers, small objects", (traits.create, traits.replace)),
        ("two writers, large objects", (traits.complete_new, traits.complete_over)),
    ):
        found = " and ".join(
            f"{what} {guard.value}"
            for what, guard in zip(("If-None-Match", "If-Match"), guards, strict=True)
        )
        safe = all(guard.protects for guard in guards)
        yield Promise(subject, found, "" if safe else _TWO_WRITERS, not safe)


def _of_versions(traits: StoreTraits) -> Iterator[Promise]:
    yield _promise(
        "ETags in listings", "yes", traits.lists_etags, "no",
        "a change is seen by size and time of writing only, and a copy is proven by its length; have the store list"
        " ETags (JuiceFS gateway: --keep-etag)", is_risk=True,
    )  # fmt: skip
    yield _promise(
        "one version is read", f"If-Match {traits.read.value}", traits.read.protects, f"If-Match {traits.read.value}",
        "the ETag of the answer is compared instead",
    )  # fmt: skip
    yield _promise(
        "unchanged maps", "304", traits.answers_not_modified, "sent again",
        "every run fetches the map files whole",
    )  # fmt: skip
    yield Promise("old versions", "kept" if traits.versioned else "not kept")


def _of_listings(traits: StoreTraits) -> Iterator[Promise]:
    yield _promise(
        "order of listings", "by key", traits.in_key_order, "another", "the agent sorts them"
    )
    yield _promise(
        "pages of listings", "every key once", traits.continues, "not every key once",
        "a prefix of more than 1,000 objects cannot be mirrored from this store", is_risk=True,
    )  # fmt: skip
    yield _promise(
        "listing from a key on", "yes", traits.starts_after, "no",
        "pages are fetched one after the other",
    )  # fmt: skip


def _of_objects(traits: StoreTraits) -> Iterator[Promise]:
    yield _promise(
        "damage on the way to the store", "refused", traits.checks_md5, "not noticed by the store",
        "the ETag that it answers is compared instead",
    )  # fmt: skip
    yield Promise("CRC64NVME", traits.crc64nvme.value)
    yield _promise(
        "sizes of parts", "by HEAD", traits.names_part_sizes, "not named",
        "usual part sizes are tried to prove a large object",
    )  # fmt: skip
    yield _promise(
        "empty directories", "kept", traits.keeps_directories, "not kept",
        "a master sends none of them",
    )  # fmt: skip
    yield _promise(
        "backslashes in names", "kept", traits.keeps_names, "changed",
        "a file with one in its name is not sent",
    )  # fmt: skip
    yield _promise(
        "deletes of many objects", "one request", traits.deletes_many, "one request each",
        "deletes take longer",
    )  # fmt: skip


def _promise(
    subject: str,
    good: str,
    holds: bool,  # noqa: FBT001 (the calls read as a table)
    bad: str,
    consequence: str,
    *,
    is_risk: bool = False,
) -> Promise:
    return Promise(subject, good) if holds else Promise(subject, bad, consequence, is_risk)
