"""One mapping of a pass: open both sides, compare, plan, carry the plan out, and log what becomes of it.

The role only chooses which of the two sides is the source.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from structlog.typing import FilteringBoundLogger

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import Settings, Symlinks
from s32s_agent.errors import (
    AgentError,
    ConfigError,
    DeletesRefused,
    DirectoryError,
    ListingInconsistent,
)
from s32s_agent.model import (
    Check,
    Entry,
    IndexRow,
    Mapping,
    Outcome,
    Plan,
    Problem,
    Role,
    Stamp,
    Status,
    Withheld,
)
from s32s_agent.output.progress import Progress
from s32s_agent.plan.compare import Difference, OutOfOrder, difference
from s32s_agent.plan.plan import Guards, make_plan
from s32s_agent.run import execute, hashing, sandbox
from s32s_agent.run.context import Means
from s32s_agent.run.metering import Throttle
from s32s_agent.run.report import MappingReport
from s32s_agent.state.index import Index, MappingIndex
from s32s_agent.state.pending import Pending, local_path
from s32s_agent.stores.base import Content, Learned, ScanHints, Source, Target
from s32s_agent.stores.local.path_root import open_root
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.memory import MemoryStore
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.stores.s3.target import S3Target, UploadOptions
from s32s_agent.stores.s3.unfinished_uploads import Uploads

if TYPE_CHECKING:
    from s32s_agent.stores.local.target import LocalTarget

UPLOADS = "uploads"
BATCHES = "batches"
_COUNTED = 500
"""Entries of a listing that are counted together."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked of this pass."""

    names: tuple[str, ...] = ()
    """Only these mappings; () is all."""
    dry_run: bool = False
    verify: bool = False
    allow_deletes: bool = False
    config: str = ""
    """The config file."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every mapping of a pass works with."""

    settings: Settings
    options: Options
    run_id: str
    now: datetime
    log: FilteringBoundLogger
    progress: Progress
    cancel_token: CancelToken
    connection: Connection
    index: Index
    pending: Pending
    throttle: Throttle
    show_plan: Callable[[Mapping, Plan], None]
    """Called with every plan of a dry run."""


class _Sides(NamedTuple):
    """Both sides of a mapping."""

    source: Source
    target: Target
    remote: S3Source | S3Target
    """The one that is in S3."""
    open_local: Callable[[Entry], contextlib.AbstractContextManager[Content]]


class _Comparison(NamedTuple):
    """What two scans differ in, and what they learned."""

    difference: Difference
    source: Learned
    target: Learned


@dataclass(frozen=True, slots=True)
class Work:
    """One mapping of a pass."""

    tools: Tools
    mapping: Mapping
    place: str
    """The local directory, its links resolved."""

    def run(self, report: MappingReport) -> None:
        """Make the target equal to the source, or show how; `report` is right at any time.

        Raises:
            AgentError: what ended the mapping before its work was done.
        """
        try:
            self._run(report)
        except AgentError as error:
            sandbox.advise(error, self.place)
            raise

    def _run(self, report: MappingReport) -> None:
        tools = self.tools
        parts = (tools.connection.endpoint, str(self.mapping.location), self.place)
        index = tools.index.of_mapping("\n".join(parts))
        with self._open(index) as sides:
            means = Means(
                sides.source,
                sides.target,
                index,
                tools.settings.sync.workers,
                tools.throttle,
                CancelToken(tools.cancel_token),
                tools.progress.advance,
                tools.connection.timeouts.pause_seconds,
            )
            try:
                found = self._compare(sides, means)
                plan = self._plan(found.difference, sides, means)
            except ListingInconsistent:
                index.note_boundaries(())  # the next listing goes page by page
                raise
            self._report_plan(plan, report)
            if tools.options.dry_run:
                tools.show_plan(self.mapping, plan)
                return
            self._carry_out(plan, means, found.target.leftovers, report)
            sides.target.prune(tools.now)
            mounts = found.source.mounts
            if mounts is not None and mounts != index.mounts:
                index.note_mounts(mounts)

    # --- the two sides ---

    @property
    def _is_slave(self) -> bool:
        return self.tools.settings.role is Role.SLAVE

    def _s3_target(self) -> S3Target:
        mapping, settings = self.mapping, self.tools.settings
        options = UploadOptions(
            Uploads(Path(settings.state_dir, UPLOADS)),
            mapping.content_types,
            mapping.cache_control,
            mapping.storage_class,
            settings.s3.server_side_encryption,
            settings.s3.kms_key_id,
        )
        return S3Target(self.tools.connection, mapping.location, options)

    @contextlib.contextmanager
    def _open(self, index: MappingIndex) -> Iterator[_Sides]:
        if self._is_slave:
            # A slave has nothing with which it could write or delete in S3.
            remote = S3Source(self.tools.connection, self.mapping.location)
            with self._target_directory(index) as target:
                yield _Sides(remote, target, remote, target.open)
        else:
            bucket = self._s3_target()
            with self._source_directory(index) as source:
                yield _Sides(source, bucket, bucket, source.open)

    @contextlib.contextmanager
    def _source_directory(self, index: MappingIndex) -> Iterator[LocalSource]:
        try:
            root = open_root(self.place)
        except OSError as error:
            remedy = "mount the disk, or correct the map; nothing was deleted in S3"
            raise DeletesRefused(f'"{self.place}": {error.strerror}', remedy=remedy) from error
        options = self.tools.options
        with contextlib.closing(root):
            source = LocalSource(
                root,
                index.rows,
                trust_index=not options.verify,
                follow_links=self.tools.settings.sync.symlinks is Symlinks.FOLLOW,
                enters_mounts=True,
            )
            yield source

    @contextlib.contextmanager
    def _target_directory(self, index: MappingIndex) -> Iterator[LocalTarget | MemoryStore]:
        """Open the directory to be written; one that a dry run must not make is empty."""
        sync, options = self.tools.settings.sync, self.tools.options
        if options.dry_run and _is_missing(self.place):
            yield MemoryStore()
        elif sys.platform != "win32":
            from s32s_agent.stores.local.target import open_target  # noqa: PLC0415 (POSIX only)

            store = open_target(
                self.place,
                index,
                sync,
                self.tools.run_id,
                trust_index=not options.verify,
                notes=Path(self.tools.settings.state_dir, BATCHES),
            )
            with contextlib.closing(store):
                if not options.dry_run:
                    store.lock()
                yield store
        else:
            raise ConfigError("role", ["a slave needs a POSIX system"])

    # --- the plan ---

    def _plan(self, found: Difference, sides: _Sides, means: Means) -> Plan:
        tools = self.tools
        sync = tools.settings.sync
        tools.progress.start(f"{self.mapping.name}: hashing", len(found.checks), 0)

        def reference(check: Check) -> tuple[str, tuple[int, ...]]:
            there = self._there(check)
            return there.etag or "", sides.remote.part_sizes(there)

        same = hashing.alike(
            found.checks,
            lambda check: sides.open_local(check.found if self._is_slave else check.entry),
            reference,
            means,
        )
        guards = Guards(
            sync.max_delete.allowed, sync.allow_empty_source, tools.options.allow_deletes
        )
        plan = make_plan(found, same, self.mapping.extras, guards)
        if plan.adopted and not tools.options.dry_run:
            self._adopt(plan, same, means)
        return plan

    def _there(self, check: Check) -> Entry:
        """Give the side of a check that is in S3."""
        return check.entry if self._is_slave else check.found

    def _compare(self, sides: _Sides, means: Means) -> _Comparison:
        """Scan both sides and compare them, with what earlier runs learned; note what this one learns."""
        self.tools.progress.start(f"{self.mapping.name}: comparing", 0, 0)
        index = means.index
        mounts = () if self.tools.options.allow_deletes else index.mounts
        hints = ScanHints(index.unordered, index.boundaries, mounts)
        try:
            found = self._scan_both(means, hints)
        except OutOfOrder:
            if hints.unordered or not sides.remote.may_be_unordered:
                raise
            found = self._scan_both(means, replace(hints, unordered=True))
            index.note_unordered()
        for learned in (found.source.boundaries, found.target.boundaries):
            if learned is not None and learned != hints.boundaries:
                index.note_boundaries(learned)
        return found

    def _scan_both(self, means: Means, hints: ScanHints) -> _Comparison:
        source, target = means.source.scan(hints), means.target.scan(hints)
        with contextlib.closing(source), contextlib.closing(target):
            found = difference(self._counted(source), self._counted(target), self.mapping)
            return _Comparison(found, source.learned, target.learned)

    def _counted(self, found: Iterable[Entry | Problem]) -> Iterator[Entry | Problem]:
        """Let the progress of a listing show."""
        for number, each in enumerate(found, 1):
            if number % _COUNTED == 0:
                self.tools.progress.advance(_COUNTED, 0)
            yield each

    def _adopt(self, plan: Plan, same: dict[str, Stamp], means: Means) -> None:
        """Let the index learn of files that were found to be right already."""
        means.target.make_durable()
        means.index.remember(
            IndexRow(check.entry.key, self._there(check).etag or "", same[check.entry.key])
            for check in plan.adopted
        )

    # --- what becomes of it ---

    def _report_plan(self, plan: Plan, report: MappingReport) -> None:
        log = self.tools.log.bind(mapping=self.mapping.name)
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

    def _carry_out(
        self, plan: Plan, means: Means, leftovers: Sequence[str], report: MappingReport
    ) -> None:
        tools = self.tools
        log = tools.log.bind(mapping=self.mapping.name)
        entries = len(plan.clears) + len(plan.copies) + len(plan.deletes)
        tools.progress.start(self.mapping.name, entries, plan.bytes)
        with self._changes(plan) as changed:
            for each in execute.carry_out(plan, means, leftovers):
                if isinstance(each, Withheld):
                    # A listing that left something out proves nothing for the next.
                    means.index.note_boundaries(())
                    report.add_withheld(each)
                    log.error("deletes.withheld", count=each.count, reason=each.reason)
                    continue
                if isinstance(each.error, AgentError):
                    sandbox.advise(each.error, self.place)
                report.add(each)
                _log_outcome(log, each)
                if may_have_changed(each, tools.settings.role):
                    changed.append(each.key)

    @contextlib.contextmanager
    def _changes(self, plan: Plan) -> Iterator[list[str]]:
        """Have the plan's keys wait for the `on_change` hook before the first changes, and at the end those that did.

        When the plan is not carried out to its end, nobody knows exactly what was changed: then all of them wait.
        """
        changed: list[str] = []
        name, pending = self.mapping.name, self.tools.pending
        deletes = (*plan.clears, *plan.deletes)
        planned = [
            *(each.entry.key for each in deletes),
            *(each.entry.key for each in plan.copies),
        ]
        if not planned or not self.tools.settings.hooks.on_change.of(name):
            yield changed
            return
        earlier = pending.paths(name)
        pending.keep(name, (*earlier, *self._paths(planned)))
        yield changed
        pending.keep(name, (*earlier, *self._paths(changed)))

    def _paths(self, keys: Iterable[str]) -> Iterator[bytes]:
        return (local_path(self.mapping.directory, key) for key in keys)


def may_have_changed(outcome: Outcome, role: Role) -> bool:
    """Tell whether the target may hold something else at a key than before.

    | status           | error          | slave | master |
    |------------------|----------------|-------|--------|
    | copied, deleted  |                | yes   | yes    |
    | skipped          | any            | no    | no     |
    | failed           | DirectoryError | yes   | yes    |
    | failed           | any other      | no    | yes    |

    A file may show although the disk failed right after its renaming, an object may be there although its answer was
    wrong or lost. What comes to a slave is held against what was promised before it shows.
    """
    if outcome.status is Status.FAILED:
        return role is Role.MASTER or isinstance(outcome.error, DirectoryError)
    return outcome.status is not Status.SKIPPED


def _is_missing(place: str) -> bool:
    """Tell what is not there from what may not be looked at, which opening it will report."""
    try:
        Path(place).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


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
            error = outcome.error
            remedy = (
                f"; {error.remedy}" if isinstance(error, AgentError) and error.remedy else ""
            )
            log.warning("entry.skipped", key=outcome.key, reason=f"{error}{remedy}")
        case Status.FAILED:
            fields = outcome.error.fields() if isinstance(outcome.error, AgentError) else {}
            log.error("entry.failed", key=outcome.key, **fields)
