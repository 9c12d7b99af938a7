"""Calls in threads of their own: many in order, or one with a timeout; none is left behind unless it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import Cancelled, RunTimedOut, StoreUnavailable
from s32s_agent.workers import BackgroundCall, call_with_timeout, in_order

TIMEOUT_SECONDS = 30


# --- in order ---


def finish(number: int) -> int:
    return number


def test_results_in_the_order_of_the_items() -> None:
    """A call that ends early waits for those before it."""
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(TIMEOUT_SECONDS)
        second.set()
        return number

    assert list(in_order(work, range(9), 3, CancelToken())) == list(range(9))


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_nothing_is_taken_before_the_result_so_many_places_before_it_was_dealt_with(
    ahead: int,
) -> None:
    """Memory is bounded by it, and so is what a killed download may have left out."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    for result in in_order(finish, items(), ahead, CancelToken()):
        assert len(taken) <= result + ahead


def test_a_call_that_fails_is_raised_in_the_place_of_its_result() -> None:
    """What came before it counts; what came after it does not."""
    found: list[float] = []

    with pytest.raises(ZeroDivisionError):
        found.extend(in_order(lambda number: 1 / number, [2, 1, 0, 4], 2, CancelToken()))

    assert found == [0.5, 1.0]


def end_early(results: Iterator[int]) -> None:
    next(results)
    results.close()  # type: ignore[attr-defined]


def fail_early(results: Iterator[int]) -> None:
    with pytest.raises(StoreUnavailable):
        list(results)


@pytest.mark.parametrize("end", [end_early, fail_early])
def test_after_an_early_end_no_call_is_running(end: Callable[[Iterator[int]], None]) -> None:
    """A file that is closed then is written to by nobody; calls that look at the token end at once."""
    token, running = CancelToken(), set[int]()

    def work(number: int) -> int:
        if number == 0:
            return number
        running.add(number)
        try:
            if number == 2 and end is fail_early:
                raise StoreUnavailable("the connection is gone")
            token.sleep(TIMEOUT_SECONDS if number > 2 or end is end_early else 0.2)
        finally:
            running.discard(number)
        return number

    started = time.monotonic()
    end(in_order(work, range(8), 4, token))

    assert running == set()
    assert time.monotonic() - started < TIMEOUT_SECONDS / 2


def test_items_that_break_are_no_early_end() -> None:
    """What the items raise, the iterator raises, and no call is left running."""
    token, running = CancelToken(), set[int]()

    def items() -> Iterator[int]:
        yield 0
        raise KeyError("broken")

    def work(number: int) -> None:
        running.add(number)
        try:
            token.sleep(TIMEOUT_SECONDS)
        finally:
            running.discard(number)

    with pytest.raises(KeyError, match="broken"):
        list(in_order(work, items(), 4, token))

    assert running == set()


# --- one call ---


def test_a_call_is_made_meanwhile() -> None:
    """The function runs at once, and its result or its exception waits for whoever asks."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert go_on.wait(TIMEOUT_SECONDS)
        return 7

    def fail() -> int:
        raise Cancelled("broken")

    call, failure = BackgroundCall(work), BackgroundCall(fail)
    assert begun.wait(TIMEOUT_SECONDS)
    go_on.set()

    assert (call.result(), call.result()) == (7, 7)
    with pytest.raises(Cancelled, match="broken"):
        failure.result()


def test_a_call_with_a_timeout_ends_early() -> None:
    """When the time is up, and when the work is cancelled; the result and what was raised come through."""
    hang, token = threading.Event(), CancelToken()
    with pytest.raises(TimeoutError, match=r"not finished within 0\.3 seconds"):
        call_with_timeout(lambda: hang.wait(60), 0.3, token)
    assert call_with_timeout(lambda: 5, 60, token) == 5
    assert call_with_timeout(lambda: 5, 60) == 5
    with pytest.raises(ZeroDivisionError):
        call_with_timeout(lambda: 1 // 0, 60, token)
    token.cancel(RunTimedOut("time is up"))
    with pytest.raises(RunTimedOut):
        call_with_timeout(lambda: hang.wait(60), 60, token)
    hang.set()


def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    """Its thread is a daemon: a system call that never returns cannot hold a run that has to end."""
    begun, hang = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return threading.current_thread().daemon and hang.wait(0.01)

    before = set(threading.enumerate())
    call = BackgroundCall(work)
    assert begun.wait(TIMEOUT_SECONDS)
    call.join()

    assert call.result() is False
    assert set(threading.enumerate()) <= before
