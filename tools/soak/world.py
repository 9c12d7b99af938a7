"""A bucket, a master, slaves whose configs overlap in every way, and everything that disturbs them."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.agents import Agent, AgentRun
from support.buckets import Bucket, open_client_as
from support.invariants import check_index
from support.trees import RESERVED, canary, snapshot

from s32s_agent.demo.seaweedfs import seaweedfs
from tools.soak.changes import User, Vandal, Writer
from tools.soak.contents import Library
from tools.soak.runs import Clock, Runs, find_faketime, repeat
from tools.soak.tally import Tally
from tools.soak.watchers import BucketWatcher, TreeWatcher

SITE, PUSH = "site", "push"
"""The prefix that the writer changes, and the one that the master pushes."""
STORE_SECONDS = 400
"""SeaweedFS removes an empty directory two to three minutes after its last object has gone."""
RUNS_AT_THE_END = ("master", "first", "other", "reader")


@dataclass(slots=True)
class World:
    """Everything of one run.

    `first` and `twin` are one config; `other` has another state for the same directory; `reader` mirrors what `master`
    pushes.
    """

    directory: Path
    bucket: Bucket
    seed: int
    tally: Tally
    library: Library
    agents: dict[str, Agent]
    clock: Clock | None

    @property
    def target(self) -> Path:
        """Where the writer's prefix is mirrored, and the vandal is at work."""
        return self.directory / "srv" / SITE

    @property
    def source(self) -> Path:
        """What the master pushes."""
        return self.directory / "master" / PUSH

    @property
    def copy(self) -> Path:
        """Where that is mirrored again."""
        return self.directory / "srv" / PUSH

    @property
    def outside(self) -> Path:
        """What links lead to, and must not change."""
        return self.directory / "outside"

    def rng(self, name: str) -> random.Random:
        """Return a generator for one thread, so that threads do not share one."""
        return random.Random(f"{self.seed}:{name}")

    # --- the storm ---

    def storm(self, seconds: float) -> None:
        """Run all threads for some seconds, then wait for the runs that are under way."""
        before = canary(self.outside)
        troublers = [*self._troublers(), *([self.clock] if self.clock else [])]
        for each in troublers:
            each.begin()
        stop, watchers = threading.Event(), self._watchers()
        with ThreadPoolExecutor(32) as pool:
            futures = [pool.submit(each.run, stop) for each in self._runs()]
            for each in troublers:
                pause = self._pause(each)
                futures.append(pool.submit(repeat, each.act, pause, stop))
            futures += [pool.submit(repeat, each.act, lambda: 0.1, stop) for each in watchers]
            end = time.monotonic() + seconds
            while time.monotonic() < end and all(each.running() for each in futures):
                time.sleep(0.2)
            stop.set()
        for future in futures:
            future.result()
        for each in troublers:
            each.settle()
        if canary(self.outside) != before:
            self.tally.violate(f'"{self.outside}" was changed')

    def _pause(self, troubler: object) -> Callable[[], float]:
        rng = self.rng(f"the pauses of {type(troubler).__name__}")
        longest = 3 if troubler is self.clock else 0.2
        return lambda: rng.uniform(0, longest)

    def _troublers(self) -> list[Writer | User | Vandal]:
        library, tally = self.library, self.tally
        states = [self.agents[name].state_dir for name in ("first", "other")]
        aside, away = self.directory / "aside", self.outside
        return [
            Writer(self.bucket, SITE, library, self.rng("writer"), tally, self.publish_maps),
            User(self.source, aside, library, self.rng("user"), tally),
            Vandal(self.target, aside, away, states, library, self.rng("vandal"), tally),
        ]

    def _runs(self) -> list[Runs]:
        known = (self.bucket.server.secret_key.encode(),)
        return [
            Runs(name, agent, self.clock, self.rng(name), self.tally, known)
            for name, agent in self.agents.items()
        ]

    def _watchers(self) -> list[TreeWatcher | BucketWatcher]:
        library, tally = self.library, self.tally
        trees = [TreeWatcher(place, library, tally) for place in (self.target, self.copy)]
        return [*trees, BucketWatcher(self.bucket, PUSH, library, tally)]

    def publish_maps(self, broken: bool) -> None:  # noqa: FBT001 (a state, not an option)
        """Put the map files into the bucket, one of them broken if so asked."""
        slaves = [
            {
                "name": name,
                "s3": f"{self.bucket.name}/{name}",
                "slave": str(self.directory / "srv" / name),
            }
            for name in (SITE, PUSH)
        ]
        master = [
            {"name": PUSH, "s3": f"{self.bucket.name}/{PUSH}", "master": str(self.source)}
        ]
        self.bucket.put(
            "maps/slave/map.json", b"[{" if broken else json.dumps(slaves).encode()
        )
        self.bucket.put("maps/master/map.json", json.dumps(master).encode())

    # --- the calm ---

    def calm(self) -> None:
        """Make one run of each agent, which must correct everything, and one that finds nothing to do."""
        for name in RUNS_AT_THE_END:
            for number in ("first", "second"):
                run = self._pass_in_the_calm(self.agents[name])
                done = run.named("run.finished")
                changes = [(each["copied"], each["deleted"]) for each in done]
                if run.exit_code or (number == "second" and changes != [(0, 0)]):
                    self.tally.violate(
                        f"{name}: the {number} run in the calm ended with status"
                        f" {run.exit_code} and {changes} changes:\n{run.stderr[-3000:]}"
                    )
        self._compare()

    def _pass_in_the_calm(self, agent: Agent) -> AgentRun:
        """Make a run, and more of them until SeaweedFS has removed a directory that a file replaces."""
        end = time.monotonic() + STORE_SECONDS
        while True:
            run = agent.run("--once")
            failed = run.named("entry.failed")
            waits = [each for each in failed if "still has a directory" in each["error"]]
            if not waits or waits != failed or time.monotonic() > end:
                return run
            self.tally.add("runs that waited for the store")
            time.sleep(5)

    def _compare(self) -> None:
        objects = {prefix: self._objects(prefix) for prefix in (SITE, PUSH)}
        pairs = {
            "the target": (_files(self.target), objects[SITE]),
            "the bucket": (objects[PUSH], _files(self.source)),
            "the copy": (_files(self.copy), objects[PUSH]),
        }
        for name, (actual, expected) in pairs.items():
            if actual != expected:
                wrong = sorted(
                    key
                    for key in actual.keys() | expected.keys()
                    if actual.get(key) != expected.get(key)
                )
                self.tally.violate(f"{name} is not what it should be in the end: {wrong}")
            self.tally.add("files compared in the end", len(expected))
        self._look_at_the_indexes()
        self._look_into_the_trash()
        places = (self.directory / "srv", *(agent.state_dir for agent in self.agents.values()))
        left = [str(each) for place in places for each in place.rglob(".s32s-tmp.*")]
        answer = self.bucket.client.list_multipart_uploads(Bucket=self.bucket.name)
        left += [upload["Key"] for upload in answer.get("Uploads", [])]
        if left:
            self.tally.violate(f"left behind: {left}")

    def _look_at_the_indexes(self) -> None:
        """Check that no index vouches for bytes that a file does not contain."""
        for name in RUNS_AT_THE_END:
            for place in (self.target, self.copy, self.source):
                for wrong in check_index(self.agents[name].state_dir, place, {}):
                    self.tally.violate(f"{name}: {wrong}")

    def _look_into_the_trash(self) -> None:
        """Check that its files are complete: versions of the bucket, or of the vandal."""
        for place in (self.target, self.copy):
            trash = place / RESERVED / "trash"
            for path in trash.rglob("*"):
                if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                    continue
                key = path.relative_to(trash).as_posix().partition("/")[2].partition("~")[0]
                self.tally.add("files in the trash")
                if objection := self.library.objection(key, path.read_bytes()):
                    self.tally.violate(f'"{path}" in the trash holds {objection}')

    def _objects(self, prefix: str) -> dict[str, bytes]:
        keys = [key for key in self.bucket.keys() if key.startswith(f"{prefix}/")]  # noqa: SIM118
        return {
            key.removeprefix(f"{prefix}/"): self.bucket.get(key)
            for key in keys
            if not key.endswith("/")
        }


def _files(directory: Path) -> dict[str, bytes]:
    return {key: data for key, data in snapshot(directory).items() if data is not None}


@contextmanager
def new_world(directory: Path, seed: int) -> Iterator[World]:
    """Set everything up below an empty directory; the server ends with the block."""
    for name in ("server", "srv", f"master/{PUSH}", "outside/inner", "aside"):
        (directory / name).mkdir(parents=True)
    for name in ("file", "inner/file", "0", "1"):
        (directory / "outside" / name).write_bytes(b"precious")
    tally = Tally()
    with ExitStack() as stack:
        server = stack.enter_context(seaweedfs(directory / "server"))
        client = stack.enter_context(open_client_as(server))
        client.create_bucket(Bucket="soak")
        agents = {}
        for name in ("first", "other", "reader", "master"):
            (directory / name / "agent").mkdir(parents=True)
            agents[name] = Agent(directory / name / "agent", server)
        agents["twin"] = agents["first"]
        library = find_faketime()
        clock_rng = random.Random(f"{seed}:clock")
        clock = Clock(library, directory / "clock", clock_rng, tally) if library else None
        world = World(
            directory, Bucket("soak", client, server), seed, tally, Library(), agents, clock
        )
        _configure(world)
        world.publish_maps(broken=False)
        yield world


def _configure(world: World) -> None:
    roots = [world.directory / "srv"]
    everything = {"max_delete": "100%"}
    durable = {**everything, "durable": False}
    world.agents["first"].configure(maps="soak/maps/slave", roots=roots, sync=everything)
    world.agents["other"].configure(
        maps="soak/maps/slave", roots=roots, sync={**everything, "trash_days": 0}
    )
    world.agents["reader"].configure(maps="soak/maps/slave", roots=roots, sync=durable)
    world.agents["master"].configure(
        role="master",
        maps="soak/maps/master",
        roots=[world.directory / "master"],
        sync=everything,
    )
