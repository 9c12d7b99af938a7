"""Pages fetched in parallel give what pages fetched one after the other give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry
from s32s_agent.stores.s3.listing import Listed, Listing, Page
from s32s_agent.stores.s3.parallel_listing import AHEAD, Pages

Order = Callable[[str], str]

ORDERS: dict[str, Order] = {
    "by key": lambda key: key,
    "by directory": lambda key: key.replace("/", "\0"),
}


@dataclass
class Shelf:
    """A store that lists `keys`, some at a time."""

    keys: Iterable[str]
    order: Order = ORDERS["by key"]
    page_keys: int = 3
    start_after: str = "honoured"
    requested: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, where: dict[str, str]) -> Page:
        self.requested.append(where)
        after = where.get("ContinuationToken", "")
        if self.start_after != "ignored":
            after = after or where.get("StartAfter", "")
        inclusive = self.start_after == "inclusive" and "StartAfter" in where
        left = sorted(
            (key for key in self.keys if self._follows(key, after, inclusive)), key=self.order
        )
        shown = left[: self.page_keys]
        fields = {
            "Name": "b",
            "Prefix": "",
            "KeyCount": str(len(shown)),
            "IsTruncated": "true" if len(left) > len(shown) else "false",
        }
        if len(left) > len(shown):
            fields["NextContinuationToken"] = shown[-1]
        return Page(fields, [Listed(key, "1", '"e"', "") for key in shown], 0)

    def _follows(self, key: str, after: str, inclusive: bool) -> bool:  # noqa: FBT001
        if not after:
            return True
        return self.order(key) > self.order(after) or (inclusive and key == after)


def listed(
    shelf: Shelf, boundaries: Sequence[str] = ()
) -> tuple[list[str], tuple[str, ...] | None]:
    """List everything; return the keys, and the boundaries to remember."""
    pages = Pages(shelf, Listing("b", "", strictly_ordered=False), boundaries)
    keys = [each.key for each in pages.entries() if isinstance(each, Entry)]
    return keys, pages.new_boundaries()


KEYS = st.sets(
    st.text("ab/-", min_size=1, max_size=4).filter(lambda key: not key.endswith("/")),
    max_size=40,
)


@given(
    KEYS,
    KEYS,
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(["honoured", "ignored", "inclusive"]),
)
def test_a_hole_between_two_pages_that_looks_like_a_deletion(
    before: set[str], now: set[str], order: str, start_after: str
) -> None:
    """Whatever came and went since the boundaries were noted, every key is listed once, in the order of the store."""
    _, learned = listed(Shelf(before, ORDERS[order]))

    keys, _ = listed(Shelf(now, ORDERS[order], start_after=start_after), learned or ())

    assert keys == sorted(now, key=ORDERS[order])


@given(KEYS, st.permutations(["a", "ab", "b", "b/a", "a/b", "-"]))
def test_boundaries_of_another_store(now: set[str], boundaries: list[str]) -> None:
    """Boundaries that are in no order, or of no key, cost requests and never an entry."""
    keys, _ = listed(Shelf(now), boundaries)

    assert keys == sorted(now)


def names(count: int) -> list[str]:
    return [f"k{number:03d}" for number in range(count)]


def test_nothing_changed() -> None:
    """As many pages are requested as there are, and the boundaries stay."""
    _, boundaries = listed(Shelf(names(30)))
    shelf = Shelf(names(30))

    keys, learned = listed(shelf, boundaries or ())

    assert keys == names(30)
    assert learned is None
    assert len(shelf.requested) == 10


def test_pages_are_requested_in_parallel() -> None:
    """The first pages are all under way before any of them is answered."""
    shelf = Shelf(names(60))
    _, boundaries = listed(Shelf(names(60)))
    together = threading.Barrier(AHEAD + 1)

    def fetch(where: dict[str, str]) -> Page:
        if len(shelf.requested) <= AHEAD:
            page = shelf(where)
            together.wait(30)
            return page
        return shelf(where)

    pages = Pages(fetch, Listing("b", "", strictly_ordered=True), boundaries or ())

    assert [each.key for each in pages.entries() if isinstance(each, Entry)] == names(60)


def test_memory_stays_flat() -> None:
    """Never more pages are requested ahead of the reader than may wait."""
    shelf = Shelf(names(300))
    _, boundaries = listed(Shelf(names(300)))
    pages = Pages(shelf, Listing("b", "", strictly_ordered=True), boundaries or ())
    for number, _ in enumerate(pages.entries()):
        assert len(shelf.requested) <= number // 3 + 2 + AHEAD


def test_boundaries_that_no_longer_fit_are_replaced() -> None:
    """After much was added the next listing goes page by page, and finds new boundaries."""
    _, boundaries = listed(Shelf(names(30)))
    shelf = Shelf(
        [*names(30), *(f"{key}-{number}" for key in names(30) for number in range(5))]
    )

    keys, learned = listed(shelf, boundaries or ())

    assert keys == sorted(shelf.keys)
    assert learned == ()


def test_after_a_mass_deletion_the_boundaries_are_replaced() -> None:
    """A request for every vanished page would be wasted for ever."""
    _, boundaries = listed(Shelf(names(300)))
    left = names(300)[::2]

    keys, learned = listed(Shelf(left), boundaries or ())

    assert keys == left
    assert learned == ()


def test_short_listings_are_not_worth_it() -> None:
    """A few pages are listed one after the other, and nothing is remembered."""
    assert listed(Shelf(names(9)))[1] == ()


def test_a_page_that_always_fails_ends_the_listing() -> None:
    """A page that cannot be fetched in any way is an error, never an empty page."""
    _, boundaries = listed(Shelf(names(30)))
    shelf = Shelf(names(30))

    def fetch(where: dict[str, str]) -> Page:
        if "k014" in where.values():
            raise StoreUnavailable("500")
        return shelf(where)

    with pytest.raises(StoreUnavailable):
        list(Pages(fetch, Listing("b", "", strictly_ordered=True), boundaries or ()).entries())


def test_a_store_that_requires_the_key_of_start_after_to_exist() -> None:
    """An empty page after a key that no longer exists is no end: the page before it shows that there is more."""
    shelf = Shelf(names(30))
    _, boundaries = listed(Shelf(names(30)))

    def fetch(where: dict[str, str]) -> Page:
        if where.get("StartAfter") == "k014":
            return Shelf([])({})
        return shelf(where)

    pages = Pages(fetch, Listing("b", "", strictly_ordered=True), boundaries or ())

    assert [each.key for each in pages.entries() if isinstance(each, Entry)] == names(30)
    assert pages.new_boundaries() == tuple(names(30)[2:-3:3])


@pytest.mark.parametrize("error", [StoreUnavailable("501"), ListingInconsistent("odd")])
def test_a_store_that_refuses_start_after_is_listed_page_by_page(error: Exception) -> None:
    """Otherwise every run but the first would fail."""
    shelf = Shelf(names(30))
    _, boundaries = listed(Shelf(names(30)))

    def fetch(where: dict[str, str]) -> Page:
        if "StartAfter" in where:
            raise error
        return shelf(where)

    pages = Pages(fetch, Listing("b", "", strictly_ordered=True), boundaries or ())

    assert [each.key for each in pages.entries() if isinstance(each, Entry)] == names(30)


def test_a_mangled_name_is_no_boundary() -> None:
    """In a request, it would be another key."""
    odd = [*names(30), *(f"k{number:03d}\ufffd" for number in range(2, 30, 3))]

    _, learned = listed(Shelf(odd))

    assert learned
    assert not any("\ufffd" in key for key in learned)


def test_the_callback_is_called_for_every_page() -> None:
    """In the reader's thread, so that it can show progress."""
    heard: list[threading.Thread] = []
    pages = Pages(
        Shelf(names(30)),
        Listing("b", "", strictly_ordered=True),
        answered=lambda: heard.append(threading.current_thread()),
    )
    list(pages.entries())

    assert heard == [threading.current_thread()] * 10


def test_disorder_at_a_boundary_is_detected() -> None:
    """On a store that lists in key order, a page that begins before its boundary makes the listing invalid."""
    shelf = Shelf(names(30))
    _, boundaries = listed(Shelf(names(30)))

    def fetch(where: dict[str, str]) -> Page:
        return shelf({"StartAfter": "k001"} if where.get("StartAfter") == "k014" else where)

    with pytest.raises(ListingInconsistent):
        list(Pages(fetch, Listing("b", "", strictly_ordered=True), boundaries or ()).entries())
