"""A listing without order, sorted on disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disks import or_skip, small_tmpfs

from s32s_agent.errors import DirectoryError, ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Kind, Problem
from s32s_agent.stores.s3.sorted_listing import sorted_by_key


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_any_order_becomes_that_of_code_points(names: list[str]) -> None:
    """Entries come sorted as Python sorts, whatever the alphabet."""
    found = [each.key for each in sorted_by_key(Entry(name) for name in names)]

    assert found == sorted(names)


def test_nothing_of_an_entry_is_lost() -> None:
    """Size, ETag, kind and the raw ETag stay as they were; problems come first."""
    scan: list[Entry | Problem] = [
        Entry("b", 1 << 40, "e", raw_etag="W/e"),
        Problem("z", "odd", "z"),
        Entry("d/", kind=Kind.DIRECTORY),
        Entry("a", 5, None),
    ]

    assert list(sorted_by_key(scan)) == [scan[1], scan[3], scan[0], scan[2]]


@pytest.mark.parametrize("other", [Entry("a", 1, "e"), Entry("a", 2, "e"), Entry("a", 1, "f")])
def test_a_key_that_comes_twice_deletes_nothing(other: Entry) -> None:
    """A listing that repeats a key, with the same values or others, is not believed."""
    with pytest.raises(ListingInconsistent) as caught:
        list(sorted_by_key([Entry("a", 1, "e"), other]))

    assert str(caught.value) == '"a" was listed twice'


def test_a_listing_that_breaks_off_yields_nothing() -> None:
    """Not one entry is yielded before the listing has ended."""

    def broken() -> Iterator[Entry]:
        yield Entry("a")
        raise StoreUnavailable("page 2")

    with pytest.raises(StoreUnavailable, match="page 2"):
        next(sorted_by_key(broken()))


SORTS = """
import sys
from s32s_agent.errors import AgentError
from s32s_agent.model import Entry
from s32s_agent.stores.s3.sorted_listing import sorted_by_key

try:
    print(sum(1 for _ in sorted_by_key(Entry(f"{each:0500}", 1, "e") for each in range(20_000))))
except AgentError as error:
    print(type(error).__name__, error.exit_status, error.remedy)
"""
"""SQLite looks once in a process where its temporary files go."""


def sort_in(place: Path) -> str:
    """Sort a listing of 10 MB with its temporary file in a directory; print what became of it."""
    command = [sys.executable, "-c", SORTS]
    environment = {**os.environ, "SQLITE_TMPDIR": str(place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_full_temporary_directory_is_no_bug(tmp_path: Path) -> None:
    """No space to sort a listing is status 73, and the remedy names the variable; nothing was yielded."""
    with or_skip(), small_tmpfs(tmp_path / "small", "size=1m") as place:
        told = sort_in(place)
    with or_skip(), small_tmpfs(tmp_path / "large", "size=64m") as place:
        assert sort_in(place) == "20000\n"

    assert told.startswith("DiskFull 73 ")
    assert "TMPDIR" in told


def test_an_error_of_sqlite_is_no_bug() -> None:
    """Any other error with the file is status 73 as well."""

    def broken() -> Iterator[Entry]:
        yield Entry("a")
        raise sqlite3.OperationalError("unable to open database file")

    with pytest.raises(DirectoryError) as caught:
        list(sorted_by_key(broken()))

    assert str(caught.value) == "the temporary file of a listing: unable to open database file"
    assert "TMPDIR" in caught.value.remedy
