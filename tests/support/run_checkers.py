"""Every pass of an agent judged by `invariants`, so that no test of a fault can forget to: what an agent's `watch` is.

    slave.agent.watch = SlaveWatch(slave, published_of(server))
    slave.once()  # fails the test when the pass did what none may do

The state of the source is noted before and after each pass, which gives every version that there ever was.
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
    before_a_pass,
    check_after,
    check_status,
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
class SlaveWatch:
    """Judges the passes of a slave in its default mapping."""

    slave: Slave
    source: Source
    """Gives what the prefix of the mapping holds, by key."""
    _versions: dict[str, set[bytes]] = field(default_factory=dict)
    _published: Files = field(default_factory=dict)
    _before: Invariants | None = None

    def begin(self) -> None:
        """Note how things are before a pass."""
        self._published = self._note()
        self._before = before_a_pass(self.slave.target, self.slave.agent.state_dir)

    def problems(self, run: AgentRun) -> list[str]:
        """List what the pass did that it must not do."""
        before, self._before = self._before, None
        if before is None:
            return []
        published = self._note()
        # What appears in the source, or goes, while the pass runs, may have been listed or not.
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
class MasterWatch:
    """Judges the passes of a master in its default mapping: a bucket is to it what a directory is to a slave."""

    master: Master
    shown: Source
    """Gives what the prefix of the mapping holds, by key."""
    _before: Invariants | None = None

    def begin(self) -> None:
        """Note how things are before a pass."""
        source, state_dir = self.master.source, self.master.agent.state_dir
        self._before = before_a_pass(source, state_dir, [source], self._show)

    def problems(self, run: AgentRun) -> list[str]:
        """List what the pass did that it must not do."""
        before, self._before = self._before, None
        if before is None:
            return []
        found = snapshot(self.master.source)
        files = {name: data for name, data in found.items() if data is not None}
        return check_after(before, versions_of(files), run)

    def _show(self) -> Files:
        """Give what the prefix holds, without what only says that a directory is empty."""
        return {key: data for key, data in self.shown().items() if not key.endswith("/")}


def watch_in_tests_of_faults(
    test: pytest.FixtureRequest, user: Slave | Master, source: Source
) -> None:
    """Have every pass judged where the test is one of faults, whatever else it looks at itself."""
    if test.path.parent.name == "hostile":
        agent = user.agent
        agent.watch = (
            SlaveWatch(user, source) if isinstance(user, Slave) else MasterWatch(user, source)
        )


def published_in(bucket: Bucket) -> Source:
    """Give what tells what the prefix of the default mapping holds in a real bucket."""
    start = f"{PREFIX}/"
    return lambda: {
        key.removeprefix(start): bucket.get(key)
        for key in bucket.keys()  # noqa: SIM118 - no dict
        if key.startswith(start)
    }


def published_of(server: ScriptedS3) -> Source:
    """Give what tells what the prefix of the default mapping holds."""
    start = f"{PREFIX}/"
    return lambda: {
        key.removeprefix(start): stored.data
        for key, stored in server.objects.copy().items()
        if key.startswith(start)
    }
