"""Fetch the pages of a listing ahead of their reader, in parallel where the last listing showed its boundaries.

A page is requested with the token of the page before, so that pages come one after the other, each after a round
trip. The last listing, however, showed after which keys its pages began: its *boundaries*. `StartAfter` requests all
those pages at once. Pages are read in order, and one that began at a boundary counts only if the pages before it led
up to that boundary, so the pages together are what one page after the other would have been. Where they do not, or
where such a page cannot be fetched, the listing continues page after page. `StartAfter` must follow the store's own
order, which is that of the keys, or the store must be known: the caller that passes boundaries makes sure of that.

It decides nothing about completeness: that is the `Listing`'s part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Problem
from s32s_agent.stores.s3.listing import Listing, Page, decoded_keys
from s32s_agent.workers import BackgroundCall

AHEAD = 8
"""Pages that are requested, or wait to be read, at once; each is about 1 MB."""
_WORTH_LEARNING = 4
"""Pages from which on boundaries are worth their space in the index."""
_WASTE = 1.25
"""With more requests than this times the fewest possible, the next listing determines new boundaries."""

Fetch = Callable[[dict[str, str]], Page]
_Read: TypeAlias = tuple[Page, list[str]]
"""A page, and its keys, decoded."""


class Pages:
    """All pages of one listing, read once.

    Args:
        fetch: requests one page, given `StartAfter`, `ContinuationToken` or neither; called in threads.
        listing: the rules that every page must keep.
        boundaries: the last keys of the pages of an earlier listing, in its order.
        answered: called in the reader's thread for every page.
    """

    def __init__(
        self,
        fetch: Fetch,
        listing: Listing,
        boundaries: Sequence[str] = (),
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._answered = answered
        self._listing = listing
        self._by_boundaries = bool(boundaries)
        self._ranges = len(boundaries) + 1
        self._boundaries = deque(boundaries)
        self._ahead: deque[tuple[str, BackgroundCall[_Read]]] = deque()
        self._ends: list[str] = []
        """The last key that was read of each page."""
        self._keys = 0
        self._largest = 1

    def entries(self) -> Iterator[Entry | Problem]:
        """Yield what is listed, in the order of the store."""
        answer = self._request({})
        while True:
            self._request_ahead()
            page, names = answer.result()
            self._answered()
            count = self._keys_before_next(names)
            token = self._listing.next_token(page)
            if count is None and token is not None:
                answer = self._request({"ContinuationToken": token})
            yield from self._listing.take(page, names[:count])
            self._note(names, count)
            if count is not None:
                _, answer = self._ahead.popleft()
            elif token is None:
                return

    def new_boundaries(self) -> tuple[str, ...] | None:
        """Return the boundaries for the next listing, once this one has ended; None to keep what is remembered."""
        if not self._by_boundaries:
            # A mangled name would be another key in a request.
            ends = tuple(key for key in self._ends[:-1] if "\ufffd" not in key)
            return ends if len(self._ends) >= _WORTH_LEARNING else ()
        fewest = self._keys // self._largest + 1
        wasteful = len(self._ends) > fewest * _WASTE + 1
        coarse = len(self._ends) > 2 * self._ranges
        return () if wasteful or coarse else None

    def _request(self, where: dict[str, str]) -> BackgroundCall[_Read]:
        def read() -> _Read:
            page = self._fetch(where)
            return page, decoded_keys(page)

        return BackgroundCall(read)

    def _request_ahead(self) -> None:
        while self._boundaries and len(self._ahead) < AHEAD:
            after = self._boundaries.popleft()
            self._ahead.append((after, self._request({"StartAfter": after})))

    def _keys_before_next(self, names: list[str]) -> int | None:
        """Return how many keys of a page come before the page that was requested ahead; None: this page ends before it.

        That page begins after its boundary; where that key no longer exists, its own first key shows where.
        """
        if not self._ahead:
            return None
        after, answer = self._ahead[0]
        try:
            following = answer.result()[1][:1]
        except (StoreUnavailable, ListingInconsistent):
            following = []
        if not following or following == names[:1]:
            # The store refuses `StartAfter` or ignores it, requires the key to exist, or has nothing between the two
            # pages: continue page after page.
            self._ahead.clear()
            self._boundaries.clear()
            self._by_boundaries = False
            return None
        found = [names.index(key) for key in following if key in names]
        if after in names:
            found.append(names.index(after) + 1)
        return min(found, default=None)

    def _note(self, names: list[str], count: int | None) -> None:
        taken = names[:count]
        self._keys += len(taken)
        self._largest = max(self._largest, len(names))
        self._ends += taken[-1:]
