"""One token that ends all work below it, and hearts that beat as long as work gets ahead."""

from __future__ import annotations

import threading
import time

import pytest

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.errors import Cancelled, Interrupted, RunTimedOut


def test_cancelling_a_parent_cancels_its_children() -> None:
    """A run cancels all of its mappings, a mapping only itself."""
    run = CancelToken()
    one, other = CancelToken(run), CancelToken(run)
    one.cancel()

    assert (one.cancelled, other.cancelled, run.cancelled) == (True, False, False)
    run.cancel()
    assert other.cancelled
    with pytest.raises(Cancelled):
        other.check()


def test_the_first_reason_is_the_one_that_is_raised() -> None:
    """Whoever cancels last does not change why the run ends, and a child has its parent's reason."""
    token = CancelToken()
    token.cancel(Interrupted(15))
    token.cancel(RunTimedOut("late"))

    with pytest.raises(Interrupted):
        CancelToken(token).check()


def test_sleep() -> None:
    """Undisturbed, it takes as long as was said, and the heartbeat does not fall silent."""
    heartbeat, started = Heartbeat(), time.monotonic()
    CancelToken().sleep(0.5, heartbeat)

    assert 0.5 <= time.monotonic() - started < 5
    assert heartbeat.silent_seconds < time.monotonic() - started - 0.1


def test_sleep_ends_when_the_work_is_cancelled() -> None:
    """A pause of an hour is none once the run has to end."""
    token = CancelToken()
    threading.Timer(0.05, token.cancel).start()

    with pytest.raises(Cancelled):
        token.sleep(3600)


def test_a_heartbeat_that_does_not_beat_is_silent() -> None:
    """The time since the last beat is what a pool judges by."""
    heartbeat = Heartbeat()
    time.sleep(0.1)
    silent = heartbeat.silent_seconds
    heartbeat.beat()

    assert silent >= 0.1 > heartbeat.silent_seconds


class SlowPermits:
    """A semaphore that others hold for some seconds."""

    def __init__(self, heartbeat: Heartbeat, attempts: int) -> None:
        self._heartbeat = heartbeat
        self._attempts = attempts
        self.silent: list[float] = []

    def acquire(self, *, timeout: float) -> bool:
        assert timeout > 0
        self.silent.append(self._heartbeat.silent_seconds)
        time.sleep(0.2)
        self._attempts -= 1
        return self._attempts == 0


def test_waiting_for_the_permits_of_others_is_no_stall() -> None:
    """As long as nothing of the item itself is under way, its heart beats while it waits."""
    heartbeat = Heartbeat()
    permits = SlowPermits(heartbeat, 4)
    heartbeat.acquire(permits)

    assert max(permits.silent) < 0.2


def test_a_helper_that_hangs_is_not_hidden_by_one_that_waits() -> None:
    """While a helper works for the item, whoever waits beside it is silent; when it is done, the heart beats."""
    heartbeat = Heartbeat()
    permits = SlowPermits(heartbeat, 4)
    with heartbeat.helped():
        heartbeat.acquire(permits)
        silent = heartbeat.silent_seconds

    assert silent >= 0.8
    assert heartbeat.silent_seconds < 0.2
