"""What ends a pass from outside: signals and the deadline, as exceptions."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from s32s_agent.errors import Interrupted, Stopped, TimeIsUp


class Signals:
    """Turn SIGINT, SIGTERM and the alarm of `run_timeout` into exceptions, once; a second signal ends the process.

    Args:
        first: called with the exception before it is raised, since a library may swallow it.
        last: called before the process ends itself.
    """

    def __init__(self, first: Callable[[Stopped], None], last: Callable[[], None]) -> None:
        self._first = first
        self._last = last
        self._received = False
        self._resting = False

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        sys.unraisablehook = _unraisable

    def rest(self) -> None:
        """Raise nothing any more: what is left to do is short, and the exit status is settled."""
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
    """Say nothing of our own exception where none can be raised, as in a callback of `weakref`: it was told before."""
    if not isinstance(found.exc_value, Stopped):
        sys.__unraisablehook__(found)


@contextlib.contextmanager
def unmasked() -> Iterator[None]:
    """Raise our own exception again where a library has made another one of it.

    `Thread.start` makes KeyError of what is raised in it when the new thread is quick.
    """
    try:
        yield
    except Exception as error:
        stopped = _stopped_behind(error)
        if stopped is None or stopped is error:
            raise
        raise stopped from None


def _stopped_behind(error: BaseException) -> Stopped | None:
    """Find the first of our own in what was being handled when an exception was raised, which never goes in circles."""
    each: BaseException | None = error
    while each is not None and not isinstance(each, Stopped):
        each = each.__context__
    return each


@contextlib.contextmanager
def deadline(seconds: float | None, first: Callable[[Stopped], None]) -> Iterator[None]:
    """Raise `TimeIsUp` in this thread after some seconds."""

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        reason = TimeIsUp(f"sync.run_timeout of {seconds:g} seconds is up")
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
