"""Publish how a run goes: the metrics file, the report of the fleet, the ping.

Nothing here can fail a run, delay it for longer than its limits, or change its exit status: what goes wrong is a
warning in the log.
"""

from __future__ import annotations

from collections.abc import Callable

from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.signals import unmasked
from s32s_agent.workers import call_with_timeout

METRICS_SECONDS = 10.0
REPORT_SECONDS = 20.0
PING_SECONDS = 15.0
"""For all tries of a ping, which have limits of their own."""
_REPLACED_REMEDY = (
    "give each agent a prefix of its own in monitoring.report, or the computer another name"
)


class Publisher:
    """Publishes the state of one run.

    Args:
        settings: what is published, and where.
        log: gets a warning for everything that could not be published.
    """

    def __init__(self, settings: Settings, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._log = log

    def run_started(self, run: LastRun) -> None:
        """Publish that a run starts.

        Raises:
            Cancelled: a signal arrived.
        """
        self._ping("start", run)

    def run_ended(self, run: LastRun) -> None:
        """Publish how the run ended; the ping comes last, since people wait for it."""
        monitoring = self._settings.monitoring
        if path := monitoring.metrics_file:
            from s32s_agent.monitoring.metrics import write_metrics  # noqa: PLC0415 (only where wanted)

            self._try("metrics.failed", METRICS_SECONDS, lambda: write_metrics(path, run))
        if location := monitoring.report:
            from s32s_agent.monitoring.fleet_report import send_report  # noqa: PLC0415 (imports boto3)

            settings, replaced = self._settings, list[str]()
            self._try(
                "report.failed",
                REPORT_SECONDS,
                lambda: replaced.extend(send_report(settings, location, run)),
            )
            for key in replaced:
                error = f'"{key}" was the report of another agent of this host name'
                self._log.warning("report.replaced", error=error, remedy=_REPLACED_REMEDY)
        self._ping(str(run.exit_code), run)

    def _ping(self, event: str, run: LastRun) -> None:
        if url := self._settings.monitoring.ping_url:
            from s32s_agent.monitoring.ping import ping, ping_body  # noqa: PLC0415 (only where wanted)

            self._try("ping.failed", PING_SECONDS, lambda: ping(url, event, ping_body(run)))

    def _try(self, event: str, seconds: float, function: Callable[[], None]) -> None:
        """Call a function for a limited time; when it fails, log the event."""
        problem = _problem_of(seconds, function)
        if problem is not None:
            self._log.warning(event, **problem)


def _problem_of(seconds: float, function: Callable[[], None]) -> dict[str, str] | None:
    """Call a function for a limited time; return the fields of the log event when it fails, and None when not."""
    try:
        with unmasked():
            call_with_timeout(function, seconds)
    except AgentError as error:
        return {"error": str(error), **({"remedy": error.remedy} if error.remedy else {})}
    except TimeoutError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 (a bug here is no reason to fail a run)
        return {"error": f"{type(error).__name__}, which is a bug"}
    return None
