"""A listing without order, sorted on disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Kind, Problem
from s32s_agent.stores.spool import in_key_order


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_any_order_becomes_that_of_code_points(names: list[str]) -> None:
    """Entries come sorted as Python sorts, whatever the alphabet."""
    found = [each.key for each in in_key_order(Entry(name) for name in names)]

    assert found == sorted(names)


def test_nothing_of_an_entry_is_lost() -> None:
    """Size, ETag, kind and the raw ETag come back as they were, problems before all."""
    scan: list[Entry | Problem] = [
        Entry("b", 1 << 40, "e", raw_etag="W/e"),
        Problem("z", "odd", "z"),
        Entry("d/", kind=Kind.DIRECTORY),
        Entry("a", 5, None),
    ]

    assert list(in_key_order(scan)) == [scan[1], scan[3], scan[0], scan[2]]


@pytest.mark.parametrize("other", [Entry("a", 1, "e"), Entry("a", 2, "e"), Entry("a", 1, "f")])
def test_a_key_that_comes_twice_deletes_nothing(other: Entry) -> None:
    """A listing that repeats itself, alike or not, is not believed."""
    with pytest.raises(ListingInconsistent) as caught:
        list(in_key_order([Entry("a", 1, "e"), other]))

    assert str(caught.value) == '"a" was listed twice'


def test_a_listing_that_breaks_off_gives_nothing() -> None:
    """Not one entry comes out before the listing has ended."""

    def broken() -> Iterator[Entry]:
        yield Entry("a")
        raise StoreUnavailable("page 2")

    with pytest.raises(StoreUnavailable, match="page 2"):
        next(in_key_order(broken()))
