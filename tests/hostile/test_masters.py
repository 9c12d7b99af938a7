"""What hostile servers and names do to a master: the source is only read, and nothing is deleted on bad evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.agents import Agent, AgentRun
from support.forked import Forks
from support.hostile_cases import AFTER, BEFORE, HOSTILE_KEYS, LISTINGS, Case, World
from support.invariants import check_output
from support.masters import Master, new_master
from support.scripted import ScriptedS3
from support.trees import canary

from s32s_agent.seaweedfs import S3Server

IMPATIENT = {"connect_seconds": 2, "read_seconds": 2, "attempts": 2, "pause_seconds": 0.01}
PARTIAL = 1
BELIEVED = [case.name for case in LISTINGS if case.status in (0, PARTIAL)]
"""Listings that are odd but no lies."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What all tests play on."""

    master: Master
    server: ScriptedS3
    forks: Forks

    def once(self) -> AgentRun:
        """Make a pass that would delete whatever it believes to be gone, of a bucket with something to do."""
        World(self.server).publish(BEFORE)
        self.server.requests.clear()
        return self.pass_as_it_is()

    def pass_as_it_is(self) -> AgentRun:
        return self.forks.once(self.master.agent, "--allow-deletes", patience=IMPATIENT)


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: S3Server
) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("masters")
    agent = Agent(directory / "agent", seaweedfs_server)
    agent.directory.mkdir()
    with ScriptedS3() as server, Forks() as forks:
        master = new_master(directory, agent, server.bucket, server.put)
        master.configure("maps/site.json", s3={"endpoint_url": server.endpoint_url})
        master.write(AFTER)
        yield Stage(master, server, forks)


def written(server: ScriptedS3) -> list[str]:
    return [each for method in ("PUT", "POST", "DELETE") for each in server.asked(method)]


def test_an_honest_listing_is_acted_upon(stage: Stage) -> None:
    """Else the tests below would prove nothing."""
    run = stage.once()

    assert (run.exit_code, World(stage.server).published()) == (0, AFTER)
    assert stage.server.asked("DELETE") == ["data/dir/extra.txt"]


@pytest.mark.parametrize("case", LISTINGS, ids=lambda case: case.name)
def test_a_listing_that_lies_changes_nothing_in_the_bucket(stage: Stage, case: Case) -> None:
    """No object is deleted or replaced, the source is as it was, and the status is the one that a slave has."""
    before = canary(stage.master.source)
    World(stage.server).publish(BEFORE)
    case.arrange(World(stage.server))
    shown = World(stage.server).published()
    stage.server.requests.clear()

    run = stage.pass_as_it_is()

    assert check_output(run) == []
    assert canary(stage.master.source) == before
    assert run.exit_code == case.status, run.stderr
    if case.name not in BELIEVED:
        assert (written(stage.server), World(stage.server).published()) == ([], shown)


def test_keys_that_a_tidy_proxy_would_change_are_not_deleted(stage: Stage) -> None:
    """DELETE of `data/../x`, `data//x` or `data/d//` may be another object's by the time it arrives: none is sent."""
    before = canary(stage.master.source)
    evil = [*HOSTILE_KEYS, "/x", "//", "d//", "d//x", "d/", "d/./x", "../x", ".."]
    World(stage.server).publish(BEFORE | dict.fromkeys(evil, b"evil"))
    stage.server.requests.clear()

    run = stage.pass_as_it_is()

    sent = [key.removeprefix("data/") for key in stage.server.asked("DELETE")]
    parts = {key: set(key.removesuffix("/").split("/")) for key in sent}
    assert [key for key in sent if parts[key] & {"", ".", ".."}] == []
    assert "dir/extra.txt" in sent
    assert run.exit_code == PARTIAL
    assert check_output(run) == []
    assert canary(stage.master.source) == before
    kept = World(stage.server).published()
    assert {key: kept.get(key) for key in AFTER} == AFTER
