"""Sort a listing that does not come in key order, on disk, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from s32s_agent.errors import ListingInconsistent
from s32s_agent.model import Entry, Kind, Problem


def in_key_order(scan: Iterable[Entry | Problem]) -> Iterator[Entry | Problem]:
    """Yield the problems of a scan, then its entries in key order, after the scan has ended.

    Raises:
        ListingInconsistent: one key was listed twice.
    """
    database = sqlite3.connect("", isolation_level=None)  # "" is a file without a name
    try:
        database.execute(
            "CREATE TABLE entry (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, kind TEXT, raw_etag TEXT)"
            " WITHOUT ROWID"
        )
        database.execute("BEGIN")
        problems = list(_fill(database, scan))
        yield from problems
        query = "SELECT key, size, etag, kind, raw_etag FROM entry ORDER BY key"
        for key, size, etag, kind, raw_etag in database.execute(query):
            yield Entry(key, size, etag, Kind(kind), raw_etag=raw_etag)
    finally:
        database.close()


def _fill(database: sqlite3.Connection, scan: Iterable[Entry | Problem]) -> Iterator[Problem]:
    insert = "INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?)"
    for each in scan:
        if isinstance(each, Problem):
            yield each
            continue
        values = (each.key, each.size, each.etag, each.kind.value, each.raw_etag)
        if not database.execute(insert, values).rowcount:
            raise ListingInconsistent(f'"{each.key}" was listed twice')
