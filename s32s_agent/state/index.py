"""Remember which entries both sides held with the same bytes: a cache in SQLite, which proves nothing by itself.

Losing it costs the time of hashing, never data: a row only counts together with the store's listing and the file's
stamp, and both must agree with it. A damaged file is renamed, and a new index begins.
One thread uses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from s32s_agent.errors import DirectoryError, DiskFull, is_disk_full
from s32s_agent.model import IndexRow, Stamp
from s32s_agent.plan.keys import is_no_text

_APPLICATION_ID = int.from_bytes(b"S32S")
_VERSION = 4
_WITHOUT_DATES = 3
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE mapping (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, unordered INTEGER NOT NULL DEFAULT 0,
    seams TEXT NOT NULL DEFAULT '[]', mounts TEXT NOT NULL DEFAULT '[]', named INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entry (
    mapping INTEGER NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    PRIMARY KEY (mapping, key)
) WITHOUT ROWID;
"""

KEPT_DAYS = 30
"""How long the rows of a mapping are kept that no map names any more: a prefix of a former release, for one."""
_DAY_SECONDS = 86_400

_Column: TypeAlias = Literal["unordered", "seams", "mounts"]
"""What is remembered of a mapping apart from its entries."""

_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What opening a damaged file raises; the second is for a message about names in it that are no text."""
_MAPPINGS = "SELECT id, identity, unordered FROM mapping"
_ENTRIES = "SELECT key, etag, size, mtime_ns, ctime_ns, inode FROM entry"
_TYPES = (str, str, int, int, int, int)
"""Of the columns of a row. SQLite itself would take any type in any column."""


class Index:
    """The index of all mappings.

    Args:
        path: the database file; its directory exists.
        read_only: never write, for a dry run; a missing file is an empty index.
        now: seconds since 1970; those of the system's clock when left out.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, now: float | None = None
    ) -> None:
        self._today = int((time.time() if now is None else now) // _DAY_SECONDS)
        self._path = path
        self._read_only = read_only
        self.damaged = ""
        """What was wrong with the file that was found; "" when nothing was."""
        self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            return self._connect_reading()
        try:
            return _open_or_create(self._path, self._today)
        except _DAMAGE as error:
            if not _is_damage(error):
                raise _failed(error) from error
            self.damaged = str(error)
            self._rename_damaged()
            return _open_or_create(self._path, self._today)

    def _rename_damaged(self) -> None:
        try:
            self._path.replace(f"{self._path}.damaged")
            for suffix in ("-journal", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            raise DirectoryError(f'"{self._path}": {error.strerror}') from error

    def _connect_reading(self) -> sqlite3.Connection:
        try:
            return _open_reading(self._path, self._today)
        except _DAMAGE as error:
            if self._path.exists():
                self.damaged = str(error)
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.executescript(_SCHEMA)
            return connection

    def close(self) -> None:
        """Close the database; what no map has named for a month is forgotten first."""
        # It can wait for another run, and no status tells of it.
        with contextlib.suppress(sqlite3.DatabaseError):
            if not self._read_only:
                self._forget_unnamed()
        self._connection.close()

    def _forget_unnamed(self) -> None:
        query = "SELECT id FROM mapping WHERE named < ?"
        for number in self._connection.execute(query, [self._today - KEPT_DAYS]).fetchall():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM entry WHERE mapping = ?", number)
            self._connection.execute("DELETE FROM mapping WHERE id = ?", number)
            self._connection.execute("COMMIT")

    def of_mapping(self, identity: str) -> MappingIndex:
        """Return the part of one mapping.

        Args:
            identity: all that its rows depend on: endpoint, prefix, directory.
        """
        query = "SELECT id, named FROM mapping WHERE identity = ?"
        insert = "INSERT INTO mapping (identity, named) VALUES (?, ?) RETURNING id, named"
        update = "UPDATE mapping SET named = ? WHERE id = ?"
        try:
            row = self._connection.execute(query, [identity]).fetchone()
            if row is None and not self._read_only:
                row = self._connection.execute(insert, [identity, self._today]).fetchone()
            elif row is not None and row[1] != self._today and not self._read_only:
                self._connection.execute(update, [self._today, row[0]])
        except sqlite3.DatabaseError as error:
            raise _failed(error) from error
        return MappingIndex(self._connection, row[0] if row else 0, read_only=self._read_only)


class MappingIndex:
    """The rows of one mapping."""

    def __init__(
        self, connection: sqlite3.Connection, number: int, *, read_only: bool = False
    ) -> None:
        self._connection = connection
        self._number = number
        self._read_only = read_only

    def rows(self) -> Iterator[IndexRow]:
        """Yield every row in key order; a row of a damaged file that no run writes is skipped."""
        query = f"{_ENTRIES} WHERE mapping = ? ORDER BY key"
        try:
            for row in self._connection.execute(query, [self._number]):
                if found := _index_row(row):
                    yield found
        except sqlite3.DatabaseError as error:
            raise _unreadable(error) from error

    def row(self, key: str) -> IndexRow | None:
        """Return the row of a key; None also for a row of a damaged file that no run writes."""
        query = f"{_ENTRIES} WHERE mapping = ? AND key = ?"
        try:
            row = self._connection.execute(query, [self._number, key]).fetchone()
        except sqlite3.DatabaseError as error:
            raise _unreadable(error) from error
        return _index_row(row) if row is not None else None

    def remember(self, rows: Iterable[IndexRow]) -> None:
        """Write rows, all of them or none, durably."""
        self._write(
            "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((self._number, row.key, row.etag, *row.stamp) for row in rows),
        )

    def forget(self, names: Iterable[str]) -> None:
        """Remove the rows of some keys, all of them or none."""
        self._write(
            "DELETE FROM entry WHERE mapping = ? AND key = ?",
            ((self._number, key) for key in names if not is_no_text(key)),
        )

    def _write(self, statement: str, values: Iterable[tuple[object, ...]]) -> None:
        if self._read_only:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, values)
            self._connection.execute("COMMIT")
        except BaseException as error:  # a signal, too, must not leave a transaction open
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise _failed(error) from error
            raise

    @property
    def unordered(self) -> bool:
        """Whether an earlier run saw that the store does not list in key order."""
        return bool(self._fact("unordered"))

    def note_unordered(self) -> None:
        """Remember that the store does not list in key order, so that the next run sorts at once."""
        self._note("unordered", 1)

    @property
    def boundaries(self) -> tuple[str, ...]:
        """The last keys of the pages of an earlier listing, in its order; () when they are damaged."""
        return self._keys("seams")

    def note_boundaries(self, boundaries: Sequence[str]) -> None:
        """Remember where the pages of a listing ended."""
        self._note("seams", json.dumps(boundaries))

    @property
    def mounts(self) -> tuple[str, ...]:
        """The directories of a source on which something was mounted; () when the value is damaged."""
        return self._keys("mounts")

    def note_mounts(self, mounts: Sequence[str]) -> None:
        """Remember on which directories something is mounted."""
        self._note("mounts", json.dumps(mounts))

    def _keys(self, column: Literal["seams", "mounts"]) -> tuple[str, ...]:
        try:
            found = json.loads(self._fact(column) or "[]")
        except (ValueError, TypeError, RecursionError):
            return ()
        are_keys = isinstance(found, list) and all(
            isinstance(key, str) and key for key in found
        )
        return tuple(found) if are_keys else ()

    def _note(self, column: _Column, value: object) -> None:
        statement = f"UPDATE mapping SET {column} = ? WHERE id = ?"  # noqa: S608 (no input)
        self._write(statement, [(value, self._number)])

    def _fact(self, column: _Column) -> Any:
        query = f"SELECT {column} FROM mapping WHERE id = ?"  # noqa: S608 (no input)
        try:
            row = self._connection.execute(query, [self._number]).fetchone()
        except sqlite3.DatabaseError as error:
            raise _unreadable(error) from error
        return row[0] if row else None


def _index_row(row: tuple[Any, ...]) -> IndexRow | None:
    """Return a row as a value; None when it is damaged."""
    if tuple(map(type, row)) != _TYPES:
        return None
    key, etag, size, mtime_ns, ctime_ns, inode = row
    return IndexRow(key, etag, Stamp(size, mtime_ns, ctime_ns, inode))


def _failed(error: Exception) -> DirectoryError:
    """Return the error for a problem around the file, not in it."""
    message = f"index: {error}"
    if is_disk_full(error):
        return DiskFull(
            message, remedy="free space on the disk of state_dir, or raise the quota"
        )
    remedy = "check that state_dir belongs to the agent's user, and that its disk works and is writable"
    return DirectoryError(message, remedy=remedy)


def _unreadable(error: Exception) -> DirectoryError:
    return DirectoryError(
        f"index: {error}",
        remedy="the next run checks the index, and begins a new one if it is damaged",
    )


def _open_or_create(path: Path, today: int) -> sqlite3.Connection:
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        remedy = "state_dir and what is in it must belong to the user that runs the agent"
        raise DirectoryError(f'"{path}": {error.strerror}', remedy=remedy) from error
    os.close(descriptor)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = _text
    try:
        # A rollback journal, so that a dry run can read without writing beside the file.
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        # Asked of SQLite, which first rolls back what a run left unfinished that was killed while it created the file.
        if connection.execute("PRAGMA schema_version").fetchone() == (0,):
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        _add_dates(connection, today)
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _add_dates(connection: sqlite3.Connection, today: int) -> None:
    """Bring an index of the version before up to date, instead of hashing all files again."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) == (_APPLICATION_ID, _WITHOUT_DATES):
        # Which of its mappings a map still names, the next month shows.
        connection.executescript(
            "BEGIN; ALTER TABLE mapping ADD COLUMN named INTEGER NOT NULL DEFAULT 0;"  # noqa: S608 (no input)
            f" UPDATE mapping SET named = {today}; PRAGMA user_version = {_VERSION}; COMMIT;"
        )


def _open_reading(path: Path, today: int) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, isolation_level=None)
    ) as connection:
        connection.text_factory = _text
        _check(connection)
        # A copy, so that a long scan keeps no lock for which a run that writes would wait.
        copy = sqlite3.connect("", isolation_level=None)
        copy.text_factory = _text
        connection.backup(copy)
    _add_dates(copy, today)
    return copy


def _text(data: bytes) -> str:
    """Decode a text of a damaged file too: it matches no key and no version, and ends no run."""
    return data.decode(errors="replace")


def _check(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID or version not in (_WITHOUT_DATES, _VERSION):
        raise sqlite3.DatabaseError("not an index of this version")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    for statement in (_MAPPINGS, _ENTRIES):
        connection.execute(f"{statement} LIMIT 0")
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _is_damage(error: Exception) -> bool:
    """Return whether the file itself is damaged, unlike for a full disk, a lock or a lost permission."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
