"""Do one thing to many items in threads, or one thing for a limited time, and stop soon when asked."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from s32s_agent.cancellation import CancelToken, _life, _Worker, show_life
from s32s_agent.errors import Cancelled, StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

IDLE_SECONDS = 0.25
INTERRUPTED_SECONDS = 5
"""How long an interrupted pass waits for its workers."""

_WAITING_SECONDS = 1.0
_BUSY = 0.75
"""The share of one processor from which on this process counts as busy."""


def _wall_and_processor() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


class Answer(Generic[R]):
    """What a function gives that runs in a thread of its own meanwhile.

    The thread is a daemon, so that one that hangs in a system call cannot keep an interrupted process alive.

    Args:
        function: called once, at once.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self._done = threading.Event()
        self._result: R | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=[function], daemon=True).start()

    def _run(self, function: Callable[[], R]) -> None:
        try:
            self._result = function()
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; tell whether it has come."""
        return self._done.wait(seconds)

    def result(self) -> R:
        """Wait for the result, or raise what the function raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return cast("R", self._result)


def in_background(function: Callable[[], R], cancel_token: CancelToken, seconds: float) -> R:
    """Call a function in a thread, so that waiting for it can end early; then the thread is left alone.

    Raises:
        Cancelled: the work was cancelled meanwhile.
        TimeoutError: it took longer than that.
    """
    answer = Answer(function)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        cancel_token.check()
        if answer.wait(min(left, IDLE_SECONDS)):
            cancel_token.check()
            return answer.result()
    raise TimeoutError


def patiently(
    acquire: Callable[..., bool], others_are_slow: Callable[[], bool] = lambda: True
) -> None:
    """Wait for a permit, showing life: it is others who are slow.

    Args:
        acquire: tries to take it, for at most `timeout` seconds.
        others_are_slow: False where the wait is for what the caller itself has under way, and life is not shown.
    """
    while not acquire(timeout=_WAITING_SECONDS):
        if others_are_slow():
            show_life()


def _none(_running: int) -> int:
    """Start no more threads."""
    return 0


class Spare:
    """Has threads added while this process leaves a processor idle, since then they wait for answers.

    Small objects over a network take a round trip each and hardly any work; on loopback the work is all there is, and
    more threads only get in each other's way.

    Args:
        most: how many threads there may be.
        clock: wall and processor time so far, in seconds.
    """

    def __init__(
        self, most: int, clock: Callable[[], tuple[float, float]] = _wall_and_processor
    ) -> None:
        self._most = most
        self._clock = clock
        self._since = clock()

    def __call__(self, running: int) -> int:
        """Say how many threads may be added to those that are running."""
        now, used = self._clock()
        elapsed = now - self._since[0]
        if elapsed < IDLE_SECONDS:
            return 0
        share = (used - self._since[1]) / elapsed
        self._since = now, used
        return min(running, self._most - running) if share < _BUSY else 0


def in_parallel(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    cancel_token: CancelToken,
    idle: Callable[[], None] | None = None,
    spare: Callable[[int], int] = _none,
) -> Generator[tuple[T, R | Exception], None, None]:
    """Apply a function to each item in threads and yield the results as they come, exceptions as values.

    The items are taken one at a time, by whichever thread is free; what taking them raises, the iterator raises.
    Closing the iterator early cancels the token, and waits for the workers. They are daemons, so that one that hangs in
    a system call cannot keep an interrupted process alive.

    Args:
        function: called in the threads. A cancellation that it raises is no value: it cancels the token.
        items: taken in the threads.
        workers: how many threads.
        cancel_token: ends the threads when it is cancelled.
        idle: called in the caller's thread, some times a second, while there is no result.
        spare: called in the caller's thread after each result with the number of threads, until one has ended; says
            how many more may start.

    Raises:
        Cancelled: the token was cancelled, and items may be left. What was done until then has been yielded.
        StoreUnavailable: a thread has shown no life for too long.
    """
    results = in_parallel_or_idle(function, items, workers, cancel_token, spare)
    with contextlib.closing(results):
        for result in results:
            if result is not None:
                yield result
            elif idle:
                idle()
    # Whoever reads to the end may rely on all of it.
    cancel_token.check()


def in_parallel_or_idle(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    cancel_token: CancelToken,
    spare: Callable[[int], int] = _none,
) -> Generator[tuple[T, R | Exception] | None, None, None]:
    """Do what `in_parallel` does, but yield None some times a second while there is no result, and end when cancelled.

    The caller checks the token after the last result.
    """
    pool = _Pool(function, items, cancel_token)
    threads: list[threading.Thread] = []

    def start(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=pool.work, daemon=True)
            thread.start()
            threads.append(thread)

    running = 0
    try:
        start(workers)
        running = workers
        while running:
            try:
                result = pool.next_result()
            except queue.Empty:
                yield None
                continue
            if result is None:
                running -= 1
                continue
            if running == len(threads) and (more := spare(running)):
                start(more)
                running += more
            yield result
    finally:
        interrupted = cancel_token.cancelled or pool.stalled
        if running:
            cancel_token.cancel()
        for thread in threads:
            thread.join(INTERRUPTED_SECONDS / len(threads) if interrupted else None)


class _Pool(Generic[T, R]):
    """What the threads share."""

    def __init__(
        self, function: Callable[[T], R], items: Iterable[T], cancel_token: CancelToken
    ) -> None:
        self._function = function
        self._items = iter(items)
        self._lock = threading.Lock()
        self._cancel_token = cancel_token
        self._workers: list[_Worker] = []
        self.stalled = False
        """A thread hangs; waiting for its end would hang too."""
        self._results: queue.SimpleQueue[tuple[T, R | Exception] | _Broken | None] = (
            queue.SimpleQueue()
        )

    def work(self) -> None:
        """Take items until there are none; then put None."""
        _life.worker = worker = _Worker()
        self._workers.append(worker)
        try:
            while not self._cancel_token.cancelled:
                with self._lock:
                    worker.seen, worker.busy = time.monotonic(), True
                    item = next(self._items)
                worker.seen = time.monotonic()
                result = self._try(item)
                worker.busy = False
                self._results.put((item, result))
        except StopIteration:
            pass
        except Cancelled as reason:
            self._cancel_token.cancel(reason)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            # A panic in obstore is no Exception; without a word the caller would wait for ever.
            self._results.put(_Broken(error))
        finally:
            worker.busy = False
            self._results.put(None)

    def _try(self, item: T) -> R | Exception:
        try:
            return self._function(item)
        except Exception as error:  # noqa: BLE001 (a value for the caller to judge)
            return error

    def next_result(self) -> tuple[T, R | Exception] | None:
        """Wait for a result; None when a thread has ended.

        Raises:
            queue.Empty: none came for some time.
        """
        try:
            result = self._results.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            self._see_life()
            raise
        if isinstance(result, _Broken):
            raise result.error
        return result

    def _see_life(self) -> None:
        """Show that whoever waits for these threads goes on, as long as they all do."""
        show_life()
        limit = self._cancel_token.stalled_seconds
        oldest = time.monotonic() - limit
        if any(worker.busy and worker.seen < oldest for worker in tuple(self._workers)):
            self.stalled = True
            raise StoreUnavailable(f"nothing came and nothing went for {limit:g} seconds")


@dataclass(frozen=True, slots=True)
class _Broken:
    """The items could not be taken."""

    error: BaseException


def within(seconds: float, function: Callable[[], R]) -> R:
    """Call a function in a thread, and leave it behind when the time is up; what it raises is raised here.

    Raises:
        TimeoutError: the time is up.
    """
    answer = Answer(function)
    if not answer.wait(seconds):
        raise TimeoutError(f"no end after {seconds:g} seconds")
    return answer.result()
