"""A signal while the record of the run is written, and readers that vanish: nothing is lost, nothing crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.agents import AgentRun
from support.slaves import Slave

pytestmark = pytest.mark.hostile

FILES = {"a": b"alpha", "d/b": b"beta"}
INTERRUPTED = """
import os, signal, sys
from s32s_agent import cli
from s32s_agent.monitoring import last_run

write, struck = last_run.write_last_run, []

def strike(state_dir, document):
    if not struck:
        struck.append(True)
        os.kill(os.getpid(), signal.{signal})
    write(state_dir, document)

last_run.write_last_run = strike
sys.exit(cli.main(sys.argv[1:]))
"""


def run_in(slave: Slave, program: str) -> AgentRun:
    """Run the agent in a program that interrupts it."""
    slave.agent.begin()
    done = subprocess.run(
        [sys.executable, "-c", program, *slave.agent.command("--once")[3:]],
        env=slave.agent.environment(),
        capture_output=True,
        check=False,
    )
    return slave.agent.ended((), done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("maps", ["maps/site.json", "maps/none.json"], ids=["whole", "failed"])
def test_a_signal_while_the_record_of_a_run_is_written_is_reported(
    slave: Slave, signal: str, maps: str
) -> None:
    """The copies stay; log, status and `last_run.json` show the signal, and earlier failures."""
    slave.publish(FILES)
    slave.configure(maps)

    run = run_in(slave, INTERRUPTED.format(signal=signal))

    failed = [each["cause"] for each in run.named("run.failed")]
    earlier = [] if maps == "maps/site.json" else ["dataerr"]
    last_run = json.loads((slave.agent.state_dir / "last_run.json").read_text())
    assert run.named("run.crashed") == [], run.stderr
    assert failed == [*earlier, "stopped"]
    assert last_run["consecutive_failures"] == 1
    assert len(last_run["errors"]) == len(failed)
    assert run.exit_code == last_run["exit_code"] == {"SIGTERM": 143, "SIGINT": 130}[signal]
    assert earlier or slave.tree() == {"d": None, **FILES}


STRUCK = """
import os, signal, sys, threading, time
from s32s_agent import cli

NAME = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
start, left = getattr(threading, NAME), [{number}]

def strike(*arguments, **options):
    begun = start(*arguments, **options)
    left[0] -= 1
    if left[0] == 0:
        time.sleep(0.1)  # the new thread is under way, of which the one that starts it knows nothing yet
        os.kill(os.getpid(), signal.SIGTERM)
    return begun

setattr(threading, NAME, strike)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", range(1, 6))
def test_a_signal_while_a_thread_starts_is_no_bug(slave: Slave, number: int) -> None:
    """Python raises KeyError then; the cause is the signal."""
    slave.publish(FILES)
    slave.configure(hooks={"before": ["/bin/true"]})

    run = run_in(slave, STRUCK.format(number=number))

    assert run.exit_code == 143, run.stderr
    assert {each.get("cause") for each in run.events} == {None, "stopped"}, run.stderr
    assert "KeyError" not in run.stderr


def run_unread(slave: Slave, stream: str, *arguments: str) -> AgentRun:
    """Run the agent with one stream that is not read."""
    slave.agent.begin()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            slave.agent.command("--once", *arguments),
            env=slave.agent.environment(),
            check=False,
            stdout=writer if stream == "stdout" else subprocess.PIPE,
            stderr=writer if stream == "stderr" else subprocess.PIPE,
        )
    finally:
        os.close(writer)
    return slave.agent.ended((), done.returncode, done.stdout or b"", done.stderr or b"")


def test_a_log_that_is_not_read_stops_no_run(slave: Slave) -> None:
    """The run continues without its log."""
    slave.publish(FILES)

    run = run_unread(slave, "stderr")

    assert (run.exit_code, run.stdout) == (0, "")
    assert slave.tree() == {"d": None, **FILES}


def test_a_plan_that_is_not_read_is_no_crash(slave: Slave) -> None:
    """A reader that closes the pipe, as `head` does, ends the other mappings too."""
    slave.publish(FILES)
    slave.publish_map(slave.mapping(), slave.mapping("other", "other"))

    run = run_unread(slave, "stdout", "--dry-run")

    assert run.named("run.crashed") == [], run.stderr
    assert len(run.named("mapping.planned")) == 1
    assert run.exit_code == 1
    assert not slave.target.exists()
