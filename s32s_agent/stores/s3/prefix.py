"""A prefix of a bucket as both roles look at it: what is listed there, and what one object is."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator

from s32s_agent.errors import AgentError, ListingInconsistent, SourceChanged
from s32s_agent.model import Entry, Location, Problem
from s32s_agent.plan.etags import candidate_part_sizes, is_by_time, normal, part_count
from s32s_agent.stores.base import NO_HINTS, Learned, Scan, ScanHints
from s32s_agent.stores.s3 import quirks
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import Listing, Page, decoded_keys, version_in
from s32s_agent.stores.s3.objects import ObjectName
from s32s_agent.stores.s3.parallel_listing import Pages
from s32s_agent.stores.s3.similar_prefix import similar_prefix
from s32s_agent.stores.s3.sorted_listing import sorted_by_key


class S3Prefix:
    """A prefix of a bucket. Reads no bytes and writes nothing.

    Args:
        connection: how S3 is reached; it outlives the store.
        location: the prefix.
    """

    def __init__(self, connection: Connection, location: Location) -> None:
        self._connection = connection
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self.server = ""
        """What the store called itself in the last listing."""
        self.lists_etags = True
        """Whether every file had an ETag in the last listing that ended."""

    @property
    def may_be_unordered(self) -> bool:
        """Whether disorder is a habit of the store and no sign of a fault."""
        custom_endpoint = self._connection.custom_endpoint
        return quirks.may_list_unordered(self._bucket, custom_endpoint=custom_endpoint)

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """List the prefix, flat and to its end, under every rule of completeness."""
        return Scan(self._scan(hints))

    def _scan(self, hints: ScanHints) -> Generator[Entry | Problem, None, Learned]:
        listing = Listing(
            self._bucket, self._prefix, strictly_ordered=not self.may_be_unordered
        )
        fetch = functools.partial(self._page, hints)
        pages = Pages(fetch, listing, hints.boundaries, self._connection.answered)
        entries = pages.entries()
        yield from sorted_by_key(entries) if hints.unordered else entries
        self.lists_etags = listing.has_etags
        if not quirks.may_start_after(self.server, unordered=hints.unordered):
            return Learned(boundaries=())
        return Learned(boundaries=pages.new_boundaries())

    def _page(self, hints: ScanHints, where: dict[str, str]) -> Page:
        listed = self._connection.page(self._bucket, Prefix=self._prefix, **where)
        self.server = listed.server
        may_start_after = quirks.may_start_after(listed.server, unordered=hints.unordered)
        if "StartAfter" in where and not may_start_after:
            raise ListingInconsistent(
                "StartAfter may leave out keys of a listing that is not in key order"
            )
        return listed.page

    def part_sizes(self, entry: Entry) -> tuple[int, ...]:
        """List the sizes that the object's parts may have, the likeliest first; () for one that has no parts."""
        parts = part_count(entry.etag or "")
        if not parts:
            return ()
        candidates = candidate_part_sizes(entry.size, parts)
        with contextlib.suppress(AgentError):
            first = self._connection.head(self.version_of(entry), part_number=1)
            if first.part_count == parts and first.size > 0:
                return tuple(dict.fromkeys((first.size, *candidates)))
        return candidates

    def current_version(self, entry: Entry) -> Entry | None:
        """Return the version that is there now."""
        try:
            head = self._connection.head(self.name_of(entry.key))
        except SourceChanged:
            return None
        etag = normal(head.raw_etag)
        if not etag:
            return self.listed_version(entry)
        raw_etag = "" if head.raw_etag == f'"{etag}"' else head.raw_etag
        return entry._replace(size=head.size, etag=etag, raw_etag=raw_etag)

    def listed_version(self, entry: Entry) -> Entry | None:
        """Return the version that a listing names now, for a store that names no ETag; None when there is none."""
        whole = self._prefix + entry.key
        page = self._connection.page(self._bucket, Prefix=whole, MaxKeys=1).page
        for key, listed in zip(decoded_keys(page), page.contents, strict=True):
            if key == whole:
                etag, raw_etag = version_in(listed)
                return entry._replace(size=int(listed.size), etag=etag, raw_etag=raw_etag)
        return None

    def is_encrypted(self, key: str) -> bool:
        """Return whether the object's encryption makes its ETag something else than an MD5."""
        return self._connection.head(self.name_of(key)).is_encrypted

    def similar_prefix(self) -> str:
        """Return a prefix that exists and differs from this one only in its spelling; "" when none is found."""
        return similar_prefix(self._connection, self._bucket, self._prefix.removesuffix("/"))

    def name_of(self, key: str) -> ObjectName:
        """Return how requests and messages name an entry."""
        return ObjectName(self._bucket, self._prefix + key, f'"{key}"')

    def version_of(self, entry: Entry) -> ObjectName:
        """Return how requests name the version of an entry, where it has a name of its own."""
        return self.name_of(entry.key)._replace(version_id=entry.version_id)


def condition_of(entry: Entry) -> str | None:
    """Return the ETag that pins an entry's version, as the store wrote it; None where it has none."""
    etag = entry.etag or ""
    if is_by_time(etag):
        return None
    return entry.raw_etag or f'"{etag}"'
