"""Many agents at once: on one config, one state, one directory, and on directories that lie in each other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.agents import Agent, AgentRun
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.forked import TIMEOUT_SECONDS
from support.slaves import Slave
from support.trees import snapshot

pytestmark = pytest.mark.integration

FILES = {f"d{number % 5}/{number:02}": b"%d|" % number * 2000 for number in range(60)}
MANY = 6
IN_THE_MIDDLE = 20
"""Requests of a first pass, after which some files are there, and some are not."""


def start(agent: Agent, *arguments: str) -> subprocess.Popen[bytes]:
    """Begin a pass."""
    return subprocess.Popen(
        agent.command("--once", *arguments),
        env=agent.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(agent: Agent, process: subprocess.Popen[bytes]) -> AgentRun:
    """Wait for the end of a pass."""
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    return agent.ended((), process.returncode, stdout, stderr)


def at_once(agents: Sequence[Agent], *arguments: str) -> list[AgentRun]:
    """Start one pass of each agent before any of them can have ended, and wait for all."""
    started = [start(agent, *arguments) for agent in agents]
    return [end(agent, process) for agent, process in zip(agents, started, strict=True)]


def another(slave: Slave, name: str) -> Agent:
    """Make an agent with a config and a state of its own."""
    directory = slave.root.parent / name
    directory.mkdir()
    return Agent(directory, slave.agent.server)


def total(runs: Sequence[AgentRun], count: str) -> int:
    return sum(event[count] for run in runs for event in run.named("run.finished"))


def files_in(directory: Path) -> dict[str, bytes]:
    return {key: data for key, data in snapshot(directory).items() if data is not None}


@contextmanager
def held(slave: Slave) -> Iterator[list[AgentRun]]:
    """Keep a first pass of the slave in the middle of its work while the block runs; give its end, then."""
    ended: list[AgentRun] = []
    with CountingProxy(slave.agent.server.endpoint_url) as proxy:
        slave.configure(s3={"endpoint_url": proxy.endpoint_url})
        proxy.hold_after(IN_THE_MIDDLE)
        first = start(slave.agent)
        try:
            assert proxy.wait_for(IN_THE_MIDDLE)
            yield ended
        finally:
            proxy.release()
            ended.append(end(slave.agent, first))
    slave.configure()


def test_many_passes_of_one_config_do_the_work_once(slave: Slave) -> None:
    """Those that come while one is at work say 75 and touch nothing; every file is copied exactly once."""
    slave.publish(FILES)

    with held(slave) as first:
        runs = at_once([slave.agent] * (MANY - 1))

    assert [run.exit_code for run in runs] == [os.EX_TEMPFAIL] * len(runs)
    assert (first[0].exit_code, total([*runs, *first], "copied")) == (0, len(FILES))
    assert (files_in(slave.target), slave.temporaries(), slave.trash()) == (FILES, [], {})


def test_many_passes_that_wait_for_each_other_all_succeed(slave: Slave) -> None:
    """With --lock-wait every pass gets its turn, and only the first one finds work."""
    slave.publish(FILES)

    runs = at_once([slave.agent] * (MANY // 2), "--lock-wait", "100")

    assert [run.exit_code for run in runs] == [0] * (MANY // 2)
    assert total(runs, "copied") == len(FILES)


def test_two_configs_with_one_state_take_turns(slave: Slave) -> None:
    """A state directory serves one pass at a time, whoever's it is; what it remembers of each is kept apart."""
    slave.publish(FILES)
    slave.publish({"other": b"other"}, prefix="more")
    slave.publish_map(slave.mapping("more", "more"), key="more-maps/map.json")
    second = another(slave, "second")
    second.configure(
        maps=f"{slave.bucket}/more-maps",
        roots=[slave.root],
        state_dir=str(slave.agent.state_dir),
    )

    with held(slave) as first:
        refused = at_once([second])[0]

    assert (refused.exit_code, first[0].exit_code) == (os.EX_TEMPFAIL, 0)
    again = at_once([slave.agent, second], "--lock-wait", "100")
    assert [run.exit_code for run in again] == [0, 0]
    assert (total(first, "copied"), total(again, "copied")) == (len(FILES), 1)
    assert files_in(slave.target) == FILES
    assert files_in(slave.root / "more") == {"other": b"other"}


def test_many_configs_of_one_directory_never_work_in_it_together(slave: Slave) -> None:
    """Each has a state of its own, so only the lock on the directory keeps them out while one is at work in it."""
    slave.publish(FILES)
    others = [another(slave, f"agent{number}") for number in range(MANY // 2)]
    for agent in others:
        agent.configure(maps=f"{slave.bucket}/maps", roots=[slave.root])
    with held(slave) as first:
        runs = at_once(others)

    assert [run.exit_code for run in runs] == [os.EX_TEMPFAIL] * len(others)
    assert all("locked by another run" in run.stderr for run in runs)
    assert (total(runs, "copied"), total(runs, "deleted")) == (0, 0)
    assert (first[0].exit_code, first[0].finished["copied"]) == (0, len(FILES))
    assert (files_in(slave.target), slave.temporaries(), slave.trash()) == (FILES, [], {})
    assert [run.exit_code for run in at_once(others, "--lock-wait", "100")].count(0) >= 1


def test_a_directory_inside_another_configs_directory(slave: Slave, bucket: Bucket) -> None:
    """Two configs that nest undo each other's work, but never tear a file, and what one removes is in its trash."""
    inner_files = {key: data[::-1] for key, data in FILES.items()}
    slave.publish(FILES)
    slave.publish(inner_files, prefix="inner")
    inner = another(slave, "inner")
    mapping = slave.mapping("inner", "inner", slave=str(slave.target / "inner"))
    slave.publish_map(mapping, key="inner-maps/map.json")
    inner.configure(maps=f"{bucket.name}/inner-maps", roots=[slave.root])
    assert slave.once().exit_code == 0

    runs: list[AgentRun] = []
    arrived: set[str] = set()
    for number in range(10):
        both = at_once([slave.agent, inner])
        runs += both
        arrived |= {each["key"] for each in both[1].named("entry.copied")}
        if number and arrived:
            break

    assert {run.exit_code for run in runs} <= {0, 1, 3, os.EX_CANTCREAT, os.EX_TEMPFAIL}
    assert [event for run in runs for event in run.named("run.crashed")] == []
    for key, data in files_in(slave.target).items():
        expected = inner_files if key.startswith("inner/") else FILES
        assert data == expected[key.removeprefix("inner/")]
    assert slave.once("--allow-deletes").exit_code in {0, 1}
    final = slave.once("--allow-deletes")
    assert (final.exit_code, files_in(slave.target)) == (0, FILES)
    kept = {key.removeprefix("inner/"): data for key, data in slave.trash().items()}
    assert {key: kept.get(key) for key in arrived} == {
        key: inner_files[key] for key in arrived
    }
    assert arrived
