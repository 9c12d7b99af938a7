"""Any sequence of pushes, publications, kills, rollbacks and runs of three slaves, on a real server."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st
from support.agents import Agent, AgentRun
from support.buckets import Bucket
from support.forked import shared_forks
from support.killing_proxy import KillingProxy
from support.masters import Master, new_master
from support.slaves import Slave

from s32s_agent.demo.seaweedfs import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

PLACE = "snaps/site"
CHANNELS = ("current", "current", "stable")
"""Of the three slaves."""
UNAVAILABLE, REFUSED = 69, 3
KILLED = -signal.SIGKILL
MAPS = 2
"""Requests for the map files, before the first that concerns a mapping."""

TREES = st.dictionaries(
    st.sampled_from(["a", "b/c", "b/d", "e"]),
    st.sampled_from([b"1", b"2", b"33"]),
    min_size=1,
)
SLAVES = st.integers(0, len(CHANNELS) - 1)
REQUESTS = st.integers(1, 24)
MOMENTS = st.sampled_from(["before", "after"])
"""When the server has a request: a client is killed before it or after it."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), TREES),
        st.tuples(st.just("push, killed"), TREES, REQUESTS, MOMENTS),
        st.tuples(st.just("run"), SLAVES),
        st.tuples(st.just("run, killed"), SLAVES, REQUESTS, MOMENTS),
        st.tuples(st.just("promote")),
        st.tuples(st.just("roll back")),
        st.tuples(st.just("pin"), SLAVES),
        st.tuples(st.just("follow"), SLAVES),
        st.tuples(st.just("hand over"), SLAVES),
    ),
    min_size=6,
    max_size=14,
)
Digests = dict[str, str]
"""MD5 by key."""


@dataclass
class Fleet:
    """A master and three slaves of one bucket, which keeps versions."""

    master: Master
    slaves: list[Slave]
    bucket: Bucket
    proxy: KillingProxy
    pins: dict[int, str] = field(default_factory=dict)
    listing: set[int] = field(default_factory=set)
    """The slaves whose map has no snapshots."""
    had: list[Digests] = field(default_factory=list)
    """Every tree that the master has had."""

    # --- what is there ---

    def document(self, key: str) -> bytes:
        return self.bucket.get(f"{PLACE}/{key}")

    def pointed(self, channel: str) -> str:
        """Return the id of the snapshot to which a channel points; "" when there is no channel."""
        key = f"{PLACE}/channels/{channel}.json"
        return json.loads(self.bucket.get(key))["snapshot"] if key in self.keys() else ""

    def keys(self) -> list[str]:
        return self.bucket.keys()

    def listed_in(self, snapshot: str) -> Digests:
        """Read a snapshot without the code that is tested."""
        chunks = json.loads(self.document(f"snapshots/{snapshot}.json"))["chunks"]
        lines = [
            line
            for chunk in chunks
            for line in gzip.decompress(
                self.document(f"chunks/{chunk['sha256']}.jsonl.gz")
            ).splitlines()
        ]
        rows = [json.loads(line) for line in lines]
        return {row["key"]: row["etag"] for row in rows if not row["key"].endswith("/")}

    def in_bucket(self) -> Digests:
        keys = [key for key in self.keys() if key.startswith("data/") and key[-1] != "/"]
        return {key.removeprefix("data/"): md5(self.bucket.get(key)) for key in keys}

    def of(self, number: int) -> Digests:
        """Return the files of a slave."""
        slave = self.slaves[number]
        found = slave.tree() if slave.target.exists() else {}
        return {key: md5(data) for key, data in found.items() if data is not None}

    def wanted(self, number: int) -> Digests | None:
        """Return what a slave must have after a run; None while its channel does not exist."""
        if number in self.listing:
            return self.in_bucket()
        snapshot = self.pins.get(number) or self.pointed(CHANNELS[number])
        return self.listed_in(snapshot) if snapshot else None

    # --- steps ---

    def push(self, tree: dict[str, bytes]) -> None:
        self.fill(tree)
        assert self.master.once().exit_code == 0
        assert self.listed_in(self.pointed("current")) == self.had[-1]

    def fill(self, tree: dict[str, bytes]) -> None:
        shutil.rmtree(self.master.source)
        self.master.source.mkdir()
        self.master.write(tree)
        self.had.append({key: md5(data) for key, data in tree.items()})

    def push_killed(self, tree: dict[str, bytes], number: int, when: str) -> None:
        self.fill(tree)
        self.killed(self.master.agent, number, when)
        current = self.pointed("current")
        assert not current or self.listed_in(current) in self.had

    def killed(self, agent: Agent, number: int, when: str) -> None:
        self.proxy.arm(number + MAPS, forwards=when == "after")
        victim = shared_forks().start(agent)
        self.proxy.aim(victim)
        status = victim.wait().exit_code
        self.proxy.arm(0, forwards=True)
        event("killed" if status == KILLED else "ended before")

    def run(self, number: int) -> AgentRun:
        """Run a slave, which must then have exactly what it should; without a channel it changes nothing."""
        before, wanted = self.of(number), self.wanted(number)
        run = self.slaves[number].once()
        if wanted is None:
            assert (run.exit_code, self.of(number)) == (UNAVAILABLE, before)
        elif wanted:
            assert (run.exit_code, self.of(number)) == (0, wanted)
        else:
            assert (run.exit_code, self.of(number)) == (REFUSED, before)
        return run

    def promote(self) -> None:
        source = self.pointed("current")
        status = self.command(self.master, "--promote", "current", "stable").exit_code
        assert status == (0 if source else UNAVAILABLE)
        assert self.pointed("stable") == source

    def roll_back(self) -> None:
        current = self.pointed("current")
        status = self.command(self.master, "--rollback", "--channel", "current").exit_code
        assert status in (0, REFUSED, UNAVAILABLE)
        assert (self.pointed("current") != current) == (status == 0)

    def pin(self, number: int) -> None:
        run = self.command(self.slaves[number], "--rollback")
        if "pinned to " in run.stdout:
            self.pins[number] = run.stdout.partition("pinned to ")[2].partition(";")[0]
        if number not in self.listing and number in self.pins:
            self.run(number)

    def follow(self, number: int) -> None:
        self.command(self.slaves[number], "--follow")
        if number not in self.listing:
            self.pins.pop(number, None)

    def hand_over(self, number: int) -> None:
        """Have a slave change between listing and snapshots; where both show the same, nothing is fetched."""
        before = self.wanted(number)
        if before:
            self.run(number)
        self.listing ^= {number}
        self.publish_map(number)
        run = self.run(number)
        if before and before == self.wanted(number):
            counts = (run.finished["copied"], run.finished["deleted"])
            assert (*counts, run.finished["unchanged"]) == (0, 0, len(before))
            event("handed over")

    def publish_map(self, number: int) -> None:
        slave = self.slaves[number]
        has_snapshots = number not in self.listing
        more = {"snapshots": f"{self.bucket.name}/{PLACE}"} if has_snapshots else {}
        slave.publish_map(slave.mapping(**more), key=f"maps-{number}/site.json")

    @staticmethod
    def command(host: Master | Slave, *words: str) -> AgentRun:
        return host.agent.run(*words, "--log-format", "json")

    def end(self) -> None:
        """Push once more: every slave that is released has exactly the tree of its channel."""
        self.push({"a": b"end", "z": b"end"})
        for number in range(len(self.slaves)):
            self.run(number)
            assert number in self.listing or self.of(number) in ({}, *self.had)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def fleet(server: S3Server, client: S3Client) -> Iterator[Fleet]:
    """Yield a fleet in a bucket of its own."""
    bucket = Bucket(f"fleet-{uuid.uuid4().hex[:12]}", client, server)
    client.create_bucket(Bucket=bucket.name)
    bucket.keep_versions()
    with (
        tempfile.TemporaryDirectory() as directory,
        KillingProxy(server.endpoint_url) as proxy,
    ):
        top = Path(directory)
        (top / "agent").mkdir()
        master = new_master(top, Agent(top / "agent", server), bucket.name, bucket.put)
        through = {"endpoint_url": proxy.endpoint_url}
        master.publish_map(master.mapping(snapshots=f"{bucket.name}/{PLACE}"))
        master.configure(s3=through)
        made = Fleet(master, [], bucket, proxy)
        for number, channel in enumerate(CHANNELS):
            home, root = top / f"agent-{number}", top / f"slave-{number}"
            home.mkdir()
            root.mkdir()
            slave = Slave(Agent(home, server), bucket.name, bucket.put, root)
            slave.configure(f"maps-{number}", s3=through, sync={"channel": channel})
            made.slaves.append(slave)
            made.publish_map(number)
        yield made


@settings(
    derandomize=True,
    deadline=None,
    max_examples=4,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(STEPS)
@example(
    [
        ("push", {"a": b"1", "e": b"1"}),
        ("run", 0),
        ("hand over", 0),
        ("hand over", 0),
        ("push, killed", {"a": b"2"}, 9, "after"),
        ("run", 0),
        ("push", {"a": b"2", "b/c": b"2"}),
        ("promote",),
        ("run, killed", 2, 5, "before"),
        ("run", 2),
        ("roll back",),
        ("run", 1),
        ("pin", 0),
        ("push", {"a": b"33"}),
        ("run", 0),
        ("follow", 0),
        ("run", 0),
    ]
)
def test_every_slave_ends_at_the_tree_of_its_channel(
    seaweedfs_server: S3Server, admin_client: S3Client, steps: list[tuple[str, *tuple[object]]]
) -> None:
    with fleet(seaweedfs_server, admin_client) as here:
        does: dict[str, Callable[..., object]] = {
            "push": here.push,
            "push, killed": here.push_killed,
            "run": here.run,
            "run, killed": lambda number, *at: here.killed(here.slaves[number].agent, *at),
            "promote": here.promote,
            "roll back": here.roll_back,
            "pin": here.pin,
            "follow": here.follow,
            "hand over": here.hand_over,
        }
        for name, *words in steps:
            does[name](*words)
        here.end()
