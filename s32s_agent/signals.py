"""Turn what ends a run from outside, signals and the deadline, into exceptions."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from s32s_agent.errors import Cancelled, Interrupted, RunTimedOut


class Signals:
    """Raise `Interrupted` in the main thread for the first SIGINT or SIGTERM; a second one ends the process.

    Args:
        first: called with the exception before it is raised: it may be raised where Python lets none out, and the
            workers do not see it.
        last: called before the process ends itself.
    """

    def __init__(self, first: Callable[[Cancelled], None], last: Callable[[], None]) -> None:
        self._first = first
        self._last = last
        self._received = False
        self._resting = False

    def install(self) -> None:
        """Handle the signals from here on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        sys.unraisablehook = _unraisable

    def rest(self) -> None:
        """Stop raising: what is left to do is short, and the exit status is settled."""
        self._resting = True

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received:
            self._last()
            os._exit(128 + number)
        self._received = True
        reason = Interrupted(number)
        self._first(reason)
        if not self._resting:
            raise reason


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """Hide a cancellation where nothing can be raised, as in a callback of `weakref`: `first` has it already."""
    if not isinstance(found.exc_value, Cancelled):
        sys.__unraisablehook__(found)


@contextlib.contextmanager
def unmasked() -> Iterator[None]:
    """Raise the cancellation again where a library made an error of it: one that fails while it cleans up, for one."""
    try:
        yield
    except Exception as error:
        cancellation = _cancellation_behind(error)
        if cancellation is None:
            raise
        raise cancellation from None


def _cancellation_behind(error: BaseException) -> Cancelled | None:
    """Return the first cancellation that was being handled when an error was raised; the chain never is a circle."""
    each: BaseException | None = error
    while each is not None and not isinstance(each, Cancelled):
        each = each.__context__
    return each


@contextlib.contextmanager
def deadline(seconds: float | None, first: Callable[[Cancelled], None]) -> Iterator[None]:
    """Raise `RunTimedOut` in the main thread after some seconds; None is no limit."""

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        reason = RunTimedOut(f"sync.run_timeout of {seconds:g} seconds is up")
        first(reason)
        raise reason

    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
