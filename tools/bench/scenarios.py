"""What is prepared before each run and checked after it, for each kind of work. Nothing here is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from .data import File
from .listing_server import TIME as LISTED_TIME
from .snapshots import publish
from .stage import BUCKET, Stage
from .tools import PREFIX, Job, Tool
from .trees import Inspector, difference, make, set_times, wipe
from .workloads import Scenario

BANDWIDTH_TOLERANCE = 0.1
SECOND = 1.1
FEW = 10
"""Objects that change in `Scenario.FEW_CHANGED`."""


class Play(Protocol):
    """One kind of work."""

    def begin(self, tools: list[Tool]) -> None:
        """Prepare what all runs share."""

    def before_round(self, number: int) -> None:
        """Prepare a round; the first is the warm-up."""

    def before(self, tool: Tool, job: Job) -> None:
        """Prepare a run."""

    def problem(self, tool: Tool, job: Job) -> str:
        """Return what is wrong with the result of a run; nothing when it is correct."""

    def after(self, tool: Tool, job: Job) -> None:
        """Clear away what no later run needs."""


def play_of(stage: Stage) -> Play:
    """Return the scenario of a workload."""
    plays: dict[Scenario, type[FirstPull | Unchanged | Changed | FewChanged | FirstPush]] = {
        Scenario.FIRST_PULL: FirstPull,
        Scenario.UNCHANGED: Unchanged,
        Scenario.CHANGED: Changed,
        Scenario.FEW_CHANGED: FewChanged,
        Scenario.FIRST_PUSH: FirstPush,
    }
    return plays[stage.workload.scenario](stage)


class FirstPull:
    """Everything is in S3 and nothing is here, not even a state."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.expected = stage.workload.data.files()
        self.kept = 0

    def begin(self, tools: list[Tool]) -> None:
        del tools
        fill(self.stage)

    def before_round(self, number: int) -> None:
        """Need nothing."""

    def before(self, tool: Tool, job: Job) -> None:
        self._clear(job)
        self.stage.set_up(tool, job)
        if self.stage.relay is not None:
            self.stage.relay.forget()

    def problem(self, tool: Tool, job: Job) -> str:
        del tool
        found, _ = Inspector(job.directory).look()
        return difference(found, self.expected) or self._too_fast_or_slow(job)

    def _too_fast_or_slow(self, job: Job) -> str:
        if job.max_bandwidth is None or self.stage.relay is None:
            return ""
        rate = self.stage.relay.rate()
        if abs(rate / job.max_bandwidth - 1) <= BANDWIDTH_TOLERANCE:
            return ""
        return f"{rate / 1e6:.1f} MB/s, which is not within 10 % of {job.max_bandwidth / 1e6:.1f} MB/s"

    def after(self, tool: Tool, job: Job) -> None:
        del tool
        self._clear(job)

    def _clear(self, job: Job) -> None:
        """Leave an empty directory."""
        if self.stage.workload.keeps_trees and job.directory.exists():
            self.kept += 1
            job.directory.rename(job.directory.with_name(f"kept-{self.kept}"))
        wipe(job.directory)


class Unchanged:
    """Both sides are equal. The trees are the benchmark's own; the warm-up lets each tool find that out."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.expected: dict[str, File] = stage.workload.data.files()
        self.inspectors: dict[str, Inspector] = {}
        self.warm = False

    def begin(self, tools: list[Tool]) -> None:
        if not self.stage.workload.listing_only:
            fill(self.stage)
        for tool in tools:
            job = self.stage.job(tool)
            wipe(job.directory)
            make(job.directory, self.stage.workload.data)
            set_times(job.directory, self._times())
            self.stage.set_up(tool, job)
            self.inspectors[tool.name] = Inspector(job.directory)
        if self.stage.workload.snapshots:
            publish(self.stage, 1, {})

    def _times(self) -> Iterator[tuple[str, float]]:
        """Return every key with the time of its object, which files have that were pulled before."""
        if self.stage.workload.listing_only:
            return ((key, LISTED_TIME) for key in self.expected)
        return self.stage.filled.times(BUCKET, PREFIX)

    def before_round(self, number: int) -> None:
        self.warm = number > 0

    def before(self, tool: Tool, job: Job) -> None:
        """Need nothing: it stays as the last run left it."""

    def problem(self, tool: Tool, job: Job) -> str:
        del job
        found, written = self.inspectors[tool.name].look()
        wrong = difference(found, self.expected)
        if wrong or not self.warm or not written:
            return wrong
        return f"{written:,} files were written, though nothing had changed"

    def after(self, tool: Tool, job: Job) -> None:
        """Keep everything."""


class Changed(Unchanged):
    """Every round begins with another version of every hundredth object, of the same size."""

    def before_round(self, number: int) -> None:
        data = self.stage.workload.data
        version = number + 1
        # The store knows times by the second, and a peer that compares them must have a chance to see a change.
        time.sleep(SECOND)
        self.stage.filled.fill(BUCKET, PREFIX, data, data.changing, version)
        self.expected |= data.changed(version)
        super().before_round(number)

    def problem(self, tool: Tool, job: Job) -> str:
        del job
        found, written = self.inspectors[tool.name].look()
        wrong = difference(found, self.expected)
        changed = len(self.stage.workload.data.changing)
        if wrong or not self.warm or written == changed:
            return wrong
        return f"{written:,} files were written, though {changed:,} had changed"


class FewChanged(Unchanged):
    """Every round begins with another version of ten objects, evenly spread, of the same size."""

    def before_round(self, number: int) -> None:
        listing, data, version = self.stage.listing, self.stage.workload.data, number + 1
        assert listing is not None, "only a listing server stands in for so many objects"
        self.changed = min(FEW, data.count)
        step = data.count // self.changed
        listing.versions = dict.fromkeys(range(0, step * self.changed, step), version)
        publish(self.stage, number + 2, listing.versions)
        self.expected |= {
            data.key(each): data.file(each, version) for each in listing.versions
        }
        super().before_round(number)

    def problem(self, tool: Tool, job: Job) -> str:
        del job
        found, written = self.inspectors[tool.name].look()
        wrong = difference(found, self.expected)
        if wrong or not self.warm or written == self.changed:
            return wrong
        return f"{written:,} files were written, though {self.changed:,} had changed"


class FirstPush:
    """Everything is here, and the bucket is new; so is the state."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.expected = stage.workload.data.files()

    def begin(self, tools: list[Tool]) -> None:
        del tools
        wipe(self.stage.source)
        make(self.stage.source, self.stage.workload.data)

    def before_round(self, number: int) -> None:
        """Need nothing."""

    def before(self, tool: Tool, job: Job) -> None:
        self.stage.filled.create(job.bucket)
        # The server makes room for a bucket at its first object, which takes up to a second.
        self.stage.filled.put(job.bucket, "first", b"1")
        self.stage.set_up(tool, job)

    def problem(self, tool: Tool, job: Job) -> str:
        del tool
        return difference(self.stage.filled.found(job.bucket, PREFIX), self.expected)

    def after(self, tool: Tool, job: Job) -> None:
        del tool
        self.stage.filled.remove(job.bucket)


def fill(stage: Stage) -> None:
    """Put the data set into S3."""
    data = stage.workload.data
    stage.filled.create(BUCKET)
    stage.filled.fill(BUCKET, PREFIX, data, range(data.count))
