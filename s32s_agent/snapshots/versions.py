"""Add to the entries of a listing the ids of their versions, so that they can be fetched after they were replaced."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator

from s32s_agent.errors import SourceChanged
from s32s_agent.model import Entry, Kind, Mapping
from s32s_agent.plan.etags import normal
from s32s_agent.snapshots.chunks import unpack
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import Snapshot
from s32s_agent.snapshots.place import Place
from s32s_agent.stores.s3.prefix import S3Prefix
from s32s_agent.workers import in_parallel

_BATCH = 2000
"""Entries whose versions are asked for together."""
_WORKERS = 16
_NO_VERSION = "null"
"""The id of what was written while the bucket kept no versions: it can be replaced."""


def with_versions(
    place: Place, mapping: Mapping, current: Snapshot | None, entries: Iterable[Entry]
) -> Iterator[Entry]:
    """Yield entries with their version ids: from the current snapshot where it has them, else by HEAD.

    Args:
        place: where the snapshots are.
        mapping: whose entries they are.
        current: the snapshot that the channel points to.
        entries: in key order.

    Raises:
        SourceChanged: another writer has replaced an object since it was listed.
        AgentError: the store failed or refused.
    """
    prefix = S3Prefix(place.connection, mapping.location)
    known = _known(place, current)
    before = next(known, None)
    remaining = iter(entries)
    while batch := list(itertools.islice(remaining, _BATCH)):
        found: dict[str, str] = {}
        for entry in batch:
            while before is not None and before.key < entry.key:
                before = next(known, None)
            if before is not None and before[:4] == entry[:4]:
                found[entry.key] = before.version_id
        unknown = [each for each in batch if each.kind is Kind.FILE and each.key not in found]
        found |= _asked(prefix, place, unknown)
        for entry in batch:
            yield entry._replace(version_id=found.get(entry.key, ""))


def _known(place: Place, current: Snapshot | None) -> Iterator[Entry]:
    """Yield the entries of a snapshot; none after a chunk that is missing or damaged."""
    for chunk in current.chunks if current else ():
        try:
            entries = unpack(chunk, place.chunk(chunk))
        except NotASnapshot:
            return
        yield from entries


def _asked(prefix: S3Prefix, place: Place, entries: Iterable[Entry]) -> dict[str, str]:
    """Return the version id of each entry, by key."""
    connection = place.connection

    def version_of(entry: Entry) -> str:
        head = connection.head(prefix.name_of(entry.key))
        if normal(head.raw_etag) != entry.etag:
            message = f'"{entry.key}" was modified by another writer while it was published'
            raise SourceChanged(message)
        return "" if head.version_id == _NO_VERSION else head.version_id

    results = in_parallel(
        lambda entry, _: version_of(entry),
        entries,
        _WORKERS,
        connection.cancel_token,
        connection.answered,
    )
    found: dict[str, str] = {}
    with contextlib.closing(results):
        for entry, version in results:
            if isinstance(version, Exception):
                raise version
            found[entry.key] = version
    return found
