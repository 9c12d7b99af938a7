"""Check every run of an agent by `invariants`, so that no test of a fault can forget to: the `checker` of an agent.

    slave.agent.checker = SlaveChecker(slave, server_contents(server))
    slave.once()  # fails the test when the run did what no run may do

The state of the source is recorded before and after each run, which gives every version that ever existed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from support.agents import AgentRun
from support.buckets import Bucket
from support.hosts import PREFIX
from support.invariants import (
    Invariants,
    check_after,
    check_status,
    state_before_run,
    tree_of,
    versions_of,
)
from support.masters import Master
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot

Files = Mapping[str, bytes]
Source = Callable[[], Files]


@dataclass(slots=True)
class SlaveChecker:
    """Checks the runs of a slave in its default mapping."""

    slave: Slave
    source: Source
    """Returns the content of the mapping's prefix, by key."""
    _versions: dict[str, set[bytes]] = field(default_factory=dict)
    _published: Files = field(default_factory=dict)
    _before: Invariants | None = None

    def begin(self) -> None:
        """Record the state before a run."""
        self._published = self._note()
        self._before = state_before_run(self.slave.target, self.slave.agent.state_dir)

    def problems(self, run: AgentRun) -> list[str]:
        """List what the run did that no run may do."""
        before, self._before = self._before, None
        if before is None:
            return []
        published = self._note()
        # What appears in the source, or vanishes, during the run may have been listed or not.
        current = self._published.keys() & published.keys()
        return [
            *check_after(before, self._versions, run, current=current),
            *(self._status(run, published) if published == self._published else ()),
        ]

    def _note(self) -> Files:
        published = self.source()
        for key, versions in versions_of(published).items():
            self._versions.setdefault(key, set()).update(versions)
        return published

    def _status(self, run: AgentRun, published: Files) -> list[str]:
        if run.named("mapping.planned"):
            return []
        found = tree_of(self.slave.target)
        tree = {name: each for name, each in found.items() if each is not None}
        wanted = {key: each for key, each in published.items() if not key.endswith("/")}
        return check_status(run, tree, wanted)


@dataclass(slots=True)
class MasterChecker:
    """Checks the runs of a master in its default mapping: the bucket is its target."""

    master: Master
    shown: Source
    """Returns the content of the mapping's prefix, by key."""
    _before: Invariants | None = None

    def begin(self) -> None:
        """Record the state before a run."""
        source, state_dir = self.master.source, self.master.agent.state_dir
        self._before = state_before_run(source, state_dir, [source], self._show)

    def problems(self, run: AgentRun) -> list[str]:
        """List what the run did that no run may do."""
        before, self._before = self._before, None
        if before is None:
            return []
        found = snapshot(self.master.source)
        files = {name: data for name, data in found.items() if data is not None}
        return check_after(before, versions_of(files), run)

    def _show(self) -> Files:
        """Return the content of the prefix without markers of empty directories."""
        return {key: data for key, data in self.shown().items() if not key.endswith("/")}


def check_runs_in_hostile_tests(
    test: pytest.FixtureRequest, user: Slave | Master, source: Source
) -> None:
    """Check every run of a test in `hostile`, in addition to what the test checks itself."""
    if test.path.parent.name == "hostile":
        agent = user.agent
        agent.checker = (
            SlaveChecker(user, source)
            if isinstance(user, Slave)
            else MasterChecker(user, source)
        )


def bucket_contents(bucket: Bucket) -> Source:
    """Return a function that reads the content of the default mapping's prefix from a real bucket."""
    start = f"{PREFIX}/"
    return lambda: {
        key.removeprefix(start): bucket.get(key)
        for key in bucket.keys()  # noqa: SIM118 - no dict
        if key.startswith(start)
    }


def server_contents(server: ScriptedS3) -> Source:
    """Return a function that reads the content of the default mapping's prefix from a scripted server."""
    start = f"{PREFIX}/"
    return lambda: {
        key.removeprefix(start): stored.data
        for key, stored in server.objects.copy().items()
        if key.startswith(start)
    }
