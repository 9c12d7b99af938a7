"""A run that is interrupted, killed, or not alone: what shows is always whole, and the next run mends the rest."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Self

import pytest
from support.agents import Agent, parse_events
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.slaves import Slave
from support.trees import RESERVED, snapshot, write

pytestmark = pytest.mark.integration

FILES = {f"d{number % 9}/{number:03}": b"%d|" % number * (number * 7) for number in range(400)}
SOON_SECONDS = 30
"""An interrupted run waits five seconds for its workers; the rest is for a busy machine."""
ROUNDS = 15


def files_of(slave: Slave) -> dict[str, bytes]:
    return {key: data for key, data in slave.tree().items() if data is not None}


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_pass_soon(
    slave: Slave, proxy: CountingProxy, tmp_path: Path, number: int, exit_code: int
) -> None:
    """In the middle of downloads that hang, the run ends within seconds and reports; the next one resumes."""
    slave.publish(FILES)
    proxy.hold_after(200)
    log = tmp_path / "log"
    with slave.agent.started(log=log) as process:
        assert proxy.wait_for(210)
        process.send_signal(number)

        assert process.wait(SOON_SECONDS) == exit_code
    (finished,) = [
        each for each in parse_events(log.read_text()) if each["event"] == "run.finished"
    ]
    assert finished["exit_code"] == exit_code
    # What this run began, it removed itself.
    assert slave.temporaries() == []
    assert FILES.items() >= files_of(slave).items()
    proxy.forget()
    assert slave.once().exit_code == 0
    assert (files_of(slave), slave.temporaries()) == (FILES, [])


def test_a_pass_ends_when_its_time_is_up(slave: Slave, proxy: CountingProxy) -> None:
    """`run_timeout` ends a run whose server hangs; it says so, and the next one resumes."""
    slave.publish(FILES)
    slave.configure(sync={"run_timeout": "3s"}, s3={"endpoint_url": proxy.endpoint_url})
    proxy.hold_after(0)

    run = slave.once()

    assert (run.exit_code, run.finished["copied"]) == (1, 0)
    assert run.finished["seconds"] < SOON_SECONDS
    (event,) = run.named("run.failed")
    assert (event["cause"], "run_timeout" in event["error"]) == ("timeout", True)
    proxy.release()
    slave.configure(s3={"endpoint_url": proxy.endpoint_url})
    assert slave.once().exit_code == 0
    assert (files_of(slave), slave.temporaries()) == (FILES, [])


class _Reader:
    """Reads the target over and over, as a web server would, and remembers whatever was not a whole version."""

    def __init__(self, target: Path, versions: dict[str, set[bytes]]) -> None:
        self.target = target
        self.versions = versions
        self.torn: list[str] = []
        self.sweeps = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def sweep(self) -> None:
        for path in self.target.rglob("*"):
            key = path.relative_to(self.target).as_posix()
            if key.startswith(RESERVED) or ".s32s-tmp." in key:
                continue
            try:
                if path.is_file() and path.read_bytes() not in self.versions[key]:
                    self.torn.append(key)
            except FileNotFoundError:
                continue  # only temporary files and deleted ones can go
        self.sweeps += 1

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.sweep()


def test_a_power_cut_leaves_no_torn_file(
    slave: Slave, proxy: CountingProxy, tmp_path: Path
) -> None:
    """SIGKILL at many moments: every file is a whole published version at any time, and then a run converges."""
    rng = random.Random(32)
    keys = [f"d{number % 9}/{number:03}" for number in range(500)]
    versions: dict[str, set[bytes]] = defaultdict(set)
    current: dict[str, bytes] = {}

    def publish(number: int, some: list[str]) -> None:
        new = {key: f"{number}|{key}|".encode() * rng.randint(1, 1000) for key in some}
        for key, data in new.items():
            versions[key].add(data)
        slave.publish(new)
        current.update(new)

    publish(0, keys)
    slave.target.mkdir()
    killed = 0
    with _Reader(slave.target, versions) as reader:
        for number in range(1, ROUNDS + 1):
            proxy.forget()
            wanted, pause = rng.randint(0, 220), rng.uniform(0, 0.3)
            with slave.agent.started(log=tmp_path / "log") as process:
                while process.poll() is None and not proxy.wait_for(wanted, 0.05):
                    pass
                time.sleep(pause)  # not to wait for anything: the moment is meant to be random
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
            reader.sweep()
            publish(number, rng.sample(keys, 250))
        proxy.forget()
        run = slave.once()

    assert reader.torn == []
    assert (run.exit_code, files_of(slave), slave.temporaries()) == (0, current, [])
    assert killed >= ROUNDS // 2
    assert reader.sweeps > ROUNDS
    assert slave.once().finished["copied"] == 0


@pytest.fixture
def second(tmp_path: Path, slave: Slave) -> Agent:
    """Another agent, with a state of its own, for the same target."""
    directory = tmp_path / "second"
    directory.mkdir()
    agent = Agent(directory, slave.agent.server)
    agent.configure(maps=f"{slave.bucket}/maps", roots=[slave.root])
    return agent


def test_two_agents_do_not_work_in_one_directory(
    slave: Slave, second: Agent, proxy: CountingProxy, tmp_path: Path
) -> None:
    """While one is at work the other gives way with 75, whatever its state directory; then the first one ends well."""
    slave.publish(FILES)
    proxy.hold_after(10)
    with slave.agent.started(log=tmp_path / "log") as process:
        assert proxy.wait_for(11)
        run = second.run("--once")
        proxy.release()

        assert process.wait(SOON_SECONDS * 2) == 0
    assert run.exit_code == 75
    assert "locked by another run" in run.named("mapping.failed")[0]["error"]
    assert (files_of(slave), slave.temporaries()) == (FILES, [])
    after = second.run("--once")
    assert (after.exit_code, after.finished["copied"], slave.trash()) == (0, 0, {})


def test_two_agents_at_once(slave: Slave, second: Agent, tmp_path: Path) -> None:
    """Started together, again and again, each ends well or gives way, and the directory is right."""
    slave.publish(FILES)
    codes = set()
    for number in range(3):
        slave.publish({"changing": b"%d" % number})
        logs = tmp_path / "log1", tmp_path / "log2"
        with slave.agent.started(log=logs[0]) as one, second.started(log=logs[1]) as two:
            pair = {one.wait(SOON_SECONDS * 2), two.wait(SOON_SECONDS * 2)}
        codes |= pair

        assert 0 in pair
        assert files_of(slave) == {**FILES, "changing": b"%d" % number}
    assert codes <= {0, os.EX_TEMPFAIL}
    assert slave.temporaries() == []


def test_a_directory_that_becomes_a_link_meanwhile_leads_nobody_out(
    slave: Slave, proxy: CountingProxy, bucket: Bucket, tmp_path: Path
) -> None:
    """Somebody exchanges directories for links during the run: nothing is written or deleted through them."""
    outside = tmp_path / "outside"
    write(outside, {"old": b"precious", "gone": b"precious"})
    slave.publish({"in/old": b"old", "out/gone": b"gone", "good": b"good"})
    assert slave.once().exit_code == 0
    slave.publish({"in/old": b"newer", "in/new": b"new"})
    bucket.delete("data/out/gone")
    proxy.forget()
    proxy.hold_after(0)
    with slave.agent.started(log=tmp_path / "log") as process:
        assert proxy.wait_for(2)
        for name in ("in", "out"):
            (slave.target / name).rename(tmp_path / name)
            (slave.target / name).symlink_to(outside)
        proxy.release()

        assert process.wait(SOON_SECONDS * 2) == 1
    assert snapshot(outside) == {"old": b"precious", "gone": b"precious"}
    assert (slave.target / "good").read_bytes() == b"good"


def test_a_deletion_does_not_follow_a_new_link(
    slave: Slave, proxy: CountingProxy, bucket: Bucket, tmp_path: Path
) -> None:
    """The link appears between plan and deletion, while every copy goes well: what it leads to is not deleted."""
    outside = tmp_path / "outside"
    write(outside, {"gone": b"precious"})
    slave.publish({"out/gone": b"gone", "good": b"good"})
    assert slave.once().exit_code == 0
    slave.publish({"good": b"better"})
    bucket.delete("data/out/gone")
    proxy.forget()
    proxy.hold_after(0)
    with slave.agent.started(log=tmp_path / "log") as process:
        assert proxy.wait_for(1)
        (slave.target / "out").rename(tmp_path / "out")
        (slave.target / "out").symlink_to(outside)
        proxy.release()

        assert process.wait(SOON_SECONDS * 2) == 1
    assert snapshot(outside) == {"gone": b"precious"}
    assert (slave.target / "good").read_bytes() == b"better"
