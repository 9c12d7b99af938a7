"""Fetch one large entry in ranges, side by side, straight into its file, and tell in order which of them are whole.

It knows neither where the bytes come from nor what proves them, and it holds no more of them than a chunk a range.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from s32s_agent.cancellation import shown_for_caller
from s32s_agent.errors import IntegrityError
from s32s_agent.stores.base import File
from s32s_agent.workers import patiently

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
        self, ranges: Iterable[Range], read: Read, file: File
    ) -> Generator[Range, None, None]:
        """Bring ranges into a file; yield them in order, each when it is whole.

        When the iterator has ended, or was closed, nobody writes to the file any more.

        Raises:
            IntegrityError: a range has not as many bytes as were asked for.
            AgentError: what `read` or the file raised.
        """
        given_up = threading.Event()
        under_way: deque[tuple[threading.Thread, Future[Range]]] = deque()

        show_life_for_caller = shown_for_caller()
        at_work: set[Range] = set()

        def bring(wanted: Range, done: Future[Range]) -> None:
            show_life_for_caller()
            try:
                # While others of this entry are at work, it is theirs to show life: they may hang.
                patiently(self._free.acquire, lambda: not at_work)
                try:
                    at_work.add(wanted)
                    _copy(read, wanted, file, given_up)
                finally:
                    at_work.discard(wanted)
                    self._free.release()
                done.set_result(wanted)
            except BaseException as error:  # noqa: BLE001 (raised again where the range is waited for)
                done.set_exception(error)

        try:
            for wanted in ranges:
                done: Future[Range] = Future()
                # Daemons, so that one that hangs in a system call cannot keep an interrupted process alive.
                thread = threading.Thread(target=bring, args=(wanted, done), daemon=True)
                thread.start()
                under_way.append((thread, done))
                if len(under_way) == AHEAD:
                    yield under_way[0][1].result()
                    under_way.popleft()
            while under_way:
                yield under_way[0][1].result()
                under_way.popleft()
        finally:
            given_up.set()
            for thread, _ in under_way:
                thread.join()


def _copy(read: Read, wanted: Range, file: File, given_up: threading.Event) -> None:
    position = wanted.start
    if given_up.is_set():
        return
    for chunk in read(wanted):
        if given_up.is_set():
            return
        if position + len(chunk) > wanted.end:
            raise IntegrityError(f"got more than the bytes {wanted.start} to {wanted.end}")
        file.write(chunk, position)
        position += len(chunk)
    if position != wanted.end:
        raise IntegrityError(f"got bytes {wanted.start} to {position}, asked for {wanted.end}")
