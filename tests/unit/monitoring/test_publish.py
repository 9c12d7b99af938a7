"""What becomes of a monitoring service that fails: fields for the log, in time, and never an exception."""

from __future__ import annotations

import threading

import pytest

from s32s_agent.errors import AgentError, DirectoryError, Interrupted
from s32s_agent.monitoring.publish import _problem_of


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (AgentError("no answer"), {"error": "no answer"}),
        (DirectoryError("full", remedy="free it"), {"error": "full", "remedy": "free it"}),
        (KeyError("SECRET"), {"error": "KeyError, which is a bug"}),
        (
            TimeoutError("not finished within 1 seconds"),
            {"error": "not finished within 1 seconds"},
        ),
    ],
)
def test_a_service_that_fails_is_fields_of_a_log_event(
    error: Exception, problem: dict[str, str]
) -> None:
    """An error of ours says what to do; of a bug only the class is named, since its text may hold anything."""
    assert _problem_of(60, lambda: fail(error)) == problem


def test_a_service_that_answers_leaves_nothing_to_log() -> None:
    """There is nothing to log."""
    assert _problem_of(60, lambda: None) is None


def test_a_service_that_never_answers_delays_no_run() -> None:
    """It is left behind when its time is up."""
    never = threading.Event()
    try:
        problem = _problem_of(0.05, lambda: fail(AgentError(str(never.wait(600)))))

        assert problem == {"error": "not finished within 0.05 seconds"}
    finally:
        never.set()


def test_a_signal_goes_through() -> None:
    """What ends the run is not a failure of the monitoring."""
    with pytest.raises(Interrupted):
        _problem_of(60, lambda: fail(Interrupted(15)))
