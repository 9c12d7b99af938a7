"""Run functions in threads: many items in parallel, items in order, or one call with a timeout.

Every thread is a daemon, so that one that hangs in a system call cannot keep a cancelled process alive. Threads return
values; whatever they raise is raised, or returned as a value, in the thread that asked for the result.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, cast

from s32s_agent import signals
from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.errors import Cancelled, StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

IDLE_SECONDS = 0.25
"""How long the caller's thread waits for a result before it looks at the clock, the heartbeats and the cancel token."""
CANCELLED_SECONDS = 5
"""How long a cancelled run waits for its workers, all of them together."""

_BUSY = 0.75
"""The share of one processor from which on this process counts as busy."""


class BackgroundCall(Generic[R]):
    """One call of a function in a thread of its own, made at once.

    Nobody has to wait for it: a call that is dropped runs to its end, and its result is lost. Where the system starts
    no more threads (TasksMax=, pids.max, RLIMIT_NPROC), the call is made here, before the constructor returns.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self._done = threading.Event()
        self._result: R | None = None
        self._error: BaseException | None = None
        self._thread = _started(partial(self._run, function))
        if self._thread is None:
            self._run(function)

    def _run(self, function: Callable[[], R]) -> None:
        try:
            self._result = function()
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; return whether it has come."""
        return self._done.wait(seconds)

    def join(self, seconds: float | None = None) -> None:
        """Wait until the thread is gone, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def result(self) -> R:
        """Wait for the result and return it, or raise what the function raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return cast("R", self._result)


def _started(function: Callable[[], None]) -> threading.Thread | None:
    """Start a thread; None where the system starts no more."""
    with signals.held_back() as allow:

        def run() -> None:
            allow()
            function()

        thread = threading.Thread(target=run, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread


def call_with_timeout(
    function: Callable[[], R], seconds: float, cancel_token: CancelToken | None = None
) -> R:
    """Call a function in the background, and leave it behind when it takes too long.

    Args:
        function: what it returns or raises, this returns or raises.
        seconds: how long it may take.
        cancel_token: ends the wait too.

    Raises:
        Cancelled: the work was cancelled meanwhile.
        TimeoutError: the function took longer than that.
    """
    token = cancel_token or CancelToken()
    call = BackgroundCall(function)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        token.check()
        if call.wait(min(left, IDLE_SECONDS)):
            token.check()
            return call.result()
    raise TimeoutError(f"not finished within {seconds:g} seconds")


def in_order(
    function: Callable[[T], R], items: Iterable[T], ahead: int, cancel_token: CancelToken
) -> Generator[R, None, None]:
    """Call a function with each item, some at a time, and yield the results in the order of the items.

    Items are taken in the caller's thread, and none is taken before the caller has come back from the result that is
    `ahead` places before it. What a call raises is raised in the place of its result. When the iterator has ended,
    raised or was closed, no call is running any more.

    Args:
        function: called in threads.
        items: what it is called with.
        ahead: how many calls may be running, or wait with their results.
        cancel_token: of these calls alone; cancelled when the iterator ends early.
    """
    calls: deque[BackgroundCall[R]] = deque()
    try:
        for item in items:
            calls.append(BackgroundCall(partial(function, item)))
            if len(calls) == ahead:
                yield calls[0].result()
                calls.popleft()
        while calls:
            yield calls[0].result()
            calls.popleft()
    finally:
        if calls:
            cancel_token.cancel()
        for call in calls:
            call.join()


def _never(_running: int) -> int:
    """Start no more threads."""
    return 0


def in_parallel(
    function: Callable[[T, Heartbeat], R],
    items: Iterable[T],
    workers: int,
    cancel_token: CancelToken,
    idle: Callable[[], None] | None = None,
    grow: Callable[[int], int] = _never,
) -> Generator[tuple[T, R | Exception], None, None]:
    """Call a function with each item in threads; yield the results as they come, exceptions as values.

    Items are taken one at a time, by whichever thread is free; what taking them raises, the iterator raises. Closing
    the iterator early cancels the token, and waits for the workers.

    Args:
        function: called in the threads with an item and a heartbeat, which must beat as long as the work gets ahead. A
            cancellation that the function raises is no value: it cancels the token.
        items: taken in the threads.
        workers: how many threads; no more than items, where these have a length.
        cancel_token: ends the threads when it is cancelled.
        idle: called in the caller's thread, some times a second, while there is no result.
        grow: called in the caller's thread after each result with the number of threads, until one has ended; returns
            how many more to start.

    Raises:
        Cancelled: the token was cancelled, and items may be left. What was done until then has been yielded.
        StoreUnavailable: a heartbeat was silent for too long.
    """
    results = in_parallel_or_idle(function, items, workers, cancel_token, grow)
    with contextlib.closing(results):
        for result in results:
            if result is not None:
                yield result
            elif idle:
                idle()
    # Whoever reads to the end may rely on all of it.
    cancel_token.check()


def in_parallel_or_idle(
    function: Callable[[T, Heartbeat], R],
    items: Iterable[T],
    workers: int,
    cancel_token: CancelToken,
    grow: Callable[[int], int] = _never,
) -> Generator[tuple[T, R | Exception] | None, None, None]:
    """Do what `in_parallel` does, but yield None some times a second while there is no result, and end when cancelled.

    The caller checks the token after the last result.
    """
    pool = _Pool(function, items, cancel_token)
    threads: list[threading.Thread] = []

    def start(count: int) -> int:
        """Start so many threads, or as many as there can be; return how many."""
        found = [thread for _ in range(count) if (thread := _started(pool.work))]
        threads.extend(found)
        return len(found)

    running, finished = 0, False
    try:
        running = start(min(workers, len(items)) if isinstance(items, Sized) else workers)
        if not running:
            yield from pool.work_here()
        while running:
            try:
                result = pool.next_result()
            except queue.Empty:
                yield None
                continue
            if result is None:
                running -= 1
                continue
            if running == len(threads):
                running += start(grow(running))
            yield result
        finished = True
    finally:
        abandoned = cancel_token.cancelled or pool.stalled
        if not finished:
            cancel_token.cancel()
        for thread in threads:
            thread.join(CANCELLED_SECONDS / len(threads) if abandoned else None)


class _Pool(Generic[T, R]):
    """What the threads of `in_parallel` share."""

    def __init__(
        self,
        function: Callable[[T, Heartbeat], R],
        items: Iterable[T],
        cancel_token: CancelToken,
    ) -> None:
        self._function = function
        self._items = iter(items)
        self._taking = threading.Lock()
        self._cancel_token = cancel_token
        self._workers: list[_Worker] = []
        self.stalled = False
        """A worker hangs; waiting for its end would hang too."""
        self._results: queue.SimpleQueue[tuple[T, R | Exception] | _Broken | None] = (
            queue.SimpleQueue()
        )

    def work(self) -> None:
        """Take items until there are none; then put None."""
        worker = _Worker()
        self._workers.append(worker)
        try:
            while not self._cancel_token.cancelled:
                with self._taking:
                    heartbeat = worker.heartbeat = Heartbeat()
                    item = next(self._items)
                heartbeat.beat()
                result = self._try(item, heartbeat)
                worker.heartbeat = None
                self._results.put((item, result))
        except StopIteration:
            pass
        except Cancelled as reason:
            self._cancel_token.cancel(reason)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            # A panic in a library of another language is no Exception; without a result the caller would wait for ever.
            self._results.put(_Broken(error))
        finally:
            worker.heartbeat = None
            self._results.put(None)

    def work_here(self) -> Iterator[tuple[T, R | Exception]]:
        """Take items in the caller's thread, where the system starts no other; yield each result when it is there."""
        for item in self._items:
            if self._cancel_token.cancelled:
                return
            yield item, self._try(item, Heartbeat())

    def _try(self, item: T, heartbeat: Heartbeat) -> R | Exception:
        try:
            return self._function(item, heartbeat)
        except Exception as error:  # noqa: BLE001 (a value for the caller to judge)
            return error

    def next_result(self) -> tuple[T, R | Exception] | None:
        """Wait for a result; return None when a thread has ended.

        Raises:
            queue.Empty: none came for some time.
            StoreUnavailable: nor did a worker's heart beat.
        """
        try:
            result = self._results.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            self._check_heartbeats()
            raise
        if isinstance(result, _Broken):
            raise result.error
        return result

    def _check_heartbeats(self) -> None:
        limit = self._cancel_token.stalled_seconds
        heartbeats = (worker.heartbeat for worker in tuple(self._workers))
        if any(each is not None and each.silent_seconds > limit for each in heartbeats):
            self.stalled = True
            raise StoreUnavailable(f"no data was transferred for {limit:g} seconds")


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread of a pool."""

    heartbeat: Heartbeat | None = None
    """Of the item that it has or takes; None while it waits for its turn."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """The items could not be taken, or a thread broke down."""

    error: BaseException


def _wall_and_processor() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


class Growth:
    """Start more threads while this process leaves a processor idle, since then they wait for answers.

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
        """Return how many threads to add to those that are running."""
        now, used = self._clock()
        elapsed = now - self._since[0]
        if elapsed < IDLE_SECONDS:
            return 0
        share = (used - self._since[1]) / elapsed
        self._since = now, used
        return min(running, self._most - running) if share < _BUSY else 0
