"""One run over all mappings, from its first log event to its exit status.

What fails in one mapping never stops the next. `commands/once.py` starts a run when log, signals and
lock are ready.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from s32s_agent import __version__
from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, Cancelled, DirectoryError, SoftwareError, UsageError
from s32s_agent.model import Mapping, Plan
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.output.progress import Progress
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.run import sandbox
from s32s_agent.run.context import RunContext, RunOptions
from s32s_agent.run.hooks import HookRunner, Hooks
from s32s_agent.run.map_files import MapCache
from s32s_agent.run.mapping_run import MappingRun
from s32s_agent.run.mappings import LoadedMappings, load_mappings
from s32s_agent.run.metering import Throttle
from s32s_agent.run.recording import Recorder
from s32s_agent.run.report import MappingReport, RunReport
from s32s_agent.run.state_directory import INDEX, MAPS
from s32s_agent.signals import deadline, unmasked
from s32s_agent.state.index import Index
from s32s_agent.state.pending import PENDING, Pending
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS, Timeouts


def new_run_id(now: datetime) -> str:
    """Return a name for a run; names sort by time, and the trash is pruned by them."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Run:
    """One run: what it works with, and what it has found out so far.

    Nothing of it is kept for the next run but what is on the disk.
    """

    settings: Settings
    options: RunOptions
    run_id: str
    log: FilteringBoundLogger
    progress: Progress
    cancel_token: CancelToken = field(default_factory=CancelToken)
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    show_plan: Callable[[Mapping, Plan], None] = lambda _mapping, _plan: None
    """Called with every plan of a dry run."""
    settle: Callable[[], None] = lambda: None
    """Called when only short work is left: from then on a first signal ends nothing."""
    report: RunReport = field(default_factory=RunReport)
    pending: Pending = field(init=False)
    hooks: Hooks = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.pending = Pending(Path(self.settings.state_dir, PENDING))
        hooks = self.settings.hooks
        variables = {"S32S_RUN_ID": self.run_id, "S32S_ROLE": self.settings.role.value}
        runner = HookRunner(
            self.log, hooks.timeout, variables, self.cancel_token, self.progress.beat
        )
        self.hooks = Hooks(
            hooks, self.options, runner, self.pending, self.report, self.progress
        )

    # --- from the first event to the last ---

    def execute(self) -> int:
        """Do the run, report it, and return its exit status.

        Raises:
            UsageError: the command line names a mapping that does not exist.
        """
        self.log.info("run.started", role=self.settings.role, version=__version__)
        self._begin()
        try:
            self._synchronize_in_time()
        except UsageError as error:
            self.report.fail(error)
            self._conclude()
            raise
        self._conclude()
        self._log_end()
        return self.report.exit_code

    def fail_early(self, error: AgentError) -> int:
        """Report a run that cannot begin, and return its exit status."""
        self._begin()
        self.settle()
        self._fail(error)
        self.recorder.publish_end(self.recorder.record(self.report))
        return self.report.exit_code

    def _begin(self) -> None:
        self.recorder = Recorder(self.settings, self.options, self.run_id, self.log)

    def _synchronize_in_time(self) -> None:
        """Do the work; what ends it early is in the report, except for a mistake in the command line."""
        try:
            with (
                unmasked(),
                deadline(self.settings.sync.run_timeout, self.cancel_token.cancel),
            ):
                self.recorder.publish_start()
                self.synchronize(self.recorder.started)
        except UsageError:
            raise
        except (AgentError, Cancelled) as error:
            self._fail(error)
        except BrokenPipeError:
            raise
        except Exception:
            self.report.crashed = True
            self.log.critical("run.crashed", exc_info=True)
        finally:
            self.progress.finish()

    def _fail(self, error: AgentError | Cancelled) -> None:
        if isinstance(error, AgentError):
            sandbox.advise(error, self.settings.state_dir)
        self.report.fail(error)
        self.log.error("run.failed", **error.fields())

    def _conclude(self) -> None:
        """Run the last hooks, write the record before the hook that may want to read it, and publish it."""
        if self.options.dry_run:
            return
        self._run_last_hook(self.hooks.after)
        is_recorded = not isinstance(self.report.error, UsageError)
        record = self._write_record() if is_recorded else None
        before = self.report.exit_code
        if before:
            self._run_last_hook(self.hooks.on_failure)
        self.settle()
        if record and self.report.exit_code != before:
            record = self._write_record()
        if record:
            self.recorder.publish_end(record)

    def _run_last_hook(self, hook: Callable[[], None]) -> None:
        try:
            hook()
        except Cancelled as error:
            self._fail(error)

    def _write_record(self) -> LastRun:
        try:
            return self._write_or_fail()
        except Cancelled as error:  # a second signal would end the process
            self._fail(error)
            return self._write_or_fail()

    def _write_or_fail(self) -> LastRun:
        try:
            return self.recorder.write(self.report)
        except DirectoryError as error:
            self._fail(error)
            return self.recorder.record(self.report)

    def _log_end(self) -> None:
        totals = {**self.report.totals(), "seconds": self.recorder.seconds}
        exit_code = self.report.exit_code
        if exit_code:
            # For those who read errors only, of which an entry that was skipped is none.
            reason = self.report.first_reason()
            self.log.error("run.finished", exit_code=exit_code, error=reason, **totals)
        else:
            self.log.info("run.finished", exit_code=exit_code, **totals)

    # --- the work ---

    def synchronize(self, now: datetime) -> RunReport:
        """Synchronize every target with its source, between the hooks; `report` is right at any time.

        Raises:
            AgentError: nothing could be done at all.
            Cancelled: not everything could be done.
        """
        if self.options.dry_run:
            return self._run_mappings(now)
        self.hooks.before()
        try:
            return self._run_mappings(now)
        except (AgentError, Cancelled) as error:
            # The hooks below report it.
            self.report.fail(error)
            raise
        finally:
            # A run that has to end soon leaves them to the next one.
            if not self.cancel_token.cancelled:
                self.hooks.on_change()

    def _run_mappings(self, now: datetime) -> RunReport:
        settings = self.settings
        connection = Connection(
            settings.s3,
            self.cancel_token,
            self.timeouts,
            self.progress.beat,
        )
        with contextlib.closing(self._open_index()) as index:
            loaded = self._load_mappings(connection)
            context = RunContext(
                settings,
                self.options,
                self.run_id,
                now,
                self.log,
                self.progress,
                self.cancel_token,
                connection,
                index,
                self.pending,
                Throttle(settings.sync.max_bandwidth, self.cancel_token),
                self.show_plan,
            )
            for mapping, directory in loaded.runnable():
                if self.options.includes(mapping.name):
                    self._run_mapping(MappingRun(context, mapping, directory))
        return self.report

    def _open_index(self) -> Index:
        path = Path(self.settings.state_dir, INDEX)
        index = Index(path, read_only=self.options.dry_run)
        if index.damaged:
            self.log.warning(
                "index.damaged",
                error=index.damaged,
                remedy="the next runs hash the files again",
            )
        return index

    def _load_mappings(self, connection: Connection) -> LoadedMappings:
        """Load the mappings, and report those that cannot be run."""
        self.progress.start("maps", 0, 0)
        keep = None if self.options.dry_run else Path(self.settings.state_dir, MAPS)
        loaded = load_mappings(self.settings, self.options.config, connection, MapCache(keep))
        self.log.info("maps.loaded", files=loaded.files, mappings=len(loaded.mappings))
        for failure in loaded.failures:
            if self.options.includes(failure.mapping):
                self._refuse(MappingReport(failure.mapping), failure.error)
        errors = {**loaded.refused, **loaded.overlapping}
        for mapping in loaded.mappings:
            if mapping.name in errors and self.options.includes(mapping.name):
                self._refuse(MappingReport.of(mapping), errors[mapping.name])
        loaded.require_known(self.options.names)
        return loaded

    def _refuse(self, report: MappingReport, error: AgentError) -> None:
        self.report.mappings.append(report)
        self._fail_mapping(report, error)

    def _fail_mapping(self, report: MappingReport, error: AgentError) -> None:
        report.fail(error)
        self.log.error("mapping.failed", mapping=report.name, **error.fields())

    def _run_mapping(self, mapping_run: MappingRun) -> None:
        report = MappingReport.of(mapping_run.mapping)
        self.report.mappings.append(report)
        started = time.monotonic()
        try:
            with unmasked():
                mapping_run.execute(report)
        except Cancelled as error:
            self.cancel_token.cancel(error)
            raise
        except AgentError as error:
            self._fail_mapping(report, error)
        except BrokenPipeError:
            raise  # the program that read the plan has closed our standard output
        except Exception as error:
            self.log.critical("run.crashed", mapping=report.name, exc_info=True)
            self._fail_mapping(report, SoftwareError(f"{type(error).__name__}: {error}"))
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
