"""Fetch one large entry in ranges, side by side, straight into its file, and tell in order which of them are whole.

It knows neither where the bytes come from nor what proves them, and it holds no more of them than a chunk a range.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.errors import IntegrityError
from s32s_agent.stores.base import File
from s32s_agent.workers import in_order

RANGED_FROM = 32 << 20
"""Bytes from which on an entry is fetched in ranges."""
RANGE = 8 << 20
"""Bytes of a range, at most. The longer, the more of an interrupted download comes again."""
AHEAD = 4
"""How many ranges of one entry are under way, or whole and not yet taken note of."""
AT_ONCE = 8
"""How many ranges are under way of all entries together; beyond that, a loopback server only gets slower."""


class Range(NamedTuple):
    """Bytes from `start` up to, not with, `end`."""

    start: int
    end: int


Read = Callable[[Range], Iterator[bytes]]
"""Asks for a range and yields its bytes in order; called in many threads."""


def cut(start: int, size: int, length: int = RANGE) -> Iterator[Range]:
    """Cut what follows the first `start` bytes of `size` into ranges."""
    for position in range(start, size, length):
        yield Range(position, min(size, position + length))


def surely_whole(length: int) -> int:
    """Say how many bytes at the beginning of a file of this length no killed download left out.

    Ranges begin in order, and none begins before the one that is `AHEAD` before it is whole.
    """
    return max(0, length - AHEAD * RANGE) // RANGE * RANGE


class Slots:
    """Bounds the ranges that are under way, of all entries together."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def fetch(
        self,
        ranges: Iterable[Range],
        read: Read,
        file: File,
        heartbeat: Heartbeat = UNWATCHED,
    ) -> Generator[Range, None, None]:
        """Copy ranges to a file; yield them in order, each when it is complete.

        When the iterator has ended, raised or was closed, no thread writes to the file any more.

        Args:
            ranges: what is fetched.
            read: fetches a range.
            file: where the bytes go.
            heartbeat: of the entry.

        Raises:
            IntegrityError: a range has not as many bytes as were asked for.
            AgentError: what `read` or the file raised.
        """
        cancel_token = CancelToken()

        def copy(wanted: Range) -> Range:
            heartbeat.acquire(self._free)
            try:
                with heartbeat.helped():
                    _copy(read, wanted, file, cancel_token)
            finally:
                self._free.release()
            return wanted

        yield from in_order(copy, ranges, AHEAD, cancel_token)


def _copy(read: Read, wanted: Range, file: File, cancel_token: CancelToken) -> None:
    position = wanted.start
    cancel_token.check()
    for chunk in read(wanted):
        cancel_token.check()
        if position + len(chunk) > wanted.end:
            raise IntegrityError(f"got more than the bytes {wanted.start} to {wanted.end}")
        file.write(chunk, position)
        position += len(chunk)
    if position != wanted.end:
        raise IntegrityError(f"got bytes {wanted.start} to {position}, asked for {wanted.end}")
