"""Threads that take from one iterator: every item once, and a soon end when somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from s32s_agent.errors import Interrupted, Stopped, StoreUnavailable, TimeIsUp
from s32s_agent.parallel import Stop, in_background, in_parallel


def test_every_item_once() -> None:
    """Each result comes with its item, in whatever order."""
    found = dict(in_parallel(lambda number: number * 2, range(500), 8, Stop()))

    assert found == {number: number * 2 for number in range(500)}


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_no_items(workers: int) -> None:
    """Nothing to do ends at once, also for nobody."""
    nothing: list[int] = []

    assert list(in_parallel(str, nothing, workers, Stop())) == []


def test_an_exception_is_a_value() -> None:
    """What fails for one item does not touch the others."""

    def halve(number: int) -> float:
        return 1 / number

    found = dict(in_parallel(halve, [0, 1, 2], 2, Stop()))

    assert (found[1], found[2]) == (1.0, 0.5)
    assert isinstance(found[0], ZeroDivisionError)


def test_what_the_items_raise_the_iterator_raises() -> None:
    """A source that breaks in the middle is no early end."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise Stopped("broken")

    with pytest.raises(Stopped, match="broken"):
        list(in_parallel(str, items(), 3, Stop()))


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

    assert len(list(in_parallel(str, items(), 8, Stop()))) == 200


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

    results = in_parallel(work, items(), 4, Stop())
    next(results)
    results.close()

    assert running == set()
    assert len(taken) < 100


def test_a_stop_ends_soon_though_a_worker_hangs() -> None:
    """A worker that hangs in a system call is not waited for longer than was agreed."""
    stop, hang = Stop(), threading.Event()
    results = in_parallel(lambda _: hang.wait(60), range(8), 8, stop)
    threading.Timer(0.2, stop.set).start()
    threading.Timer(0.3, hang.set).start()
    started = time.monotonic()
    list(results)

    assert time.monotonic() - started < 10


def test_stop() -> None:
    """Whoever asks the parent asks the child, not the other way round."""
    parent = Stop()
    child = Stop(parent)
    child.set()
    asked = parent.asked(), child.asked()
    other = Stop(parent)
    parent.set()

    assert (asked, other.asked()) == ((False, True), True)
    with pytest.raises(Stopped):
        other.check()
    with pytest.raises(Stopped):
        other.sleep(60)


def test_sleep() -> None:
    """Undisturbed, it sleeps for as long as was said."""
    started = time.monotonic()
    Stop().sleep(0.25)

    assert 0.25 <= time.monotonic() - started < 5


class _Panic(BaseException):
    """What a panic in a library of another language is."""


def test_a_panic_in_a_worker_does_not_hang_the_pass() -> None:
    """What is no Exception reaches the caller too, and every thread ends."""

    def panic(_item: int) -> int:
        raise _Panic

    with pytest.raises(_Panic):
        list(in_parallel(panic, range(4), 2, Stop()))


def test_the_first_reason_is_the_one_that_is_raised() -> None:
    """Whoever stops last does not change why the pass ends, also when a library swallowed the exception."""
    stop = Stop()
    stop.set(Interrupted(15))
    stop.set(TimeIsUp("late"))

    with pytest.raises(Interrupted):
        Stop(stop).check()


def test_a_worker_that_hangs_does_not_hold_the_pass_for_ever() -> None:
    """A thread that shows no life for too long ends the work, whatever it hangs in."""
    hang = threading.Event()
    impatient = Stop(Stop(stalled_seconds=0.3))

    results = in_parallel(lambda _number: hang.wait(60), [1, 2], 2, impatient)

    with pytest.raises(
        StoreUnavailable, match=r"nothing came and nothing went for 0\.3 seconds"
    ):
        next(results)
    hang.set()


def test_slow_work_that_goes_on_is_not_ended() -> None:
    """Who shows life may take longer than the limit, and who waits for his own workers shows it with them."""
    impatient = Stop(stalled_seconds=2)

    def inner(_number: int) -> None:
        for _ in range(30):
            time.sleep(0.1)
            impatient.check()

    def outer(number: int) -> int:
        return len(list(in_parallel(inner, [1], 1, Stop(impatient)))) + number

    assert list(in_parallel(outer, [1], 1, impatient)) == [(1, 2)]


def test_waiting_in_the_background_ends_early() -> None:
    """When somebody asks, and when the time is up; the result and what was raised come through."""
    hang, stop = threading.Event(), Stop()
    with pytest.raises(TimeoutError):
        in_background(lambda: hang.wait(60), stop, 0.3)
    assert in_background(lambda: 5, stop, 60) == 5
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0, stop, 60)
    stop.set(TimeIsUp("time is up"))
    with pytest.raises(TimeIsUp):
        in_background(lambda: hang.wait(60), stop, 60)
    hang.set()
