"""Every case of the table of hostile servers, with the agent as a process and its real network stack.

All cases share one server and one agent, with one mapping each, so that the runs before and after serve all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import Agent, AgentRun
from support.forked import Forks
from support.hostile_answers import AFTER, BEFORE, MirroredPrefix
from support.hostile_cases import CASES, Case
from support.invariants import (
    check_after,
    check_recovery,
    check_status,
    state_before_run,
    versions_of,
)
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot, write

from s32s_agent.demo.seaweedfs import S3Server

pytestmark = pytest.mark.hostile

IMPATIENT = {"connect_seconds": 2, "read_seconds": 2, "attempts": 2, "pause_seconds": 0.05}
SECRET = "a-secret-that-nobody-may-see"
MIRRORED = {"dir": None, **AFTER}


@dataclass(frozen=True, slots=True)
class Stage:
    """The agent and server of all cases."""

    slave: Slave
    server: ScriptedS3
    forks: Forks

    def mirrored(self, case: Case) -> MirroredPrefix:
        return MirroredPrefix(self.server, f"{_name(case)}/")

    def target(self, case: Case) -> Path:
        return self.slave.root / _name(case)

    @property
    def outside(self) -> Path:
        return self.slave.root / "outside"

    def once(self, *arguments: str) -> AgentRun:
        env = {"AWS_SECRET_ACCESS_KEY": SECRET}
        arguments = ("--allow-deletes", *arguments)
        return self.forks.once(self.slave.agent, *arguments, env=env, timeouts=IMPATIENT)

    def trees(self) -> dict[str, bytes | None]:
        return snapshot(self.slave.root)


def _name(case: Case) -> str:
    return f"case-{CASES.index(case)}"


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: S3Server
) -> Iterator[Stage]:
    """A slave that has mirrored the old files; since then every prefix has changed."""
    directory = tmp_path_factory.mktemp("cases")
    agent, root = Agent(directory / "agent", seaweedfs_server), directory / "srv"
    for each in (agent.directory, root):
        each.mkdir()
    write(root / "outside", {"precious": b"precious"})
    with ScriptedS3() as server, Forks() as forks:
        slave = Slave(agent, server.bucket, server.put, root)
        stage = Stage(slave, server, forks)
        slave.configure("maps/all.json", s3={"endpoint_url": server.endpoint_url})
        names = map(_name, CASES)
        slave.publish_map(*(slave.mapping(each, each) for each in names), key="maps/all.json")
        for case in CASES:
            stage.mirrored(case).prepare()
        assert stage.once().exit_code == 0
        for case in CASES:
            stage.mirrored(case).change()
        yield stage


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_server_loses_nothing(stage: Stage, case: Case) -> None:
    """Files stay complete, none is wrongly deleted or written elsewhere, and status and message show the problem."""
    mirrored, target = stage.mirrored(case), stage.target(case)
    case.arrange(mirrored)
    neighbours = set(stage.slave.root.iterdir())
    before = state_before_run(target, stage.slave.agent.state_dir, [stage.outside])

    run = stage.once("--map", _name(case))

    published, tree = mirrored.published(), snapshot(target)
    mirrored.change()
    versions = versions_of(BEFORE, AFTER, published)
    assert check_after(before, versions, run, current=published, secrets=[SECRET]) == []
    assert run.exit_code == case.status, run.stderr
    assert set(stage.slave.root.iterdir()) == neighbours
    assert case.deletes or tree.get("dir/extra.txt") == b"extra"
    assert case.status == 0 or _reports(run, case.says), run.stderr
    files = {name: data for name, data in tree.items() if data is not None}
    assert check_status(run, files, published) == []


def test_one_run_after_all_cases_repairs_everything(stage: Stage) -> None:
    """Without the faults one run mirrors everything, a second does nothing, and no temporary file stays."""
    wanted: dict[str, bytes | None] = {"outside": None, "outside/precious": b"precious"}
    for case in CASES:
        stage.mirrored(case).change()
        wanted[_name(case)] = None
        wanted |= {f"{_name(case)}/{key}": data for key, data in MIRRORED.items()}

    problems = check_recovery(stage.once, stage.trees, wanted, stage.slave.temporaries)

    assert problems == []
    assert stage.server.asked("PUT") + stage.server.asked("DELETE") == []


def _reports(run: AgentRun, words: str) -> bool:
    """Return whether an event has these words in its error, reason or remedy."""
    failed = [each for each in run.events if each.get("error") or each.get("reason")]
    texts = [
        f"{each.get('error') or each.get('reason')} {each.get('remedy', '')}"
        for each in failed
    ]
    return any(words in text for text in texts)
