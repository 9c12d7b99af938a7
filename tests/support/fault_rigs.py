"""A pass with something of everything to do, made anew for each fault that is tried on it.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from s32s_agent.demo.seaweedfs import Identity, S3Server
from s32s_agent.model import Entry
from s32s_agent.stores.local.partial_downloads import name_of
from support.agents import Agent, AgentRun, parse_events
from support.hosts import PREFIX
from support.invariants import (
    TEMPORARY,
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
from support.small_ranges import RANGE
from support.tracing import KILL, PROCEED, Action, Call, TracedRun, trace
from support.trees import RESERVED, snapshot, write

Once = Callable[[Agent], AgentRun]
Files = dict[str, bytes]
Decide = Callable[[Call], Action]

LARGE = 3 << 20
OLD_TRASH = f"{RESERVED}/trash/20200101T000000Z-abcdef/old"
OWN_STATE = {
    "run.lock",
    "index.db",
    "index.db-journal",
    "last_run.json",
    "last_skipped.json",
    "batches",
    "maps",
    "pending",
    "uploads",
}
"""All that the agent keeps in its state directory."""


def as_process(agent: Agent) -> AgentRun:
    """Make a pass as users do."""
    return agent.run("--once")


HOOKED, METRICS = "hooked", "agent.prom"


@dataclass(slots=True)
class FaultRig:
    """One agent, what it mirrors, and what must hold whatever happens to its next pass."""

    directory: Path
    agent: Agent
    server: ScriptedS3
    once: Once
    local: Path
    """The local directory of the mapping."""
    is_master: bool = False
    keeps_trash: bool = True
    published: list[Files] = field(default_factory=list)
    """Every state of the source, the last one being what is wanted."""
    precious: frozenset[bytes] = frozenset()
    """What only this computer had: it must be in the tree or in the trash."""
    disposable: frozenset[bytes] = frozenset()
    """What else the trash may hold."""
    then: Callable[[FaultRig], None] = lambda _rig: None
    """What happens between the fault and the next pass."""
    before: Invariants | None = None
    outlets: Path | None = None
    """The directory in which a hook keeps what it saw of the change, and the metrics are; None without them."""
    orphans: set[str] = field(default_factory=set)
    """Uploads that a killed pass could not even note: S3 had begun them, and it had not heard that yet."""

    @property
    def outside(self) -> Path:
        """A tree that nobody may touch."""
        return self.directory / "outside"

    @property
    def versions(self) -> Versions:
        return versions_of(*self.published)

    def publish(self, files: Files) -> None:
        """Make the source of a slave hold exactly these."""
        for key in [key for key in self.server.objects if key.startswith(f"{PREFIX}/")]:
            if key.removeprefix(f"{PREFIX}/") not in files:
                del self.server.objects[key]
        for key, data in files.items():
            if self.shown().get(key) != data:
                self.server.put(f"{PREFIX}/{key}", data)
        self.published.append(files)

    def shown(self) -> Files:
        """Give what the prefix holds."""
        return {
            key.removeprefix(f"{PREFIX}/"): stored.data
            for key, stored in self.server.objects.items()
            if key.startswith(f"{PREFIX}/")
        }

    def tree(self) -> Tree:
        """Give what the target holds, without its directories."""
        if self.is_master:
            return dict(self.shown())
        found = snapshot(self.local) if self.local.is_dir() else {}
        return {name: data for name, data in found.items() if data is not None}

    def trash(self) -> Files:
        """Give what is in the trash, by place."""
        trash = self.local / RESERVED / "trash"
        found = snapshot(trash) if trash.is_dir() else {}
        return {name: data for name, data in found.items() if data is not None}

    def leftovers(self) -> list[str]:
        """List what a pass left unfinished, or what nobody knows in the state directory."""
        state = self.agent.state_dir
        unknown = {each.name for each in state.iterdir()} - OWN_STATE if state.is_dir() else ()
        found = [*temporaries(self.directory), *unknown]
        uploads = self.server.uploads.items()
        return [
            *found,
            *(f"upload of {key}" for each, (key, _) in uploads if each not in self.orphans),
        ]

    def trace(self, decide: Decide, log: Path | None = None) -> TracedRun:
        """Make a pass, and decide about each of its calls."""
        self.begin()
        within = [self.local, self.agent.state_dir, *([self.outlets] if self.outlets else [])]
        return trace(
            self.agent.command("--once"),
            self.agent.environment(),
            within=within,
            decide=decide,
            log=log,
        )

    def begin(self) -> None:
        """Note how things are before the pass."""
        outside = [self.outside, *([self.local] if self.is_master else [])]
        show = self.tree if self.is_master else None
        self.before = state_before_run(self.local, self.agent.state_dir, outside, show)

    def problems(self, traced: TracedRun) -> list[str]:
        """List what is wrong after a pass that met a fault, and after the two that follow it."""
        run = ended(traced)
        if run is None:
            notes = "".join(map(Path.read_text, self.agent.state_dir.glob("uploads/*.json")))
            self.orphans |= {each for each in self.server.uploads if each not in notes}
        found = self.disclosed(traced.stderr) + self.problems_now(run)
        self.then(self)
        return found + self.problems_after_recovery()

    def disclosed(self, log: str) -> list[str]:
        """List where a pass told a credential, if only to the disk."""
        secrets, files = self.agent.secrets, self.agent.directory
        found = [
            f"a credential was disclosed in {each}"
            for each in files_with_secrets(secrets, files)
        ]
        return found + ["a credential was disclosed"] * holds_secrets(secrets, log.encode())

    def problems_after_recovery(self) -> list[str]:
        """List what is wrong after two passes without a fault."""
        wanted = dict(self.published[-1])
        once, tree = (lambda: self.once(self.agent)), self.tree
        found = [*check_recovery(once, tree, wanted, self.leftovers), *self._lost()]
        if self.outlets is not None:
            pending = self.agent.state_dir.glob("pending/*")
            found += [f"the hook that {each.name} asks for never ran" for each in pending]
            found += [
                f"{name} does not tell of the last change"
                for name, data in ((HOOKED, wanted["changed"]), (METRICS, b"s32s_agent_"))
                if data not in (self.outlets / name).read_bytes()
            ]
        return found

    def problems_now(self, run: AgentRun | None) -> list[str]:
        """List what is wrong already, before any other pass."""
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
        """List what is neither in the tree nor in the trash, and what has no place in the trash."""
        trash = self.trash()
        held = {*trash.values(), *self.tree().values()}
        lost = [
            f"{data[:20]!r}, which only was here, is lost" for data in self.precious - held
        ]
        old = OLD_TRASH.partition("trash/")[2]
        own = [
            f"{name!r} in the trash is the agent's own version"
            for name, data in trash.items()
            if name != old and data not in self.precious | self.disposable
        ]
        return lost + own


def ended(traced: TracedRun) -> AgentRun | None:
    """Give what a pass said; None of one that was killed."""
    if traced.exit_code < 0:
        return None
    events = parse_events(traced.stderr)
    return AgentRun(traced.exit_code, events, "", traced.stderr)


def _until_it_deleted(run: AgentRun) -> AgentRun:
    """Leave out what went wrong after the last deletion: the index or the trash may fail when all is done."""
    deleted = [
        number for number, each in enumerate(run.events) if each["event"] == "entry.deleted"
    ]
    events = run.events[: deleted[-1]] if deleted else run.events
    return replace(run, events=events)


def index_as_found(state_dir: Path, copy: Path) -> Path:
    """Copy the index as the next pass will find it, with a hot journal played back; give the copy's directory."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in state_dir.glob("index.db*"):
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / "index.db")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")
    return copy


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a rig is made."""

    name: str
    build: Callable[[FaultRig], None]
    is_master: bool = False
    sync: dict[str, Any] = field(default_factory=dict)
    small_ranges: bool = False
    tells: bool = False
    """A hook runs after a change, and metrics are written."""


@contextmanager
def new_rig(
    scenario: Scenario, directory: Path, once: Once = as_process
) -> Iterator[FaultRig]:
    """Make a rig in an empty directory; it goes at the end.

    Args:
        scenario: which one.
        directory: on the file system that the fault is to meet.
        once: how the passes without a fault are made.
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
        outlets = directory / "outlets" if scenario.tells else None
        user.configure(
            "maps/site.json", sync=sync, **(_telling(place, outlets) if outlets else {})
        )
        keeps = scenario.sync.get("trash_days", 1) > 0
        rig = FaultRig(
            directory, agent, server, once, place, scenario.is_master, keeps, outlets=outlets
        )
        write(rig.outside, {"precious": b"precious", "d/precious": b"precious"})
        try:
            scenario.build(rig)
            yield rig
        finally:
            shutil.rmtree(directory)


def _telling(place: Path, outlets: Path) -> dict[str, Any]:
    """Make the sections of a config whose pass tells what it did: to a hook, which takes a copy, and in metrics."""
    outlets.mkdir()
    return {
        "hooks": {"on_change": ["cp", f"{place}/changed", f"{outlets}/{HOOKED}"]},
        "monitoring": {"metrics_file": f"{outlets}/{METRICS}"},
    }


def _as_server(server: ScriptedS3) -> S3Server:
    keys: dict[str, Identity] = {}
    secret = "long-enough-to-be-looked-for"
    return S3Server(server.endpoint_url, "key", secret, os.getpid(), Path(), keys)


# --- the scenarios ---

_SMALL = {f"many/{number}": b"%d" % number for number in range(6)}
_OLD: Files = {
    "same": b"same",
    "changed": b"old",
    "large": b"old" * 1000,
    "touched": b"touched",
    "vanished": b"vanished",
    "gone/x": b"gone x",
    "gone/deep/y": b"gone y",
    "way": b"a file that gives way",
    "place/in": b"a directory that gives way",
}
_NEW: Files = {
    "same": b"same",
    "changed": b"new",
    "large": os.urandom(1024) * (LARGE // 1024),
    "touched": b"touched",
    "vanished": b"vanished",
    "adopted": b"adopted",
    "way/in/deep": b"new below",
    "place": b"a new file",
    **_SMALL,
}
_NEWEST: Files = {key: data + b"!" for key, data in _NEW.items()} | {"same": b"same"}
_EDIT, _MINE = b"edited by hand", b"written by hand"
_GIVEN_UP = frozenset(_OLD[key] for key in ("gone/x", "gone/deep/y", "way", "place/in"))


def _first(rig: FaultRig) -> None:
    rig.publish({**_SMALL, "d/large": _NEW["large"], "d/d/x": b"x"})


def _change(rig: FaultRig) -> None:
    rig.publish(_OLD)
    rig.once(rig.agent)
    rig.publish(_NEW)
    place = rig.local
    edits = {"large": _EDIT, "mine/own": _MINE, "adopted": _NEW["adopted"], OLD_TRASH: b"old"}
    write(place, edits)
    (place / "vanished").unlink()
    os.utime(place / "touched", (1, 1))
    rig.server.put("maps/site.json", rig.server.objects["maps/site.json"].data + b"\n")
    if rig.keeps_trash:
        rig.precious = frozenset({_EDIT, _MINE})
    rig.disposable = _GIVEN_UP | {_OLD["touched"], _NEW["adopted"]}


def _moving(rig: FaultRig) -> None:
    """As `change`, and the bucket has moved on when the next pass comes."""
    _change(rig)
    rig.then = lambda later: later.publish(_NEWEST)


def _repair(rig: FaultRig) -> None:
    """A pass after one that was killed when all was written and nothing renamed."""
    _change(rig)
    rig.trace(lambda call: KILL if call.name == "syncfs" else PROCEED)


def _ranged(rig: FaultRig) -> None:
    """Large objects in ranges: one of which a killed pass has left a part, one of which there is a false one."""
    old = {"large": b"old" * 1000, "other": b"old", "same": b"same"}
    new = {
        "large": os.urandom(16 * RANGE + 5),
        "other": os.urandom(9 * RANGE),
        "same": b"same",
    }
    rig.publish(old)
    rig.once(rig.agent)
    rig.publish(new)
    written: list[Call] = []

    def kill_late(call: Call) -> Action:
        if call.name == "pwrite64" and str(rig.local) in call.paths[0]:
            written.append(call)
        return KILL if len(written) > 12 else PROCEED

    rig.trace(kill_late)
    etag = rig.server.objects[f"{PREFIX}/other"].etag.strip('"')
    false = rig.local / name_of(Entry("other", len(new["other"]), etag))
    false.write_bytes(os.urandom(8 * RANGE))
    (rig.local / (TEMPORARY + "0" * 32)).write_bytes(b"of another version")


def _master(rig: FaultRig) -> None:
    old = {"same": b"same", "changed": b"old", "gone/x": b"gone", "large": b"old"}
    new = {"same": b"same", "changed": b"new", "large": os.urandom(1024) * (9 << 10), **_SMALL}
    rig.local.mkdir()
    write(rig.local, old)
    rig.published.append(old)
    rig.once(rig.agent)
    (rig.local / "gone/x").unlink()
    (rig.local / "gone").rmdir()
    write(rig.local, new)
    rig.published.append(new)


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("first", _first),
        Scenario("change", _change),
        Scenario("moving", _moving),
        Scenario("repair", _repair),
        Scenario("ranged", _ranged, small_ranges=True),
        Scenario("without durability", _change, sync={"durable": False}),
        Scenario("without trash", _change, sync={"trash_days": 0}),
        Scenario("telling", _change, tells=True),
        Scenario("master", _master, is_master=True),
    )
}


def calls_of(scenario: Scenario, directory: Path, once: Once = as_process) -> Sequence[Call]:
    """List the calls of the pass without a fault."""
    with new_rig(scenario, directory, once) as rig:
        return rig.trace(lambda _call: PROCEED).calls
