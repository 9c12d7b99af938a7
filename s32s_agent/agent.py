"""One pass over all mappings. What fails in one mapping never stops the next."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from s32s_agent import executor, planner
from s32s_agent.config import Settings
from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    MapError,
    Stopped,
    UsageError,
)
from s32s_agent.executor import Means, Stop, Throttle
from s32s_agent.index import Index, MappingIndex
from s32s_agent.mapfiles import MapCache, fetch_maps
from s32s_agent.maps import MapRules, Maps, read_maps
from s32s_agent.model import (
    Check,
    IndexRow,
    Mapping,
    Outcome,
    Plan,
    Role,
    Stamp,
    Status,
    Withheld,
)
from s32s_agent.places import (
    check_place,
    homes_of_people,
    make_missing,
    refuse_hidden_overlaps,
)
from s32s_agent.progress import Progress
from s32s_agent.report import MappingReport, RunReport
from s32s_agent.stores.base import Source, Target
from s32s_agent.stores.connection import Connection
from s32s_agent.stores.local import LocalOptions, LocalStore
from s32s_agent.stores.memory import MemoryStore
from s32s_agent.stores.s3 import S3Store
from s32s_agent.stores.tree import Tree, owner_named

INDEX = "index.db"
MAPS = "maps"


def new_run_id(now: datetime) -> str:
    """Name a pass; names sort by time, and the trash is pruned by them."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked of this pass."""

    names: tuple[str, ...] = ()
    """Only these mappings; () is all."""
    dry_run: bool = False
    verify: bool = False
    allow_deletes: bool = False


@dataclass(slots=True)
class Pass:
    """One pass: what it works with, and what it has found out so far.

    `run` does it all. Nothing of it is kept for the next pass but what is on the disk.
    """

    settings: Settings
    options: Options
    run_id: str
    log: FilteringBoundLogger
    progress: Progress
    stop: Stop = field(default_factory=Stop)
    report: RunReport = field(default_factory=RunReport)
    show_plan: Callable[[Mapping, Plan], None] = lambda _mapping, _plan: None
    """Called with every plan of a dry run."""

    def run(self, now: datetime) -> RunReport:
        """Do the pass; `report` is right at any time, also when an exception ends it.

        Raises:
            AgentError: nothing could be done at all; for `Stopped`, not everything.
        """
        with contextlib.ExitStack() as stack:
            connection = Connection(self.settings.s3, self.settings.sync.workers)
            index = stack.enter_context(contextlib.closing(self._open_index()))
            maps = self._load_maps(connection)
            places = dict(self._places(maps.mappings))
            throttle = Throttle(self.settings.sync.max_bandwidth, self.stop)
            for mapping in self._chosen(maps):
                if mapping.name in places:
                    work = _Work(self, connection, index, mapping, places[mapping.name])
                    self._run_mapping(work, throttle, now)
        return self.report

    def _open_index(self) -> Index:
        path = Path(self.settings.state_dir, INDEX)
        index = Index(path, read_only=self.options.dry_run)
        if index.damaged:
            self.log.warning(
                "index.damaged", error=index.damaged, remedy="files are hashed anew"
            )
        return index

    # --- the maps ---

    def _load_maps(self, connection: Connection) -> Maps:
        keep = None if self.options.dry_run else Path(self.settings.state_dir, MAPS)
        files = fetch_maps(connection, self.settings.maps, MapCache(keep))
        maps = read_maps(files, map_rules(self.settings))
        self.log.info("maps.loaded", files=len(files), mappings=len(maps.mappings))
        for failure in maps.failures:
            if self._is_chosen(failure.mapping):
                self._fail(MappingReport(failure.mapping), failure.error)
        return maps

    def _is_chosen(self, name: str) -> bool:
        return not self.options.names or name in self.options.names

    def _chosen(self, maps: Maps) -> list[Mapping]:
        known = {mapping.name for mapping in maps.mappings}
        known |= {failure.mapping for failure in maps.failures}
        if unknown := [name for name in self.options.names if name not in known]:
            names = ", ".join(f'"{name}"' for name in unknown)
            raise UsageError(f"--map: no mapping is called {names}")
        return [mapping for mapping in maps.mappings if self._is_chosen(mapping.name)]

    def _places(self, mappings: Collection[Mapping]) -> Iterator[tuple[str, str]]:
        """Resolve the mappings' directories; yield those that may be mirrored, by mapping."""
        homes = homes_of_people()
        places: list[tuple[Mapping, str]] = []
        failures: dict[str, MapError] = {}
        for mapping in mappings:
            try:
                roots, state = self.settings.roots, self.settings.state_dir
                places.append((mapping, check_place(mapping, roots, state, homes)))
            except MapError as error:
                failures[mapping.name] = error
        failures |= refuse_hidden_overlaps(places)
        for mapping in mappings:
            if mapping.name in failures and self._is_chosen(mapping.name):
                self._fail(MappingReport.of(mapping), failures[mapping.name])
        yield from ((each.name, place) for each, place in places if each.name not in failures)

    def _fail(self, report: MappingReport, error: AgentError) -> None:
        self.report.mappings.append(report)
        self._end_mapping(report, error)

    def _end_mapping(self, report: MappingReport, error: AgentError) -> None:
        report.fail(error)
        remedy = {"remedy": error.remedy} if error.remedy else {}
        self.log.error(
            "mapping.failed",
            mapping=report.name,
            error=str(error),
            cause=error.cause,
            **remedy,
        )

    # --- one mapping ---

    def _run_mapping(self, work: _Work, throttle: Throttle, now: datetime) -> None:
        report = MappingReport.of(work.mapping)
        self.report.mappings.append(report)
        started = time.monotonic()
        try:
            work.run(report, throttle, now)
        except Stopped:
            self.stop.set()
            raise
        except AgentError as error:
            self._end_mapping(report, error)
        finally:
            self.progress.finish()
            report.seconds = time.monotonic() - started
        if report.error is None:
            self.log.info(
                "mapping.finished",
                mapping=report.name,
                **report.counts(),
                withheld=report.withheld,
                seconds=round(report.seconds, 3),
            )


@dataclass(slots=True)
class _Work:
    """One mapping of a pass."""

    whole: Pass
    connection: Connection
    index: Index
    mapping: Mapping
    place: str
    """The local directory, resolved."""

    @property
    def is_slave(self) -> bool:
        return self.whole.settings.role is Role.SLAVE

    def run(self, report: MappingReport, throttle: Throttle, now: datetime) -> None:
        """Compare, plan, and carry the plan out."""
        dry_run = self.whole.options.dry_run
        remote = S3Store(self.connection, self.mapping.location)
        identity = "\n".join(
            (self.connection.endpoint, str(self.mapping.location), self.place)
        )
        index = self.index.of_mapping(identity)
        remote.sort = index.unordered
        with self._local(index) as local:
            source, target = self._sides(remote, local)
            stop = Stop(self.whole.stop)
            means = Means(
                source,
                target,
                index,
                self.whole.settings.sync.workers,
                throttle,
                stop,
                self.whole.progress.advance,
            )
            plan = self._plan(remote, local, means)
            self._report_plan(plan, report)
            if dry_run:
                self.whole.show_plan(self.mapping, plan)
                return
            self._carry_out(plan, means, report)
            if isinstance(local, LocalStore):
                local.prune_trash(now)

    def _sides(
        self, remote: S3Store, local: LocalStore | MemoryStore
    ) -> tuple[Source, Target]:
        return remote, local

    @contextlib.contextmanager
    def _local(self, index: MappingIndex) -> Iterator[LocalStore | MemoryStore]:
        """Open the local directory; one that a dry run must not make is empty."""
        whole = self.whole
        sync, dry_run = whole.settings.sync, whole.options.dry_run
        if dry_run and not Path(self.place).exists():
            yield MemoryStore()
            return
        if self.is_slave:
            make_missing(self.place, sync.dir_mode)
        options = LocalOptions(
            whole.run_id,
            sync.durable,
            sync.trash_days,
            sync.file_mode,
            sync.dir_mode,
            owner_named(sync.owner),
        )
        try:
            tree = Tree(self.place)
        except OSError as error:
            raise DirectoryError(f'"{self.place}": {error.strerror}') from error
        with contextlib.closing(tree):
            local = LocalStore(tree, index.rows, options, trust_index=not whole.options.verify)
            if not dry_run:
                local.claim()
            yield local

    def _plan(self, remote: S3Store, local: LocalStore | MemoryStore, means: Means) -> Plan:
        sync = self.whole.settings.sync
        found = self._difference(remote, means)
        progress = self.whole.progress
        progress.start(f"{self.mapping.name}: hashing", len(found.checks), 0)
        same = executor.alike(
            found.checks,
            lambda check: local.open(check.found if self.is_slave else check.entry),
            lambda check: _reference(check, remote, is_slave=self.is_slave),
            means,
        )
        guards = planner.Guards(
            sync.max_delete.allowed, sync.allow_empty_source, self.whole.options.allow_deletes
        )
        plan = planner.make_plan(found, same, self.mapping.extras, guards)
        if not self.whole.options.dry_run:
            self._adopt(plan, same, local, means.index)
        return plan

    def _difference(self, remote: S3Store, means: Means) -> planner.Difference:
        scans = means.source.scan, means.target.scan
        try:
            return planner.difference(scans[0](), scans[1](), self.mapping)
        except planner.OutOfOrder:
            if remote.sort or not remote.may_be_unordered:
                raise
            remote.sort = True
            found = planner.difference(scans[0](), scans[1](), self.mapping)
            means.index.note_unordered()
            return found

    def _adopt(
        self,
        plan: Plan,
        same: dict[str, Stamp],
        local: LocalStore | MemoryStore,
        index: MappingIndex,
    ) -> None:
        """Let the index learn of files that were found to be right already."""
        if not plan.adopted:
            return
        if isinstance(local, LocalStore):
            local.make_durable()
        index.remember(
            IndexRow(
                check.entry.key,
                _reference_etag(check, is_slave=self.is_slave),
                same[check.entry.key],
            )
            for check in plan.adopted
        )

    def _report_plan(self, plan: Plan, report: MappingReport) -> None:
        log = self.whole.log.bind(mapping=self.mapping.name)
        report.add_plan(plan)
        log.info(
            "mapping.planned",
            copies=len(plan.copies),
            deletes=len(plan.clears) + len(plan.deletes),
            unchanged=plan.unchanged + len(plan.adopted),
            bytes=plan.bytes,
        )
        for problem in plan.skipped:
            note = log.info if problem.expected else log.warning
            note("entry.skipped", key=problem.key, reason=problem.reason)
        for withheld in plan.withheld:
            log.error("deletes.withheld", count=withheld.count, reason=withheld.reason)

    def _carry_out(self, plan: Plan, means: Means, report: MappingReport) -> None:
        log = self.whole.log.bind(mapping=self.mapping.name)
        entries = len(plan.clears) + len(plan.copies) + len(plan.deletes)
        self.whole.progress.start(self.mapping.name, entries, plan.bytes)
        for each in executor.carry_out(plan, means):
            if isinstance(each, Withheld):
                report.add_withheld(each.count, each.reason)
                log.error("deletes.withheld", count=each.count, reason=each.reason)
            else:
                report.add(each)
                _log_outcome(log, each)


def _reference(
    check: Check, remote: S3Store, *, is_slave: bool
) -> tuple[str, int, tuple[int, ...]]:
    """Give what a local file must hash to: the object's ETag, its size, and the sizes of its parts."""
    entry = check.entry if is_slave else check.found
    return entry.etag or "", entry.size, remote.part_sizes(entry)


def _reference_etag(check: Check, *, is_slave: bool) -> str:
    return (check.entry if is_slave else check.found).etag or ""


def _log_outcome(log: FilteringBoundLogger, outcome: Outcome) -> None:
    match outcome.status:
        case Status.COPIED:
            log.info(
                "entry.copied",
                key=outcome.key,
                size=outcome.size,
                why=outcome.why,
                seconds=round(outcome.seconds, 3),
                verified=outcome.verified,
            )
        case Status.DELETED:
            log.info("entry.deleted", key=outcome.key)
        case Status.SKIPPED:
            log.warning("entry.skipped", key=outcome.key, reason=str(outcome.error))
        case Status.FAILED:
            log.error("entry.failed", key=outcome.key, error=str(outcome.error))


def map_rules(settings: Settings) -> MapRules:
    """Collect what this computer allows a mapping to say."""
    return MapRules(settings.role, settings.roots, settings.state_dir, homes_of_people())
