"""Cancel work that runs in several threads, and tell a worker that is slow from one that hangs.

Both are cooperative: whoever works calls `CancelToken.check` and `Heartbeat.beat` between two steps. It starts no
threads; `workers` does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from s32s_agent.errors import Cancelled

STALLED_SECONDS = 1800.0
"""How long a heartbeat may be silent. Eight MiB, the most that goes in one request, take as long at 5 kB a second."""

_SLEEP_SECONDS = 0.2
"""How long a sleeper takes at most to notice a cancellation."""
_WAITING_SECONDS = 1.0
"""Between two beats of a worker that waits for a permit."""


class CancelToken:
    """Ask workers to end soon; thread-safe.

    Args:
        parent: cancelling the parent cancels this token too, not the other way round.
        stalled_seconds: how long the heartbeat of a worker under this token may be silent; the parent's, where there
            is one.
    """

    def __init__(
        self, parent: CancelToken | None = None, stalled_seconds: float = STALLED_SECONDS
    ) -> None:
        self._event = threading.Event()
        self._parent = parent
        self.stalled_seconds: float = parent.stalled_seconds if parent else stalled_seconds
        self._reason: Cancelled | None = None

    def cancel(self, reason: Cancelled | None = None) -> None:
        """Cancel the work; the first reason stays."""
        self._reason = self._reason or reason
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether this token or one above it was cancelled."""
        return self._event.is_set() or (self._parent is not None and self._parent.cancelled)

    @property
    def reason(self) -> Cancelled:
        """What `check` raises."""
        if self._reason is None and self._parent is not None:
            return self._parent.reason
        return self._reason or Cancelled("the run is ending")

    def check(self) -> None:
        """Raise the reason, a `Cancelled`, once the work is cancelled."""
        if self.cancelled:
            raise self.reason

    def sleep(self, seconds: float, heartbeat: Heartbeat | None = None) -> None:
        """Sleep, in small pieces.

        Args:
            seconds: how long.
            heartbeat: beats meanwhile.

        Raises:
            Cancelled: the work was cancelled meanwhile.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            if heartbeat is not None:
                heartbeat.beat()
            time.sleep(min(left, _SLEEP_SECONDS))


class Permits(Protocol):
    """A semaphore."""

    def acquire(self, *, timeout: float) -> bool:
        """Take a permit, or return False when there is none for so many seconds."""


class Heartbeat:
    """Show that the work on one item is alive; thread-safe, since all threads that work for the item share it.

    Bytes that move make it beat, and so does a wait for a permit that others hold. What hangs is silent.
    """

    __slots__ = ("_helpers", "_last", "_lock")

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._helpers = 0

    def beat(self) -> None:
        """Show that the work gets ahead."""
        self._last = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long ago it beat last."""
        return time.monotonic() - self._last

    @contextlib.contextmanager
    def helped(self) -> Iterator[None]:
        """Count the caller as a helper of the item while the context lasts: it may hang."""
        with self._lock:
            self._helpers += 1
        try:
            yield
        finally:
            with self._lock:
                self._helpers -= 1
            self.beat()

    def acquire(self, permits: Permits) -> None:
        """Wait for a permit, however long: others have them, and their own heartbeats show whether they hang.

        It does not beat while the item has helpers: they may be the ones that hang.
        """
        while not permits.acquire(timeout=_WAITING_SECONDS):
            if not self._helpers:
                self.beat()


UNWATCHED = Heartbeat()
"""For work outside a pool, whose caller waits however long it takes."""
