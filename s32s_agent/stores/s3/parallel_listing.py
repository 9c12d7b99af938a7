"""Fetch the pages of a listing ahead of their reader, side by side where the last listing showed how.

A page is asked for with the token of the page before, so that pages come one after the other, each after a round
trip. The last listing, however, showed after which keys its pages began: its *seams*. `StartAfter` asks for all those
pages at once. Pages are read in order, and one that began at a seam counts only if the pages before it led up to that
seam, so the pages together are what one page after the other would have been. Where they do not, or where such a page
cannot be had, the listing goes on one page after the other. `StartAfter` must follow the store's own order, which is
that of the keys, or the store must be known: whoever gives the seams sees to that.
It decides nothing about completeness: that is the `Listing`'s part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Problem
from s32s_agent.stores.s3.listing import Listing, Page, decoded_keys
from s32s_agent.workers import Answer

AHEAD = 8
"""How many pages are asked for, or wait to be read, at once; each is about 1 MB."""
_WORTH_LEARNING = 4
"""Pages from which on seams are worth their place in the index."""
_WASTE = 1.25
"""More requests than this times the fewest possible, and the seams are learnt anew."""

Fetch = Callable[[dict[str, str]], Page]
_Read: TypeAlias = tuple[Page, list[str]]
"""A page, and its keys, decoded."""


class Pages:
    """All pages of one listing, read once.

    Args:
        fetch: asks for one page, given `StartAfter`, `ContinuationToken` or neither; called in threads.
        listing: the rules that they are read under.
        seams: the keys after which the pages of the last listing began, in the order of that listing.
        answered: called in the reader's thread for every page.
    """

    def __init__(
        self,
        fetch: Fetch,
        listing: Listing,
        seams: Sequence[str] = (),
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._answered = answered
        self._listing = listing
        self._by_seams = bool(seams)
        self._ranges = len(seams) + 1
        self._seams = deque(seams)
        self._ahead: deque[tuple[str, Answer[_Read]]] = deque()
        self._ends: list[str] = []
        """The last key that was read of each page."""
        self._keys = 0
        self._largest = 1

    def entries(self) -> Iterator[Entry | Problem]:
        """Yield what is listed, in the order of the store."""
        answer = self._ask({})
        while True:
            self._ask_ahead()
            page, names = answer.result()
            self._answered()
            seam = self._seam(names)
            token = self._listing.next_token(page)
            if seam is None and token is not None:
                answer = self._ask({"ContinuationToken": token})
            yield from self._listing.take(page, names[:seam])
            self._note(names, seam)
            if seam is not None:
                _, answer = self._ahead.popleft()
            elif token is None:
                return

    def learned(self) -> tuple[str, ...] | None:
        """Give the seams to remember for the next listing once this one has ended; None to keep what is remembered."""
        if not self._by_seams:
            # A mangled name would be another key when it is asked for.
            ends = tuple(key for key in self._ends[:-1] if "\ufffd" not in key)
            return ends if len(self._ends) >= _WORTH_LEARNING else ()
        fewest = self._keys // self._largest + 1
        wasteful = len(self._ends) > fewest * _WASTE + 1
        coarse = len(self._ends) > 2 * self._ranges
        return () if wasteful or coarse else None

    def _ask(self, where: dict[str, str]) -> Answer[_Read]:
        def read() -> _Read:
            page = self._fetch(where)
            return page, decoded_keys(page)

        return Answer(read)

    def _ask_ahead(self) -> None:
        while self._seams and len(self._ahead) < AHEAD:
            after = self._seams.popleft()
            self._ahead.append((after, self._ask({"StartAfter": after})))

    def _seam(self, names: list[str]) -> int | None:
        """Say how many keys of a page come before the page that was asked for ahead; None: it goes on after this one.

        That page follows the key that it was asked to start after, and where that key is gone, it is where it begins.
        """
        if not self._ahead:
            return None
        after, answer = self._ahead[0]
        try:
            following = answer.result()[1][:1]
        except (StoreUnavailable, ListingInconsistent):
            following = []
        if not following or following == names[:1]:
            # The store refuses `StartAfter` or ignores it, wants the key to exist, or nothing is left between the
            # two pages: go on without.
            self._ahead.clear()
            self._seams.clear()
            self._by_seams = False
            return None
        found = [names.index(key) for key in following if key in names]
        if after in names:
            found.append(names.index(after) + 1)
        return min(found, default=None)

    def _note(self, names: list[str], seam: int | None) -> None:
        taken = names[:seam]
        self._keys += len(taken)
        self._largest = max(self._largest, len(names))
        self._ends += taken[-1:]
