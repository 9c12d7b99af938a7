"""A system that starts few threads: TasksMax= of a unit, pids.max of a container, RLIMIT_NPROC. On a real server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.masters import Master
from support.slaves import Slave

pytestmark = pytest.mark.integration

_RIGHTS = "+dac_override,+dac_read_search,+fowner,+chown"
_ANOTHER_USER = (
    "setpriv",
    "--reuid=54321",
    f"--inh-caps={_RIGHTS}",
    f"--ambient-caps={_RIGHTS}",
)
"""The limit does not hold for root: another user, who may read what the tests made."""
FILES = {f"f{number}": b"%d" % number for number in range(60)}


def threads_of(user: int) -> int:
    """Count the threads that a user has now."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue
    return count


def once_with(host: Slave | Master, more: int) -> AgentRun:
    """Run the agent once where its user may have so many more threads than he has."""
    prefix, user = ((), os.geteuid()) if os.geteuid() else (_ANOTHER_USER, 54321)
    limit = f"--nproc={threads_of(user) + more}"
    host.agent.begin()
    done = subprocess.run(
        ["prlimit", limit, *prefix, *host.agent.command("--once")],
        env=host.agent.environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return host.agent.ended((), done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("more", [1, 4, 12])
def test_a_limit_of_threads_does_not_end_a_slave(slave: Slave, more: int) -> None:
    """It copies with those that there are, and without any in the only one that it has."""
    slave.publish(FILES)

    run = once_with(slave, more)

    assert (run.exit_code, slave.tree()) == (0, FILES)


@pytest.mark.parametrize("more", [1, 4])
def test_a_limit_of_threads_does_not_end_a_master(master: Master, more: int) -> None:
    """The parts of a large file are sent one after the other."""
    master.write({**FILES, "large": os.urandom(20 << 20)})

    first, second = once_with(master, more), once_with(master, more)

    assert (first.exit_code, first.finished["copied"]) == (0, len(FILES) + 1)
    assert (second.exit_code, second.finished["copied"]) == (0, 0)
