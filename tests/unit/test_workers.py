"""Threads that take from one iterator: every item once, and a soon end when somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from s32s_agent.cancellation import CancelToken, shown_for_caller
from s32s_agent.errors import Cancelled, Interrupted, RunTimedOut, StoreUnavailable
from s32s_agent.workers import Answer, Spare, in_background, in_parallel


def test_every_item_once() -> None:
    """Each result comes with its item, in whatever order."""
    found = dict(in_parallel(lambda number: number * 2, range(500), 8, CancelToken()))

    assert found == {number: number * 2 for number in range(500)}


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_no_items(workers: int) -> None:
    """Nothing to do ends at once, also for nobody."""
    nothing: list[int] = []

    assert list(in_parallel(str, nothing, workers, CancelToken())) == []


def test_an_exception_is_a_value() -> None:
    """What fails for one item does not touch the others."""

    def halve(number: int) -> float:
        return 1 / number

    found = dict(in_parallel(halve, [0, 1, 2], 2, CancelToken()))

    assert (found[1], found[2]) == (1.0, 0.5)
    assert isinstance(found[0], ZeroDivisionError)


def test_what_the_items_raise_the_iterator_raises() -> None:
    """A source that breaks in the middle is no early end."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise Cancelled("broken")

    with pytest.raises(Cancelled, match="broken"):
        list(in_parallel(str, items(), 3, CancelToken()))


def test_items_are_taken_by_one_thread_at_a_time() -> None:
    """A generator may be used, which refuses to be entered twice; and nothing is taken ahead of the workers."""
    taken = threading.Semaphore(0)
    inside = threading.Lock()

    def items() -> Iterator[int]:
        for number in range(200):
            assert inside.acquire(blocking=False)
            time.sleep(0)
            inside.release()
            taken.release()
            yield number

    assert len(list(in_parallel(str, items(), 8, CancelToken()))) == 200


def test_items_that_never_come_are_noticed() -> None:
    """A disk that hangs while a part is read from it ends what waits for the part, too."""
    token = CancelToken(stalled_seconds=0.5)

    def items() -> Iterator[int]:
        yield 1
        while not token.cancelled:
            time.sleep(0.05)

    given_up = threading.Timer(20, token.cancel)
    given_up.start()
    try:
        with pytest.raises(StoreUnavailable, match="nothing came"):
            list(in_parallel(str, items(), 2, token))
    finally:
        given_up.cancel()


def test_whoever_has_ended_is_not_taken_for_stalled() -> None:
    """One long item, and threads that found none: they have nothing to show life for."""
    token = CancelToken(stalled_seconds=2)

    def take_long(_: int) -> None:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            token.check()
            time.sleep(0.05)

    assert list(in_parallel(take_long, [1], 4, token)) == [(1, None)]


def test_closing_early_waits_for_the_workers() -> None:
    """After the iterator is closed no function runs any more, and the rest of the items is not taken."""
    running: set[int] = set()
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    def work(number: int) -> None:
        running.add(number)
        time.sleep(0.01)
        running.discard(number)

    results = in_parallel(work, items(), 4, CancelToken())
    next(results)
    results.close()

    assert running == set()
    assert len(taken) < 5_000


def test_a_stop_ends_soon_though_a_worker_hangs() -> None:
    """A worker that hangs in a system call is not waited for longer than was agreed."""
    token, hang = CancelToken(), threading.Event()
    results = in_parallel(lambda _: hang.wait(60), range(8), 8, token)
    threading.Timer(0.2, token.cancel).start()
    threading.Timer(0.3, hang.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        list(results)

    assert time.monotonic() - started < 10


def test_work_that_was_cancelled_is_not_taken_for_complete() -> None:
    """Whoever reads the results to their end has all of them: part of an upload must not be completed as a whole."""
    token, found = CancelToken(), list[int]()

    def work(number: int) -> int:
        if number == 3:
            token.cancel(Interrupted(15))
        return number

    with pytest.raises(Interrupted):
        found.extend(number for number, _ in in_parallel(work, range(10), 1, token))

    assert found == [0, 1, 2, 3]


def test_a_cancellation_in_a_worker_is_no_failure_of_its_item() -> None:
    """It reaches the caller as what it is, after the results that are there, and ends the other workers."""
    token, found = CancelToken(), list[object]()

    def work(number: int) -> int:
        if number == 3:
            raise Interrupted(15)
        return number

    with pytest.raises(Interrupted):
        found.extend(result for _, result in in_parallel(work, range(1000), 1, token))

    assert found == [0, 1, 2]
    assert token.cancelled


def test_cancelling_the_parent_cancels_the_child() -> None:
    """Not the other way round."""
    parent = CancelToken()
    child = CancelToken(parent)
    child.cancel()
    asked = parent.cancelled, child.cancelled
    other = CancelToken(parent)
    parent.cancel()

    assert (asked, other.cancelled) == ((False, True), True)
    with pytest.raises(Cancelled):
        other.check()
    with pytest.raises(Cancelled):
        other.sleep(60)


def test_sleep() -> None:
    """Undisturbed, it sleeps for as long as was said."""
    started = time.monotonic()
    CancelToken().sleep(0.25)

    assert 0.25 <= time.monotonic() - started < 5


class _Panic(BaseException):
    """What a panic in a library of another language is."""


def test_a_panic_in_a_worker_does_not_hang_the_pass() -> None:
    """What is no Exception reaches the caller too, and every thread ends."""

    def panic(_item: int) -> int:
        raise _Panic

    with pytest.raises(_Panic):
        list(in_parallel(panic, range(4), 2, CancelToken()))


def test_the_first_reason_is_the_one_that_is_raised() -> None:
    """Whoever stops last does not change why the pass ends, also when a library swallowed the exception."""
    token = CancelToken()
    token.cancel(Interrupted(15))
    token.cancel(RunTimedOut("late"))

    with pytest.raises(Interrupted):
        CancelToken(token).check()


def test_threads_are_added_while_there_is_room_for_more() -> None:
    """Two workers become six: only then can six items be under way at once."""
    together = threading.Barrier(6)

    def work(number: int) -> None:
        if number >= 2:
            together.wait(30)

    found = list(
        in_parallel(
            work, range(2 + 6 * 3), 2, CancelToken(), spare=lambda running: 6 - running
        )
    )

    assert [error for _, error in found if error is not None] == []


def test_no_thread_is_added_when_there_is_nothing_left() -> None:
    """Once a thread has found no more items, another would find none either."""
    asked: list[int] = []

    def spare(running: int) -> int:
        asked.append(running)
        return 1

    list(in_parallel(str, range(3), 1, CancelToken(), spare=spare))

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
def test_spare(used: float, running: int, expected: int) -> None:
    """Threads are doubled while the process leaves a processor idle, up to the most that there may be."""
    times = iter([(5.0, 1.0), (6.0, 1.0 + used)])

    assert Spare(128, lambda: next(times))(running) == expected


def test_spare_looks_only_now_and_then() -> None:
    """Between two looks some time must pass, or the share would be chance."""
    times = iter([(5.0, 1.0), (5.1, 1.0), (5.2, 1.0), (5.3, 1.0)])
    spare = Spare(128, lambda: next(times))

    assert [spare(1), spare(1), spare(1)] == [0, 0, 1]


def test_an_answer_is_made_meanwhile() -> None:
    """The function runs at once, and its result or its exception waits for whoever asks."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert go_on.wait(30)
        return 7

    def fail() -> int:
        raise Cancelled("broken")

    answer, failure = Answer(work), Answer(fail)
    assert begun.wait(30)
    go_on.set()

    assert (answer.result(), answer.result()) == (7, 7)
    with pytest.raises(Cancelled, match="broken"):
        failure.result()


def test_a_worker_that_hangs_does_not_hold_the_pass_for_ever() -> None:
    """A thread that shows no life for too long ends the work, whatever it hangs in."""
    hang = threading.Event()
    token = CancelToken(CancelToken(stalled_seconds=0.3))

    results = in_parallel(lambda _number: hang.wait(60), [1, 2], 2, token)

    with pytest.raises(
        StoreUnavailable, match=r"nothing came and nothing went for 0\.3 seconds"
    ):
        next(results)
    hang.set()


def test_slow_work_that_goes_on_is_not_ended() -> None:
    """Who shows life may take longer than the limit, and who waits for his own workers shows it with them."""
    token = CancelToken(stalled_seconds=2)

    def inner(_number: int) -> None:
        for _ in range(30):
            time.sleep(0.1)
            token.check()

    def outer(number: int) -> int:
        return len(list(in_parallel(inner, [1], 1, CancelToken(token)))) + number

    assert list(in_parallel(outer, [1], 1, token)) == [(1, 2)]


def test_waiting_in_the_background_ends_early() -> None:
    """When somebody asks, and when the time is up; the result and what was raised come through."""
    hang, token = threading.Event(), CancelToken()
    with pytest.raises(TimeoutError):
        in_background(lambda: hang.wait(60), token, 0.3)
    assert in_background(lambda: 5, token, 60) == 5
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0, token, 60)
    token.cancel(RunTimedOut("time is up"))
    with pytest.raises(RunTimedOut):
        in_background(lambda: hang.wait(60), token, 60)
    hang.set()


def test_a_helper_shows_life_for_its_worker() -> None:
    """A worker that waits for its own threads is not taken for one that hangs, as long as they go on."""
    token = CancelToken(stalled_seconds=1)

    def outer(number: int) -> int:
        adopt = shown_for_caller()

        def help_out() -> None:
            adopt()
            for _ in range(20):
                time.sleep(0.1)
                token.check()

        helper = threading.Thread(target=help_out)
        helper.start()
        helper.join()
        return number

    assert list(in_parallel(outer, [1], 1, token)) == [(1, 1)]
