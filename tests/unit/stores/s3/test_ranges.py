"""Ranges side by side: which are asked for, how many at once, and when each is handed over."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.errors import IntegrityError, StoreUnavailable
from s32s_agent.stores.s3.ranges import AHEAD, AT_ONCE, RANGE, Range, Slots, cut, surely_whole
from s32s_agent.workers import in_parallel

CHUNK = bytes(RANGE // 4)
SIZE = 9 * RANGE + 5
PATIENCE_SECONDS = 30


@dataclass
class Noted:
    """A file that notes where bytes go instead of holding them."""

    written: list[Range] = field(default_factory=list)

    def write(self, chunk: bytes, position: int) -> None:
        self.written.append(Range(position, position + len(chunk)))

    def read(self, size: int, position: int) -> bytes:
        raise NotImplementedError

    def whole(self, size: int) -> bool:
        """Tell whether every byte was written, none of them twice."""
        position = 0
        for start, end in sorted(self.written):
            if start != position:
                return False
            position = end
        return position == size


def chunks(wanted: Range) -> Iterator[bytes]:
    """Answer well."""
    for position in range(wanted.start, wanted.end, len(CHUNK)):
        yield CHUNK[: wanted.end - position]


@dataclass
class Held:
    """A server that answers no range before the test lets it."""

    begun: list[Range] = field(default_factory=list)
    ended: list[Range] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    let: set[int] = field(default_factory=set)
    """Where the ranges begin that may be answered."""
    everything: bool = False

    def read(self, wanted: Range) -> Iterator[bytes]:
        with self.changed:
            self.begun.append(wanted)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.everything or wanted.start in self.let)
        yield from chunks(wanted)
        with self.changed:
            self.ended.append(wanted)
            self.changed.notify_all()

    def answer(self, *numbers: int) -> None:
        with self.changed:
            self.let |= {number * RANGE for number in numbers}
            self.everything = self.everything or not numbers
            self.changed.notify_all()

    def wait_until_begun(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.begun) >= count, PATIENCE_SECONDS)

    def wait_until_ended(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.ended) >= count, PATIENCE_SECONDS)


@pytest.mark.parametrize("size", [1, RANGE - 1, RANGE, RANGE + 1, SIZE])
@pytest.mark.parametrize("start", [0, RANGE])
def test_ranges_cover_what_follows_and_nothing_twice(start: int, size: int) -> None:
    """Every byte from the start to the end is in exactly one range."""
    ranges = list(cut(start, size))

    assert sum(end - begin for begin, end in ranges) == max(0, size - start)
    assert all(one.end == other.start for one, other in itertools.pairwise(ranges))
    assert [ranges[0].start, ranges[-1].end] == [start, size] if size > start else not ranges


def test_ranges_come_in_order_and_whole() -> None:
    """Whatever order they arrive in, each is handed over when all before it and itself are written."""
    file, server = Noted(), Held()
    with (
        ThreadPoolExecutor(1) as pool,
        closing(Slots().fetch(cut(0, SIZE), server.read, file)) as got,
    ):
        first = pool.submit(next, got)
        assert server.wait_until_begun(AHEAD)
        server.answer(2, 3, 1)
        assert server.wait_until_ended(3)
        out_of_order = first.done()
        server.answer()
        found = [first.result(PATIENCE_SECONDS), *got]

    assert not out_of_order
    assert found == list(cut(0, SIZE))
    assert file.whole(SIZE)


def test_a_killed_download_has_no_hole_below_what_is_surely_whole() -> None:
    """No range begins before the one that is `AHEAD` before it is whole, so the file's length tells what is there."""
    file, server = Noted(), Held()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(lambda: list(Slots().fetch(cut(0, SIZE), server.read, file)))
        assert server.wait_until_begun(AHEAD)
        server.answer(1, 2, 3)
        assert server.wait_until_ended(3)
        begun_behind_a_hole = len(server.begun)
        server.answer(0)
        assert server.wait_until_begun(2 * AHEAD)
        server.answer(5, 6, 7)
        assert server.wait_until_ended(7)
        length = max(end for _, end in file.written)
        written = sum(
            end - start for start, end in file.written if end <= surely_whole(length)
        )
        server.answer()
        fetching.result(PATIENCE_SECONDS)

    assert begun_behind_a_hole == AHEAD
    assert surely_whole(length) == written == 4 * RANGE


@pytest.mark.parametrize(
    ("length", "whole"),
    [
        (0, 0),
        (AHEAD * RANGE + RANGE - 1, 0),
        (AHEAD * RANGE + RANGE, RANGE),
        (AHEAD * RANGE + RANGE + 7, RANGE),
    ],
)
def test_what_is_surely_whole(length: int, whole: int) -> None:
    """All ranges but as many as can be under way, cut to whole ranges."""
    assert surely_whole(length) == whole


def test_sixteen_large_objects_do_not_fill_the_memory() -> None:
    """However many entries are fetched at once, only so many ranges are under way, each with one chunk in memory."""
    server, slots = Held(), Slots()

    def fetch(_: int) -> list[Range]:
        return list(slots.fetch(cut(0, 5 * RANGE), server.read, Noted()))

    with ThreadPoolExecutor(16) as pool:
        fetching = [pool.submit(fetch, number) for number in range(16)]
        assert server.wait_until_begun(AT_ONCE)
        at_once = len(server.begun) - len(server.ended)
        server.answer()
        found = [each.result(PATIENCE_SECONDS) for each in fetching]

    assert at_once == AT_ONCE
    assert len(server.begun) == 16 * 5
    assert found == [list(cut(0, 5 * RANGE))] * 16


def test_a_range_that_hangs_is_noticed_beside_others_that_wait_for_their_turn() -> None:
    """A wait for the places of other entries is no stall; one for its own ranges is, since those may hang for ever."""
    token, slots = CancelToken(stalled_seconds=2.5), Slots()
    for _ in range(AT_ONCE - 1):
        assert slots._free.acquire(blocking=False)  # other entries have all places but one

    def hang(_: Range) -> Iterator[bytes]:
        while not token.cancelled:
            time.sleep(0.05)
        yield b""

    def fetch(_: int, heartbeat: Heartbeat) -> list[Range]:
        return list(slots.fetch(cut(0, SIZE), hang, Noted(), heartbeat))

    given_up = threading.Timer(PATIENCE_SECONDS, token.cancel)
    given_up.start()
    try:
        with pytest.raises(StoreUnavailable, match="no data was transferred"):
            list(in_parallel(fetch, [1], 1, token))
    finally:
        given_up.cancel()


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_range_that_is_too_short_or_too_long_is_an_error(surplus: int) -> None:
    """A server that sends other bytes than were asked for does not shift those that follow."""
    file = Noted()

    def read(wanted: Range) -> Iterator[bytes]:
        change = surplus if wanted.start == RANGE else 0
        yield bytes(wanted.end - wanted.start + change)

    with pytest.raises(IntegrityError, match=str(RANGE)):
        list(Slots().fetch(cut(0, SIZE), read, file))

    assert all(
        position % RANGE == 0 and end - position <= RANGE for position, end in file.written
    )


def test_after_a_failure_nobody_writes_any_more() -> None:
    """A file that is closed, and whose number may be another file's by then, is not written to by a late range."""
    file, server = Noted(), Held()

    def read(wanted: Range) -> Iterator[bytes]:
        if wanted.start == 0:
            assert server.wait_until_begun(AHEAD - 1)
            raise StoreUnavailable("the connection is gone")
        yield from server.read(wanted)

    threads = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(lambda: list(Slots().fetch(cut(0, SIZE), read, file)))
        assert server.wait_until_begun(AHEAD - 1)
        # Whoever does not wait for the others has ended by then, and who does never has.
        wait([fetching], timeout=1)
        before = fetching.done()
        server.answer()
        with pytest.raises(StoreUnavailable):
            fetching.result(PATIENCE_SECONDS)

    assert not before
    assert set(threading.enumerate()) <= threads
    assert all(start < AHEAD * RANGE for start, _ in file.written)


def test_slots_are_free_again_after_a_failure() -> None:
    """A download that failed takes no slot from the others."""
    slots = Slots()

    def fail(_: Range) -> Iterator[bytes]:
        raise StoreUnavailable("down")

    for _ in range(AT_ONCE):
        with pytest.raises(StoreUnavailable):
            list(slots.fetch(cut(0, SIZE), fail, Noted()))
    file = Noted()
    list(slots.fetch(cut(0, SIZE), chunks, file))

    assert file.whole(SIZE)
