"""One mapping of a run: list and compare both sides, plan, carry the plan out, and log what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import AgentError, DirectoryError
from s32s_agent.model import (
    Check,
    Entry,
    IndexRow,
    Location,
    Mapping,
    Outcome,
    Plan,
    Role,
    Stamp,
    Status,
    Withheld,
)
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.plan.compare import Difference, leave_out_directories
from s32s_agent.plan.plan import DeleteGuards, lifted, make_plan
from s32s_agent.run import execute, sandbox
from s32s_agent.run.context import MappingContext, RunContext
from s32s_agent.run.hashing import equal_by_hash
from s32s_agent.run.metering import Meter
from s32s_agent.run.report import MappingReport
from s32s_agent.run.scanning import compare_sides
from s32s_agent.run.sides import Sides, open_sides
from s32s_agent.state.index import MappingIndex
from s32s_agent.state.pending import local_path
from s32s_agent.stores.s3.traits import NO_ETAGS

if TYPE_CHECKING:
    from s32s_agent.run.snapshots import AfterRun

_NO_ETAGS = f"the store's listings have no ETags: {NO_ETAGS}"


@dataclass(frozen=True, slots=True)
class MappingRun:
    """One mapping of a run."""

    run: RunContext
    mapping: Mapping
    directory: str
    """The local directory, its links resolved."""

    def execute(self, report: MappingReport) -> None:
        """Synchronize the target with the source, or show how; `report` is right at any time.

        Raises:
            AgentError: what ended the mapping before its work was done.
        """
        try:
            self._execute(report)
        except AgentError as error:
            sandbox.advise(error, self.directory)
            raise

    def _execute(self, report: MappingReport) -> None:
        run, guards = self.run, self._guards()
        index = self._index()
        with open_sides(run, self.mapping, self.directory, index) as sides:
            self._note_snapshot(sides, report)
            context = self._context(sides, index)
            run.progress.start(f"{self.mapping.name}: comparing", 0, 0)
            found = compare_sides(sides, self.mapping, index, guards, run.progress)
            plan = self._plan(found.difference, sides, context, guards)
            self._report_plan(plan, report)
            if run.options.dry_run:
                run.show_plan(self.mapping, plan)
                return
            publisher = self._publisher(index)
            if publisher:
                publisher.before(plan)
            self._carry_out(plan, found.target.leftovers, context, report)
            if publisher:
                publisher.after(report)
            if report.copied and not sides.remote.lists_etags:
                run.log.warning("store.limited", mapping=self.mapping.name, reason=_NO_ETAGS)
            for remark in sides.target.remarks():
                run.log.warning("target.limited", mapping=self.mapping.name, reason=remark)
            for problem in sides.target.prune(run.now):
                run.log.warning("trash.unpruned", mapping=self.mapping.name, error=problem)
            mounts = found.source.mounts
            if mounts is not None and mounts != index.mounts:
                index.note_mounts(mounts)

    # What snapshots need is imported here, as in `sides`: most mappings have none.

    def _note_snapshot(self, sides: Sides, report: MappingReport) -> None:
        if self.mapping.snapshots:
            from s32s_agent.run.snapshots import note_snapshot  # noqa: PLC0415

            note_snapshot(report, sides.remote, self.run.settings.sync.channel)

    def _publisher(self, index: MappingIndex) -> AfterRun | None:
        if not self.mapping.snapshots:
            return None
        from s32s_agent.run.snapshots import publisher_of  # noqa: PLC0415

        return publisher_of(self.run, self.mapping, self.mapping.snapshots, index)

    def _guards(self) -> DeleteGuards:
        sync = self.run.settings.sync
        guards = DeleteGuards(sync.max_delete.allowed, sync.allow_empty_source)
        return lifted(guards) if self.run.options.allow_deletes else guards

    def _index(self) -> MappingIndex:
        parts = (self.run.connection.endpoint, str(self.mapping.location), self.directory)
        return self.run.index.of_mapping("\n".join(parts))

    def _context(self, sides: Sides, index: MappingIndex) -> MappingContext:
        run = self.run
        return MappingContext(
            sides.source,
            sides.target,
            index,
            run.settings.sync.workers,
            Meter(run.throttle, CancelToken(run.cancel_token), run.progress.advance),
            run.connection.timeouts.pause_seconds,
        )

    # --- the plan ---

    def _plan(
        self, found: Difference, sides: Sides, context: MappingContext, guards: DeleteGuards
    ) -> Plan:
        run = self.run
        run.progress.start(f"{self.mapping.name}: hashing", len(found.checks), 0)

        def version_in_s3(check: Check) -> tuple[str, tuple[int, ...]]:
            entry = self._entry_in_s3(check)
            return entry.etag or "", sides.remote.part_sizes(entry)

        equal = equal_by_hash(
            found.checks,
            lambda check: sides.open_local(self._local_entry(check)),
            version_in_s3,
            context.workers,
            context.meter,
        )
        if found.changes_target(equal) and not sides.learn_traits().keeps_directories:
            leave_out_directories(found)
        hint = self._hint(sides) if found.is_source_bare else ""
        plan = make_plan(found, equal, self.mapping.extras, guards, hint)
        if plan.adopted and not run.options.dry_run:
            self._adopt(plan, equal, context)
        return plan

    def _hint(self, sides: Sides) -> str:
        """Return what may have been meant where the source is empty, for people; "" when nothing is known."""
        if not self._is_slave or self.run.settings.sync.allow_empty_source:
            return ""
        found = sides.remote.similar_prefix()
        bucket = self.mapping.location.bucket
        return did_you_mean(Location(bucket, found)) if found else ""

    @property
    def _is_slave(self) -> bool:
        return self.run.settings.role is Role.SLAVE

    def _entry_in_s3(self, check: Check) -> Entry:
        return check.entry if self._is_slave else check.found

    def _local_entry(self, check: Check) -> Entry:
        return check.found if self._is_slave else check.entry

    def _adopt(self, plan: Plan, equal: dict[str, Stamp], context: MappingContext) -> None:
        """Write files to the index that were found to be right already."""
        context.target.make_durable()
        context.index.remember(
            IndexRow(
                check.entry.key, self._entry_in_s3(check).etag or "", equal[check.entry.key]
            )
            for check in plan.adopted
        )

    # --- what becomes of it ---

    def _report_plan(self, plan: Plan, report: MappingReport) -> None:
        log = self.run.log.bind(mapping=self.mapping.name)
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
        self,
        plan: Plan,
        leftovers: Sequence[str],
        context: MappingContext,
        report: MappingReport,
    ) -> None:
        run = self.run
        log = run.log.bind(mapping=self.mapping.name)
        entries = len(plan.clears) + len(plan.copies) + len(plan.deletes)
        run.progress.start(self.mapping.name, entries, plan.bytes)
        with self._changes(plan) as changed:
            for each in execute.carry_out(plan, context, leftovers):
                if isinstance(each, Withheld):
                    # A listing that left something out proves nothing for the next one.
                    context.index.note_boundaries(())
                    report.add_withheld(each)
                    log.error("deletes.withheld", count=each.count, reason=each.reason)
                    continue
                if isinstance(each.error, AgentError):
                    sandbox.advise(each.error, self.directory)
                report.add(each)
                _log_outcome(log, each)
                if may_have_changed(each, run.settings.role):
                    changed.append(each.key)

    @contextlib.contextmanager
    def _changes(self, plan: Plan) -> Iterator[list[str]]:
        """Write down the plan's keys for the `on_change` hook before the first changes, and at the end those that did.

        When the plan is not carried out to its end, it is not known what was changed: then all of them stay.
        """
        changed: list[str] = []
        name, pending = self.mapping.name, self.run.pending
        deletes = (*plan.clears, *plan.deletes)
        planned = [
            *(each.entry.key for each in deletes),
            *(each.entry.key for each in plan.copies),
        ]
        if not planned or not self.run.settings.hooks.on_change.of(name):
            yield changed
            return
        earlier = pending.paths(name)
        pending.keep(name, (*earlier, *self._paths(planned)))
        yield changed
        pending.keep(name, (*earlier, *self._paths(changed)))

    def _paths(self, keys: Iterable[str]) -> Iterator[bytes]:
        return (local_path(self.mapping.directory, key) for key in keys)


def did_you_mean(found: Location) -> str:
    """Return the question for people who may have meant another prefix."""
    return f'did you mean "{found}", which exists and differs only in case, Unicode form or blanks?'


def may_have_changed(outcome: Outcome, role: Role) -> bool:
    """Return whether the target may hold something else at a key than before.

    | status           | error          | slave | master |
    |------------------|----------------|-------|--------|
    | copied, deleted  |                | yes   | yes    |
    | skipped          | any            | no    | no     |
    | failed           | DirectoryError | yes   | yes    |
    | failed           | any other      | no    | yes    |

    A file may show although the disk failed right after its renaming, an object may be there although its answer was
    wrong or lost. What comes to a slave is compared with what was promised before it shows.
    """
    if outcome.status is Status.FAILED:
        return role is Role.MASTER or isinstance(outcome.error, DirectoryError)
    return outcome.status is not Status.SKIPPED


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
