"""List a local directory against the index: which files still hold the version that was installed or sent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from s32s_agent.model import Entry, IndexRow, Kind, Problem, Stamp
from s32s_agent.stores.base import Learned
from s32s_agent.stores.local.walk import Walk


def list_directory(
    walk: Walk, rows: Callable[[], Iterable[IndexRow]], *, trust_index: bool
) -> Generator[Entry | Problem, None, Learned]:
    """Yield what a walk finds in key order, each file with the ETag that the index vouches for; return what it learned.

    A key that only the index knows is an entry of the kind `MISSING`.

    Args:
        walk: the directory.
        rows: returns the index's rows in key order.
        trust_index: False treats every file as edited (`--verify`).
    """
    remaining = iter(rows())
    row = next(remaining, None)
    for key, stamp, other in walk:
        while row is not None and row.key < key:
            yield Entry(row.key, row.stamp.size, row.etag, Kind.MISSING)
            row = next(remaining, None)
        known = row if row is not None and row.key == key else None
        if stamp is not None:
            yield _file(key, stamp, known, trust_index=trust_index)
        elif isinstance(other, Entry) and known is not None:
            yield other._replace(edited=True)
        elif other is not None:
            yield other
        if known is not None:
            row = next(remaining, None)
    while row is not None:
        yield Entry(row.key, row.stamp.size, row.etag, Kind.MISSING)
        row = next(remaining, None)
    return Learned(mounts=walk.mounts(), leftovers=tuple(walk.leftovers))


def _file(key: str, stamp: Stamp, known: IndexRow | None, *, trust_index: bool) -> Entry:
    if known is None:
        return Entry(key, stamp.size)
    if stamp == known.stamp and trust_index:
        return Entry(key, stamp.size, known.etag)
    return Entry(key, stamp.size, edited=True)
