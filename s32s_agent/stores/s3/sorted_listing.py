"""Sort a listing that does not come in key order, on disk, so that memory stays flat."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator

from s32s_agent.errors import DirectoryError, DiskFull, ListingInconsistent, is_disk_full
from s32s_agent.model import Entry, Kind, Problem

_KINDS = {kind.value: kind for kind in Kind}
_NAMES = {kind: kind.value for kind in Kind}
_WHERE = "in SQLITE_TMPDIR, else TMPDIR, else /var/tmp"
_SORTED = f"the store lists out of order, so its listing is sorted {_WHERE}"
_NO_SPACE = f"{_SORTED}: free space there, or set another directory"
_NOT_WRITABLE = f"{_SORTED}: set a directory that the agent can write"


def sorted_by_key(scan: Iterable[Entry | Problem]) -> Iterator[Entry | Problem]:
    """Yield the problems of a scan, then its entries in key order, after the scan has ended.

    Raises:
        ListingInconsistent: one key was listed twice.
        DiskFull: there is no space to sort it.
        DirectoryError: there is no directory to sort it in.
    """
    with _translated(), contextlib.closing(_new_database()) as database:
        yield from _fill(database, scan)
        query = "SELECT key, size, etag, kind, raw_etag FROM entry ORDER BY key"
        for key, size, etag, kind, raw_etag in database.execute(query):
            yield Entry(key, size, etag, _KINDS[kind], raw_etag=raw_etag)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of SQLite about the temporary file as errors of the agent."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind, remedy = (
            (DiskFull, _NO_SPACE) if is_disk_full(error) else (DirectoryError, _NOT_WRITABLE)
        )
        raise kind(f"the temporary file of a listing: {error}", remedy=remedy) from error


def _new_database() -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None)  # "" is a file without a name
    database.execute(
        "CREATE TABLE entry (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, kind TEXT, raw_etag TEXT)"
        " WITHOUT ROWID"
    )
    database.execute("BEGIN")
    return database


def _fill(database: sqlite3.Connection, scan: Iterable[Entry | Problem]) -> list[Problem]:
    problems: list[Problem] = []
    key = ""

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal key
        for each in scan:
            if isinstance(each, Problem):
                problems.append(each)
                continue
            key = each.key
            yield key, each.size, each.etag, _NAMES[each.kind], each.raw_etag

    try:
        # SQLite takes one row at a time, so that the last key is the one that was there already.
        database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", rows())
    except sqlite3.IntegrityError as error:
        raise ListingInconsistent(f'"{key}" was listed twice') from error
    return problems
