"""Signals as exceptions, where Python lets none out."""

from __future__ import annotations

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
    """The pass hears of it all the same; other exceptions there are still shown."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(deed=deed)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == told
    assert ("a bug" in done.stderr) is complained
    assert bool(done.stderr) is complained
