"""A pass between its first and its last log event: what is told before and after it, and its exit status."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from s32s_agent import __version__
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, Cancelled, DirectoryError, UsageError
from s32s_agent.monitoring import last_run
from s32s_agent.monitoring.publish import Telling
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
        if telling := self._telling():
            telling.ended(self._document(datetime.now(UTC), 0.0))
        return self.code

    def _pass(self, started: datetime) -> None:
        """Make the pass; whatever ends it early but a mistake in the command line is in the report."""
        whole = self.whole
        try:
            with (
                unmasked(),
                deadline(self.settings.sync.run_timeout, whole.cancel_token.cancel),
            ):
                if telling := self._telling():
                    telling.started(self._about(started))
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
        document = None
        if not isinstance(whole.report.error, UsageError):
            try:
                document = self._written(started, clock)
            except Cancelled as stopped:  # a second signal would end the process
                self._blame(stopped)
                document = self._written(started, clock)
        before = self.code
        if self.code:
            whole.end("on_failure", hooks.on_failure, self.code)
        self.rest()
        if document and self.code != before:
            document = self._written(started, clock)
        if document and (telling := self._telling()):
            telling.ended(document)

    def _written(self, started: datetime, clock: float) -> dict[str, Any]:
        """Write down what the pass did, and give what was to be written."""
        seconds = round(time.monotonic() - clock, 3)
        document = self._document(started, seconds)
        try:
            self._write_last_run(document)
        except DirectoryError as error:
            self._blame(error)
            document = self._document(started, seconds)
        return document

    def _write_last_run(self, document: dict[str, Any]) -> None:
        last_run.write_last_run(self.settings.state_dir, document)

    def _telling(self) -> Telling | None:
        """Give who is told; nobody of a dry run, nor of a pass over some mappings, which says nothing of the whole."""
        options = self.whole.options
        silent = options.dry_run or options.names
        return None if silent else Telling(self.settings, self.whole.log)

    def _about(self, started: datetime) -> dict[str, object]:
        """Say which pass this is."""
        only = self.whole.options.names
        return {
            "agent_version": __version__,
            "hostname": socket.gethostname(),
            "run_id": self.whole.run_id,
            "role": self.settings.role.value,
            "started": started.isoformat(),
            **({"only": only} if only else {}),
        }

    def _document(self, started: datetime, seconds: float) -> dict[str, Any]:
        report = self.whole.report
        run = {
            **self._about(started),
            "finished": datetime.now(UTC).isoformat(),
            "seconds": seconds,
            "exit_code": self.code,
            "cause": "software" if self.crashed else report.cause,
            "mappings": [mapping.document() for mapping in report.mappings],
            "totals": report.totals(),
            "errors": report.errors(),
        }
        previous = None
        try:
            previous = last_run.read_last_run(self.settings.state_dir)
        except DirectoryError as error:
            self.whole.log.warning("status.damaged", error=str(error))
        return last_run.last_run_document(previous, run=run)
