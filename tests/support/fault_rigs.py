"""A rig for fault injection: one agent whose next run meets a fault, and what must hold then and afterwards.

    with new_rig(SCENARIOS["change"], directory, once) as rig:
        traced = rig.trace(lambda call: KILL if call.number == 7 else PROCEED)
        assert rig.problems(traced) == []

No assertion is made here.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from s32s_agent.demo.seaweedfs import Identity, S3Server
from support.agents import Agent, AgentRun, parse_events
from support.hosts import PREFIX
from support.invariants import (
    Invariants,
    Tree,
    Versions,
    check_after,
    check_output,
    check_recovery,
    check_status,
    state_before_run,
    temporaries,
    versions_of,
)
from support.masters import Master
from support.scripted import ScriptedS3
from support.secrecy import files_with_secrets, holds_secrets
from support.slaves import Slave
from support.tracing import Action, Call, TracedRun, trace
from support.trees import RESERVED, snapshot, write

Once = Callable[[Agent], AgentRun]
Files = dict[str, bytes]
Decide = Callable[[Call], Action]

OLD_TRASH = f"{RESERVED}/trash/20200101T000000Z-abcdef/old"
OWN_STATE = {
    "run.lock",
    "index.db",
    "index.db-journal",
    "last_run.json",
    "last_skipped.json",
    "stores.json",
    "batches",
    "maps",
    "pending",
    "uploads",
}
"""All that the agent keeps in its state directory."""


def as_process(agent: Agent) -> AgentRun:
    """Run the agent once, as users do."""
    return agent.run("--once")


HOOKED, METRICS = "hooked", "agent.prom"


@dataclass(slots=True)
class FaultRig:
    """One agent, what it mirrors, and what must hold whatever happens to its next run."""

    directory: Path
    agent: Agent
    server: ScriptedS3
    once: Once
    local: Path
    """The local directory of the mapping."""
    is_master: bool = False
    keeps_trash: bool = True
    published: list[Files] = field(default_factory=list)
    """Every state of the source; the last one is what the target must become."""
    precious: frozenset[bytes] = frozenset()
    """Contents that only this computer has: each must be in the tree or in the trash."""
    disposable: frozenset[bytes] = frozenset()
    """Contents that the trash may hold as well."""
    then: Callable[[FaultRig], None] = lambda _rig: None
    """Called between the fault and the next run."""
    before: Invariants | None = None
    outputs: Path | None = None
    """The directory for the file that a hook copies, and for the metrics; None without them."""
    orphans: set[str] = field(default_factory=set)
    """Uploads that a killed run could not record: S3 had begun them, and the answer had not arrived."""

    @property
    def outside(self) -> Path:
        """A tree that must not change."""
        return self.directory / "outside"

    @property
    def versions(self) -> Versions:
        return versions_of(*self.published)

    def publish(self, files: Files) -> None:
        """Make these files the content of a slave's source."""
        for key in [key for key in self.server.objects if key.startswith(f"{PREFIX}/")]:
            if key.removeprefix(f"{PREFIX}/") not in files:
                del self.server.objects[key]
        for key, data in files.items():
            if self.shown().get(key) != data:
                self.server.put(f"{PREFIX}/{key}", data)
        self.published.append(files)

    def shown(self) -> Files:
        """Return the content of the prefix."""
        return {
            key.removeprefix(f"{PREFIX}/"): stored.data
            for key, stored in self.server.objects.items()
            if key.startswith(f"{PREFIX}/")
        }

    def tree(self) -> Tree:
        """Return the files of the target."""
        if self.is_master:
            return dict(self.shown())
        found = snapshot(self.local) if self.local.is_dir() else {}
        return {name: data for name, data in found.items() if data is not None}

    def trash(self) -> Files:
        """Return the files in the trash, by path."""
        trash = self.local / RESERVED / "trash"
        found = snapshot(trash) if trash.is_dir() else {}
        return {name: data for name, data in found.items() if data is not None}

    def leftovers(self) -> list[str]:
        """List temporary files, unfinished uploads, and unknown files in the state directory."""
        state = self.agent.state_dir
        unknown = {each.name for each in state.iterdir()} - OWN_STATE if state.is_dir() else ()
        found = [*temporaries(self.directory), *unknown]
        uploads = self.server.uploads.items()
        return [
            *found,
            *(f"upload of {key}" for each, (key, _) in uploads if each not in self.orphans),
        ]

    def trace(self, decide: Decide, log: Path | None = None) -> TracedRun:
        """Run the agent once, and decide about each of its calls."""
        self.begin()
        within = [self.local, self.agent.state_dir, *([self.outputs] if self.outputs else [])]
        return trace(
            self.agent.command("--once"),
            self.agent.environment(),
            within=within,
            decide=decide,
            log=log,
        )

    def begin(self) -> None:
        """Record the state before the run."""
        outside = [self.outside, *([self.local] if self.is_master else [])]
        show = self.tree if self.is_master else None
        self.before = state_before_run(self.local, self.agent.state_dir, outside, show)

    def problems(self, traced: TracedRun) -> list[str]:
        """List what is wrong after a run that met a fault, and after the two runs that follow."""
        run = ended(traced)
        if run is None:
            notes = "".join(map(Path.read_text, self.agent.state_dir.glob("uploads/*.json")))
            self.orphans |= {each for each in self.server.uploads if each not in notes}
        found = self.disclosed(traced.stderr) + self.problems_now(run)
        self.then(self)
        return found + self.problems_after_recovery()

    def disclosed(self, log: str) -> list[str]:
        """List where a run disclosed a credential: in its log, or in files."""
        secrets, files = self.agent.secrets, self.agent.directory
        found = [
            f"a credential was disclosed in {each}"
            for each in files_with_secrets(secrets, files)
        ]
        return found + ["a credential was disclosed"] * holds_secrets(secrets, log.encode())

    def problems_after_recovery(self) -> list[str]:
        """List what is wrong after two runs without a fault."""
        wanted = dict(self.published[-1])
        once, tree = (lambda: self.once(self.agent)), self.tree
        found = [*check_recovery(once, tree, wanted, self.leftovers), *self._lost()]
        if self.outputs is not None:
            pending = self.agent.state_dir.glob("pending/*")
            found += [f"the hook of {each.name} never ran" for each in pending]
            found += [
                f"{name} does not show the last change"
                for name, data in ((HOOKED, wanted["changed"]), (METRICS, b"s32s_agent_"))
                if data not in (self.outputs / name).read_bytes()
            ]
        return found

    def problems_now(self, run: AgentRun | None) -> list[str]:
        """List what is wrong before any other run."""
        assert self.before is not None
        found_index = index_as_found(self.agent.state_dir, self.directory / "index-copy")
        before = replace(self.before, state_dir=found_index)
        current = self.published[-1]
        found = [*self._lost(), *self._torn_status()]
        until = run and _until_it_deleted(run)
        found += check_after(before, self.versions, until, current=current)
        if run is not None:
            found += check_output(run)
            found += check_status(run, self.tree(), dict(current))
        return found

    def _torn_status(self) -> Iterator[str]:
        for name in ("last_run.json", "last_skipped.json"):
            path = self.agent.state_dir / name
            try:
                json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError:
                yield f"{name} is torn"

    def _lost(self) -> list[str]:
        """List contents that are neither in the tree nor in the trash, and files that do not belong in the trash."""
        trash = self.trash()
        held = {*trash.values(), *self.tree().values()}
        lost = [
            f"{data[:20]!r}, of which this was the only copy, is lost"
            for data in self.precious - held
        ]
        old = OLD_TRASH.partition("trash/")[2]
        own = [
            f"{name!r} in the trash is a version that the agent installed"
            for name, data in trash.items()
            if name != old and data not in self.precious | self.disposable
        ]
        return lost + own


def ended(traced: TracedRun) -> AgentRun | None:
    """Return the output of a run; None when it was killed."""
    if traced.exit_code < 0:
        return None
    events = parse_events(traced.stderr)
    return AgentRun(traced.exit_code, events, "", traced.stderr)


def _until_it_deleted(run: AgentRun) -> AgentRun:
    """Leave out events after the last deletion: index or trash may fail when all is done."""
    deleted = [
        number for number, each in enumerate(run.events) if each["event"] == "entry.deleted"
    ]
    events = run.events[: deleted[-1]] if deleted else run.events
    return replace(run, events=events)


def index_as_found(state_dir: Path, copy: Path) -> Path:
    """Copy the index as the next run will read it, with a hot journal rolled back; return the copy's directory."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in state_dir.glob("index.db*"):
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / "index.db")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")
    return copy


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a rig is built."""

    name: str
    build: Callable[[FaultRig], None]
    is_master: bool = False
    sync: dict[str, Any] = field(default_factory=dict)
    small_ranges: bool = False
    reports: bool = False
    """A hook runs after a change, and metrics are written."""


@contextmanager
def new_rig(
    scenario: Scenario, directory: Path, once: Once = as_process
) -> Iterator[FaultRig]:
    """Build a rig in an empty directory; it is removed at the end.

    Args:
        scenario: which one.
        directory: on the file system in which faults are injected.
        once: runs the agent without a fault.
    """
    for name in ("agent", "srv", "outside"):
        (directory / name).mkdir(parents=True)
    with ScriptedS3() as server:
        agent = Agent(directory / "agent", _as_server(server), scenario.small_ranges)
        # One worker, so that the calls come in one order each time.
        sync = {"workers": 1, **scenario.sync}
        side = Master if scenario.is_master else Slave
        user = side(agent, server.bucket, server.put, directory / "srv")
        user.publish_map(user.mapping())
        place = user.source if isinstance(user, Master) else user.target
        outputs = directory / "outputs" if scenario.reports else None
        user.configure(
            "maps/site.json", sync=sync, **(_reporting(place, outputs) if outputs else {})
        )
        keeps = scenario.sync.get("trash_days", 1) > 0
        rig = FaultRig(
            directory, agent, server, once, place, scenario.is_master, keeps, outputs=outputs
        )
        write(rig.outside, {"precious": b"precious", "d/precious": b"precious"})
        try:
            scenario.build(rig)
            yield rig
        finally:
            shutil.rmtree(directory)


def _reporting(place: Path, outputs: Path) -> dict[str, Any]:
    """Return the sections of a config with a hook, which copies a file, and with metrics."""
    outputs.mkdir()
    return {
        "hooks": {"on_change": ["cp", f"{place}/changed", f"{outputs}/{HOOKED}"]},
        "monitoring": {"metrics_file": f"{outputs}/{METRICS}"},
    }


def _as_server(server: ScriptedS3) -> S3Server:
    keys: dict[str, Identity] = {}
    secret = "long-enough-to-be-looked-for"
    return S3Server(server.endpoint_url, "key", secret, os.getpid(), Path(), keys)
