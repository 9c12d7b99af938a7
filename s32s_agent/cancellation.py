"""Cancel work that runs in several threads, and see whether a worker is still alive.

Cancellation is cooperative: whoever works calls `CancelToken.check` between two steps. It knows nothing of threads
beyond that; `workers` starts and joins them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from s32s_agent.errors import Cancelled

STALLED_SECONDS = 1800.0
"""How long a worker may show no life. Eight MiB, the most that goes in one request, pass at 5 kB a second meanwhile."""

_SLEEP_SECONDS = 0.2
"""How long a sleeper takes at most to notice a cancellation."""


class CancelToken:
    """Ask workers to end soon; thread-safe.

    Args:
        parent: cancelling the parent cancels this token too, not the other way round.
        stalled_seconds: how long a worker may show no life; the parent's, where there is one.
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
        """Raise the reason, a `Cancelled`, once the work is cancelled; and show that the caller's thread is alive."""
        show_life()
        if self.cancelled:
            raise self.reason

    def sleep(self, seconds: float) -> None:
        """Sleep, in small pieces.

        Raises:
            Cancelled: the work was cancelled meanwhile.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _SLEEP_SECONDS))


class _Life(threading.local):
    """When this thread last showed that it goes on; every thread has its own."""

    worker: _Worker | None = None


_life = _Life()


def show_life() -> None:
    """Show that the caller's thread goes on; whoever waits for it then waits longer."""
    if _life.worker is not None:
        _life.worker.seen = time.monotonic()


def shown_for_caller() -> Callable[[], None]:
    """Give what a helping thread calls first, so that the life it shows counts as the caller's."""
    worker = _life.worker

    def adopt() -> None:
        _life.worker = worker

    return adopt


@dataclass(slots=True, eq=False)
class _Worker:
    """What a thread shows of itself."""

    seen: float = 0.0
    """When it last showed life."""
    busy: bool = False
    """It has an item, or takes one; one that waits for its turn need not show life."""
