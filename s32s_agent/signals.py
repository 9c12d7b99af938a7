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

_RAISING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)
]
"""Those whose handlers raise."""


class Signals:
    """Raise `Interrupted` in the main thread for the first SIGINT or SIGTERM; a second one ends the process.

    Args:
        on_first: called with the exception before it is raised, since the workers do not see what is raised, and
            Python may have to drop it.
        on_second: called before the process ends.
    """

    def __init__(
        self, on_first: Callable[[Cancelled], None], on_second: Callable[[], None]
    ) -> None:
        self._on_first = on_first
        self._on_second = on_second
        self._received = False
        self._raises = True

    def install(self) -> None:
        """Handle the signals from here on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        sys.unraisablehook = _unraisable

    def stop_raising(self) -> None:
        """Only note a first signal from here on: what is left to do is short, and the exit status is settled."""
        self._raises = False

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received:
            self._on_second()
            os._exit(128 + number)
        self._received = True
        reason = Interrupted(number)
        self._on_first(reason)
        if self._raises:
            raise reason


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """Hide a cancellation that Python had to drop, as in a callback of `weakref`: `on_first` has it already."""
    if not isinstance(found.exc_value, Cancelled):
        sys.__unraisablehook__(found)


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold signals back while a thread is started; yield what allows them again in the new thread.

    What is raised while `threading` starts a thread leaves its table of threads half written, and the new thread ends
    with a traceback of its own (KeyError, seen with Python 3.11.2). The new thread, and what it executes, would inherit
    the signals that are held back.
    """
    if sys.platform == "win32":
        yield lambda: None
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RAISING)

    def allow() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield allow
    finally:
        allow()


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
def deadline(seconds: float | None, on_expiry: Callable[[Cancelled], None]) -> Iterator[None]:
    """Raise `RunTimedOut` in the main thread after some seconds; None is no limit.

    Args:
        seconds: how long the context may last.
        on_expiry: called with the exception before it is raised.
    """

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        reason = RunTimedOut(f"sync.run_timeout of {seconds:g} seconds was reached")
        on_expiry(reason)
        raise reason

    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
