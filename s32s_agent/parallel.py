"""Do one thing to many items in threads, and stop soon when asked."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from s32s_agent.errors import Stopped

T = TypeVar("T")
R = TypeVar("R")

INTERRUPTED_SECONDS = 5
"""How long an interrupted pass waits for its workers."""


class Stop:
    """Asks workers to end soon; thread-safe.

    Args:
        parent: whoever asks the parent asks this one too.
    """

    def __init__(self, parent: Stop | None = None) -> None:
        self._event = threading.Event()
        self._parent = parent

    def set(self) -> None:
        """Ask."""
        self._event.set()

    def asked(self) -> bool:
        """Tell whether somebody asked."""
        return self._event.is_set() or (self._parent is not None and self._parent.asked())

    def check(self) -> None:
        """Raise `Stopped` when asked."""
        if self.asked():
            raise Stopped("the pass is ending")

    def sleep(self, seconds: float) -> None:
        """Sleep in small pieces.

        Raises:
            Stopped: somebody asked meanwhile.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.2))


def in_parallel(
    function: Callable[[T], R], items: Iterable[T], workers: int, stop: Stop
) -> Generator[tuple[T, R | Exception], None, None]:
    """Apply a function to each item in threads and yield the results as they come, exceptions as values.

    The items are taken one at a time, by whichever thread is free; what taking them raises, the iterator raises.
    Closing the iterator early asks the workers to stop, and waits for them. They are daemons, so that one that
    hangs in a system call cannot keep an interrupted process alive.
    """
    results: queue.SimpleQueue[tuple[T, R | Exception] | Exception | None] = (
        queue.SimpleQueue()
    )
    source, lock = iter(items), threading.Lock()

    def work() -> None:
        while not stop.asked():
            with lock:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 (raised again by the caller's thread)
                    results.put(error)
                    break
            try:
                results.put((item, function(item)))
            except Exception as error:  # noqa: BLE001 (a value for the caller to judge)
                results.put((item, error))
        results.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, Exception):
                raise result
            else:
                yield result
    finally:
        interrupted = stop.asked()
        if running:
            stop.set()
        for thread in threads:
            thread.join(INTERRUPTED_SECONDS / workers if interrupted else None)
