"""Threads that take from one iterator: every item once, no silent stall, and a soon end when they are cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.errors import Cancelled, Interrupted, StoreUnavailable
from s32s_agent.workers import Growth, call_with_timeout, in_order, in_parallel

TIMEOUT_SECONDS = 30


def text(number: int, _: Heartbeat) -> str:
    return str(number)


# --- in parallel ---


def test_every_item_once() -> None:
    """Each result comes with its item, in whatever order."""
    found = dict(in_parallel(lambda number, _: number * 2, range(500), 8, CancelToken()))

    assert found == {number: number * 2 for number in range(500)}


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_no_items(workers: int) -> None:
    """Nothing to do ends at once, also for nobody."""
    nothing: list[int] = []

    assert list(in_parallel(text, nothing, workers, CancelToken())) == []


def test_no_more_threads_than_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most runs find nothing to do in most steps, and starting threads takes longer than that."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted)

    assert dict(in_parallel(text, [1, 2], 16, CancelToken())) == {1: "1", 2: "2"}
    assert len(started) == 2


def test_an_exception_is_a_value() -> None:
    """What fails for one item does not touch the others."""

    def halve(number: int, _: Heartbeat) -> float:
        return 1 / number

    found = dict(in_parallel(halve, [0, 1, 2], 2, CancelToken()))

    assert (found[1], found[2]) == (1.0, 0.5)
    assert isinstance(found[0], ZeroDivisionError)


@pytest.mark.parametrize("error", [KeyError("broken"), Cancelled("broken")])
def test_what_the_items_raise_the_iterator_raises(error: BaseException) -> None:
    """A source that breaks in the middle is no early end."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise error

    with pytest.raises(type(error), match="broken"):
        list(in_parallel(text, items(), 3, CancelToken()))


def test_items_are_taken_by_one_thread_at_a_time() -> None:
    """A generator may be used, which refuses to be entered twice; and nothing is taken ahead of the workers."""
    inside = threading.Lock()

    def items() -> Iterator[int]:
        for number in range(200):
            assert inside.acquire(blocking=False)
            time.sleep(0)
            inside.release()
            yield number

    assert len(list(in_parallel(text, items(), 8, CancelToken()))) == 200


def test_idle_time_is_told() -> None:
    """While nothing comes the caller's thread can show that time goes by."""
    told = threading.Event()
    found = list(
        in_parallel(lambda _, __: told.wait(TIMEOUT_SECONDS), [0], 1, CancelToken(), told.set)
    )

    assert found == [(0, True)]


def test_closing_early_waits_for_the_workers() -> None:
    """After the iterator is closed no function runs any more, and the rest of the items is not taken."""
    running: set[int] = set()
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    def work(number: int, _: Heartbeat) -> None:
        running.add(number)
        time.sleep(0.01)
        running.discard(number)

    results = in_parallel(work, items(), 4, CancelToken())
    next(results)
    results.close()

    assert running == set()
    assert len(taken) < 5_000


class _Panic(BaseException):
    """What a panic in a library of another language is."""


def test_a_panic_in_a_worker_does_not_hang_the_run() -> None:
    """What is no Exception reaches the caller too, and every thread ends."""

    def panic(_item: int, _heartbeat: Heartbeat) -> int:
        raise _Panic

    with pytest.raises(_Panic):
        list(in_parallel(panic, range(4), 2, CancelToken()))


# --- cancellation ---


def test_a_cancelled_run_ends_soon_though_a_worker_hangs() -> None:
    """A worker that hangs in a system call is not waited for longer than was agreed."""
    token, hang = CancelToken(), threading.Event()
    results = in_parallel(lambda number, _: number == 0 or hang.wait(60), range(8), 8, token)
    next(results)
    started = time.monotonic()
    token.cancel()
    results.close()
    seconds = time.monotonic() - started
    hang.set()

    assert seconds < 15


def test_work_that_was_cancelled_is_not_taken_for_complete() -> None:
    """Whoever reads the results to their end has all of them: part of an upload must not be completed as a whole."""
    token, found = CancelToken(), list[int]()

    def work(number: int, _: Heartbeat) -> int:
        if number == 3:
            token.cancel(Interrupted(15))
        return number

    with pytest.raises(Interrupted):
        found.extend(number for number, _ in in_parallel(work, range(10), 1, token))

    assert found == [0, 1, 2, 3]


def test_a_cancellation_in_a_worker_is_no_failure_of_its_item() -> None:
    """It reaches the caller as what it is, after the results that are there, and ends the other workers."""
    token, found = CancelToken(), list[object]()

    def work(number: int, _: Heartbeat) -> int:
        if number == 3:
            raise Interrupted(15)
        return number

    with pytest.raises(Interrupted):
        found.extend(result for _, result in in_parallel(work, range(1000), 1, token))

    assert found == [0, 1, 2]
    assert token.cancelled


# --- stalls ---


def test_a_worker_that_hangs_does_not_hold_the_run_for_ever() -> None:
    """A heartbeat that is silent for too long ends the work, whatever its worker hangs in."""
    hang, token = threading.Event(), CancelToken(CancelToken(stalled_seconds=0.3))
    results = in_parallel(lambda _, __: hang.wait(60), [1, 2], 2, token)

    with pytest.raises(StoreUnavailable, match=r"no data was transferred for 0\.3 seconds"):
        next(results)
    hang.set()


def test_items_that_never_come_are_noticed() -> None:
    """A disk that hangs while an item is read from it ends what waits for the item, too."""
    token = CancelToken(stalled_seconds=0.5)

    def items() -> Iterator[int]:
        yield 1
        while not token.cancelled:
            time.sleep(0.05)

    given_up = threading.Timer(TIMEOUT_SECONDS, token.cancel)
    given_up.start()
    try:
        with pytest.raises(StoreUnavailable, match="no data"):
            list(in_parallel(text, items(), 2, token))
    finally:
        given_up.cancel()


def beat_for(seconds: float, heartbeat: Heartbeat) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        heartbeat.beat()
        time.sleep(0.05)


def test_whoever_has_ended_is_not_taken_for_stalled() -> None:
    """One long item, and threads that found none: they have nothing to beat for."""
    token = CancelToken(stalled_seconds=2)

    def take_long(_: int, heartbeat: Heartbeat) -> None:
        beat_for(5, heartbeat)

    assert list(in_parallel(take_long, [1], 4, token)) == [(1, None)]


def test_slow_work_that_gets_ahead_is_not_ended() -> None:
    """It may take longer than the limit, and calls that a worker makes in other threads may beat for it."""
    token = CancelToken(stalled_seconds=2)

    def work(number: int, heartbeat: Heartbeat) -> int:
        calls = in_order(lambda _: beat_for(1, heartbeat), range(3), 1, CancelToken())
        return len(list(calls)) + number

    assert list(in_parallel(work, [1], 1, token)) == [(1, 4)]


def test_slow_work_before_an_item_does_not_count_for_the_next() -> None:
    """Each item has a heartbeat of its own: taking one late is no silence of the one before."""
    seen: list[Heartbeat] = []

    def work(_: int, heartbeat: Heartbeat) -> None:
        seen.append(heartbeat)

    list(in_parallel(work, range(3), 1, CancelToken()))

    assert len(set(map(id, seen))) == 3


# --- growth ---


def test_threads_are_added_while_there_is_room_for_more() -> None:
    """Two workers become six: only then can six items be under way at once."""
    together = threading.Barrier(6)

    def work(number: int, _: Heartbeat) -> None:
        if number >= 2:
            together.wait(TIMEOUT_SECONDS)

    found = list(
        in_parallel(work, range(2 + 6 * 3), 2, CancelToken(), grow=lambda running: 6 - running)
    )

    assert [error for _, error in found if error is not None] == []


def test_no_thread_is_added_when_there_is_nothing_left() -> None:
    """Once a thread has found no more items, another would find none either."""
    asked: list[int] = []

    def grow(running: int) -> int:
        asked.append(running)
        return 1

    list(in_parallel(text, range(3), 1, CancelToken(), grow=grow))

    assert asked == [1, 2, 3]


@pytest.mark.parametrize(
    ("used", "running", "expected"),
    [
        (0.0, 16, 16),  # waiting: twice as many
        (0.7, 16, 16),
        (0.8, 16, 0),  # busy
        (1.9, 16, 0),
        (0.1, 100, 28),  # never more than the most
        (0.1, 128, 0),
    ],
)
def test_growth(used: float, running: int, expected: int) -> None:
    """Threads are doubled while the process leaves a processor idle, up to the most that there may be."""
    times = iter([(5.0, 1.0), (6.0, 1.0 + used)])

    assert Growth(128, lambda: next(times))(running) == expected


def test_growth_looks_only_now_and_then() -> None:
    """Between two looks some time must pass, or the share would be chance."""
    times = iter([(5.0, 1.0), (5.1, 1.0), (5.2, 1.0), (5.3, 1.0)])
    grow = Growth(128, lambda: next(times))

    assert [grow(1), grow(1), grow(1)] == [0, 0, 1]


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Have the system start so many threads, and then no more."""
    left, start = [request.param], threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)


@pytest.mark.usefixtures("few_threads")
@pytest.mark.parametrize("few_threads", [0, 1, 2, 10], indirect=True)
def test_a_system_that_starts_few_threads_ends_no_run() -> None:
    """Every item is worked on once, by as many threads as there are, and its result is not lost."""
    token = CancelToken()
    results = in_parallel(
        lambda item, _: item * 2, range(100), 16, token, grow=lambda running: running
    )

    assert sorted(results) == [(item, item * 2) for item in range(100)]
    assert not token.cancelled


@pytest.mark.usefixtures("few_threads")
@pytest.mark.parametrize("few_threads", [0], indirect=True)
def test_without_a_thread_each_result_is_there_before_the_next_item_is_taken() -> None:
    """A stop then loses no work that is done: what came is published meanwhile."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(5):
            taken.append(item)
            yield item

    token = CancelToken()
    results = in_parallel(lambda item, _: item, items(), 16, token)
    found = [next(results), next(results)]

    assert (found, taken) == ([(0, 0), (1, 1)], [0, 1])
    token.cancel()
    with pytest.raises(Cancelled):
        list(results)
    assert taken == [0, 1, 2]


@pytest.mark.usefixtures("few_threads")
@pytest.mark.parametrize("few_threads", [0, 1, 2], indirect=True)
def test_calls_in_order_with_few_threads() -> None:
    """What no thread can do is done by the caller, in its place."""
    assert list(in_order(lambda item: item * 2, range(9), 4, CancelToken())) == [
        item * 2 for item in range(9)
    ]
    assert call_with_timeout(lambda: 5, 10) == 5
