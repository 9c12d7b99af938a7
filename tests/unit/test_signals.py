"""Signals as exceptions, where Python lets none out."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, weakref
from s32s_agent.signals import Signals

class Thing:
    pass

def callback(_):
    {deed}

told = []
Signals(told.append, lambda: None).install()
thing = Thing()
reference = weakref.ref(thing, callback)
del thing
print(*told)
"""


@pytest.mark.parametrize(
    ("deed", "told", "complained"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", "stopped by signal 15\n", False),
        ("raise ValueError('a bug')", "\n", True),
    ],
)
def test_a_signal_where_nothing_can_be_raised_is_told_and_leaves_no_traceback_in_the_log(
    deed: str,
    told: str,
    complained: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """The run is cancelled all the same; other exceptions there are still shown."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(deed=deed)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == told
    assert ("a bug" in done.stderr) is complained
    assert bool(done.stderr) is complained


SWALLOWING = """
import os, signal, sys, time
from s32s_agent.errors import AgentError, Cancelled
from s32s_agent.signals import Signals

Signals(lambda reason: None, lambda: None).install()
try:
    for _ in range(100):
        try:
            print("working", flush=True)
            time.sleep(0.1)
        except {handled}:
            pass
except Cancelled as reason:
    sys.exit(reason.exit_status)
"""


@pytest.mark.parametrize("handled", ["AgentError", "Exception"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_handler_of_failures_that_swallows_a_sigterm_and_leaves_a_run_that_nobody_can_end(
    handled: str, number: int, status: int
) -> None:
    """Whatever failure is handled where a signal arrives, ours or any other, the signal ends the run."""
    program = [sys.executable, "-c", SWALLOWING.format(handled=handled)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)

        assert process.wait(60) == status


# --- a signal while a thread starts ---

STOPPED = """\
stopped by signal 15 with 0 threads that have not started
set() set()
"""
STARTED = """
import os, signal, sys, threading, _thread
from s32s_agent import errors, workers
from s32s_agent.signals import Signals

start = threading._start_new_thread

def start_and_stop(*arguments):
    found = start(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)
    return found

Signals(lambda reason: None, lambda: None).install()
threading._start_new_thread = start_and_stop
ended = threading.Event()
masks = []

def work():
    masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    ended.set()

try:
    workers.BackgroundCall(work)
except errors.Interrupted as reason:
    print(reason, "with", len(threading._limbo), "threads that have not started")
ended.wait(10)
print(masks[0], signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_a_signal_while_a_thread_starts_waits_until_it_has_started() -> None:
    """The thread does its work, signals reach it and what it executes, and the run is cancelled then."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == (STOPPED, "")
