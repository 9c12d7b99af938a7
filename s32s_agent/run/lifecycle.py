"""A pass between its first and its last log event: what is told before and after it, and its exit status."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from s32s_agent import __version__
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, Cancelled, DirectoryError, UsageError
from s32s_agent.monitoring import last_run
from s32s_agent.monitoring.last_run import LastRun, Totals
from s32s_agent.monitoring.publish import Publisher
from s32s_agent.run import sandbox
from s32s_agent.run.run import Pass
from s32s_agent.signals import deadline, unmasked

_SOFTWARE = 70
"""A bug."""


@dataclass(slots=True)
class Run:
    """A pass between its first and its last log event."""

    whole: Pass
    settings: Settings
    rest: Callable[[], None]
    """Called when the work is done: from then on a first signal ends nothing."""
    crashed: bool = False
    previous: LastRun | None = None
    """The record of the run before; None until it has been read."""

    @property
    def code(self) -> int:
        """The exit status, as far as it is known."""
        return _SOFTWARE if self.crashed else self.whole.report.exit_code

    def go(self) -> int:
        """Make the pass, report it, and give its exit status."""
        whole, started = self.whole, datetime.now(UTC)
        clock = time.monotonic()
        whole.log.info("run.started", role=self.settings.role, version=__version__)
        try:
            self._pass(started)
        except UsageError as error:
            whole.report.error = error
            self._conclude(started, clock)
            raise
        self._conclude(started, clock)
        seconds = round(time.monotonic() - clock, 3)
        totals = {**whole.report.totals(), "seconds": seconds}
        if self.code:
            # For who reads errors only, of which an entry that was skipped is none.
            reason = whole.report.first_reason()
            whole.log.error("run.finished", exit_code=self.code, error=reason, **totals)
        else:
            whole.log.info("run.finished", exit_code=self.code, **totals)
        return self.code

    def tell_failure(self, error: AgentError) -> int:
        """Tell of a pass that could not begin, and give its exit status."""
        self.rest()
        self._blame(error)
        if publisher := self._publisher():
            publisher.run_ended(self._record(datetime.now(UTC), 0.0))
        return self.code

    def _pass(self, started: datetime) -> None:
        """Make the pass; whatever ends it early but a mistake in the command line is in the report."""
        whole = self.whole
        try:
            with (
                unmasked(),
                deadline(self.settings.sync.run_timeout, whole.cancel_token.cancel),
            ):
                if publisher := self._publisher():
                    publisher.run_started(self._begun(started))
                whole.run(started)
        except UsageError:
            raise
        except (AgentError, Cancelled) as error:
            self._blame(error)
        except BrokenPipeError:
            raise
        except Exception:
            self.crashed = True
            whole.log.critical("run.crashed", exc_info=True)
        finally:
            whole.progress.finish()

    def _blame(self, error: AgentError | Cancelled) -> None:
        if isinstance(error, AgentError):
            sandbox.advise(error, self.settings.state_dir)
        report = self.whole.report
        if report.error is not None and isinstance(error, Cancelled):
            report.other_errors.append(report.error)
            report.error = error
        report.error = report.error or error
        self.whole.log.error("run.failed", **error.fields())

    def _conclude(self, started: datetime, clock: float) -> None:
        """Run the last hooks, write down what the pass did before the one that may want to read it, and tell it."""
        whole, hooks = self.whole, self.settings.hooks
        if whole.options.dry_run:
            return
        whole.end("after", hooks.after, self.code)
        record = None
        if not isinstance(whole.report.error, UsageError):
            try:
                record = self._written(started, clock)
            except Cancelled as stopped:  # a second signal would end the process
                self._blame(stopped)
                record = self._written(started, clock)
        before = self.code
        if self.code:
            whole.end("on_failure", hooks.on_failure, self.code)
        self.rest()
        if record and self.code != before:
            record = self._written(started, clock)
        if record and (publisher := self._publisher()):
            publisher.run_ended(record)

    def _written(self, started: datetime, clock: float) -> LastRun:
        """Write down what the pass did, and give what was to be written."""
        seconds = round(time.monotonic() - clock, 3)
        record = self._record(started, seconds)
        try:
            self._write_last_run(record)
        except DirectoryError as error:
            self._blame(error)
            record = self._record(started, seconds)
        return record

    def _write_last_run(self, run: LastRun) -> None:
        last_run.write_last_run(self.settings.state_dir, run)

    def _publisher(self) -> Publisher | None:
        """Return the publisher; None for a dry run and for a run over some of the mappings."""
        options = self.whole.options
        silent = options.dry_run or options.names
        return None if silent else Publisher(self.settings, self.whole.log)

    def _begun(self, started: datetime) -> LastRun:
        """Return the record of this run as far as it is known at the start."""
        return LastRun(
            agent_version=__version__,
            hostname=socket.gethostname(),
            run_id=self.whole.run_id,
            role=self.settings.role.value,
            started=started,
            only=self.whole.options.names,
        )

    def _record(self, started: datetime, seconds: float) -> LastRun:
        """Return the record of this run, now that it has ended."""
        report = self.whole.report
        run = replace(
            self._begun(started),
            finished=datetime.now(UTC),
            seconds=seconds,
            exit_code=self.code,
            cause="software" if self.crashed else report.cause,
            mappings=tuple(mapping.result() for mapping in report.mappings),
            totals=Totals(**report.totals()),
            errors=report.errors(),
        )
        if self.previous is None:
            self.previous = self._read_previous()
        return run.following(self.previous)

    def _read_previous(self) -> LastRun:
        try:
            return last_run.read_last_run(self.settings.state_dir) or LastRun()
        except DirectoryError as error:
            self.whole.log.warning("status.damaged", error=str(error))
            return LastRun()
