"""TODO."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from s32s_agent.errors import Stopped

STALLED_SECONDS = 1800.0
"""How long a worker may show no life. Eight MiB, the most that goes in one request, pass at 5 kB a second meanwhile."""


def nothing() -> None:
    """Do nothing, where a callback is wanted and nobody listens."""


class Stop:
    """Asks workers to end soon; thread-safe.

    Args:
        parent: whoever asks the parent asks this one too.
        stalled_seconds: how long a worker may show no life; as for the parent, where there is one.
    """

    def __init__(
        self, parent: Stop | None = None, stalled_seconds: float = STALLED_SECONDS
    ) -> None:
        self._event = threading.Event()
        self._parent = parent
        self.stalled_seconds: float = parent.stalled_seconds if parent else stalled_seconds
        self._reason: Stopped | None = None

    def set(self, reason: Stopped | None = None) -> None:
        """Ask; the first reason is the one that `check` raises."""
        self._reason = self._reason or reason
        self._event.set()

    def reason(self) -> Stopped:
        """Give the reason why somebody asked."""
        if self._reason is None and self._parent is not None:
            return self._parent.reason()
        return self._reason or Stopped("the pass is ending")

    def asked(self) -> bool:
        """Tell whether somebody asked."""
        return self._event.is_set() or (self._parent is not None and self._parent.asked())

    def check(self) -> None:
        """Raise the reason, a `Stopped`, when asked; and show that the caller's thread goes on."""
        show_life()
        if self.asked():
            raise self.reason()

    def sleep(self, seconds: float) -> None:
        """Sleep in small pieces.

        Raises:
            Stopped: somebody asked meanwhile.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.2))


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
