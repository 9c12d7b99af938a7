"""Record a run: write `last_run.json`, and publish how the run goes to those who watch it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from s32s_agent import __version__
from s32s_agent.config.settings import Settings
from s32s_agent.errors import DirectoryError
from s32s_agent.monitoring import last_run
from s32s_agent.monitoring.last_run import LastRun, Totals
from s32s_agent.monitoring.publish import Publisher
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.run.context import RunOptions
from s32s_agent.run.report import RunReport


@dataclass(slots=True)
class Recorder:
    """Keeps the record of one run, which begins when this is made.

    The record of the run before is read once, at the start: a run may write its own record more than once.
    """

    settings: Settings
    options: RunOptions
    run_id: str
    log: FilteringBoundLogger
    started: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    _clock: float = field(default_factory=time.monotonic, init=False)
    _previous: LastRun = field(init=False)

    def __post_init__(self) -> None:
        self._previous = LastRun() if self.options.dry_run else self._read_previous()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return round(time.monotonic() - self._clock, 3)

    def publish_start(self) -> None:
        """Publish that the run begins.

        Raises:
            Cancelled: a signal or `run_timeout` came meanwhile.
        """
        if self._is_published:
            self._publisher.run_started(self._record_at_start())

    def publish_end(self, record: LastRun) -> None:
        """Publish the record of the run, now that it has ended."""
        if self._is_published:
            self._publisher.run_ended(record)

    def write(self, report: RunReport) -> LastRun:
        """Write the record of the run to `state_dir`, and return it.

        Raises:
            DirectoryError: it cannot be written; the record of the run before stays.
        """
        record = self.record(report)
        last_run.write_last_run(self.settings.state_dir, record)
        return record

    def record(self, report: RunReport) -> LastRun:
        """Return the record of the run, as if it ended now."""
        record = replace(
            self._record_at_start(),
            finished=datetime.now(UTC),
            seconds=self.seconds,
            exit_code=report.exit_code,
            cause=report.cause,
            mappings=tuple(mapping.result() for mapping in report.mappings),
            totals=Totals(**report.totals()),
            errors=report.errors(),
        )
        return record.following(self._previous)

    def _record_at_start(self) -> LastRun:
        return LastRun(
            agent_version=__version__,
            hostname=socket.gethostname(),
            run_id=self.run_id,
            role=self.settings.role.value,
            started=self.started,
            only=self.options.names,
        )

    def _read_previous(self) -> LastRun:
        try:
            return last_run.read_last_run(self.settings.state_dir) or LastRun()
        except DirectoryError as error:
            self.log.warning("status.damaged", error=str(error))
            return LastRun()

    @property
    def _is_published(self) -> bool:
        """A run over some mappings says nothing of the others, and a dry run changed nothing."""
        return not self.options.dry_run and not self.options.names

    @property
    def _publisher(self) -> Publisher:
        return Publisher(self.settings, self.log)
