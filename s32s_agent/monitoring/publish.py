"""Tell whoever listens how a pass goes: the metrics file, the report of the fleet, the ping.

Nothing here can fail a pass, hold it up for longer than its limits, or change its exit status: what goes wrong is a
warning in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from structlog.typing import FilteringBoundLogger

from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError
from s32s_agent.signals import unmasked
from s32s_agent.workers import within

METRICS_SECONDS = 10.0
REPORT_SECONDS = 20.0
PING_SECONDS = 15.0
"""Over the tries of a ping, which have limits of their own."""
_REPLACED_REMEDY = (
    "give each agent a prefix of its own in monitoring.report, or the computer another name"
)


class Telling:
    """What is told of one pass.

    Args:
        settings: who listens.
        log: takes what went wrong.
    """

    def __init__(self, settings: Settings, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._log = log

    def started(self, document: Mapping[str, object]) -> None:
        """Tell that a pass begins.

        Raises:
            Cancelled: a signal came meanwhile.
        """
        self._ping("start", document)

    def ended(self, document: Mapping[str, object]) -> None:
        """Tell how the pass ended; the ping comes last, since people wait for it."""
        monitoring = self._settings.monitoring
        if path := monitoring.metrics_file:
            from s32s_agent.monitoring.metrics import write_metrics  # noqa: PLC0415 (only where wanted)

            self._try("metrics.failed", METRICS_SECONDS, lambda: write_metrics(path, document))
        if location := monitoring.report:
            from s32s_agent.monitoring.fleet import send_report  # noqa: PLC0415 (imports boto3)

            settings, replaced = self._settings, list[str]()
            self._try(
                "report.failed",
                REPORT_SECONDS,
                lambda: replaced.extend(send_report(settings, location, document)),
            )
            for key in replaced:
                error = f'"{key}" was the report of another agent of this host name'
                self._log.warning("report.replaced", error=error, remedy=_REPLACED_REMEDY)
        self._ping(str(document.get("exit_code")), document)

    def _ping(self, event: str, document: Mapping[str, object]) -> None:
        if url := self._settings.monitoring.ping_url:
            from s32s_agent.monitoring.ping import ping, ping_body  # noqa: PLC0415 (only where wanted)

            self._try(
                "ping.failed", PING_SECONDS, lambda: ping(url, event, ping_body(document))
            )

    def _try(self, event: str, seconds: float, function: Callable[[], None]) -> None:
        """Call a function for a limited time; when it fails, log the event."""
        problem = _problem_of(seconds, function)
        if problem is not None:
            self._log.warning(event, **problem)


def _problem_of(seconds: float, function: Callable[[], None]) -> dict[str, str] | None:
    """Call a function for a limited time, and give what the log says when it fails; None when it does not."""
    try:
        with unmasked():
            within(seconds, function)
    except AgentError as error:
        return {"error": str(error), **({"remedy": error.remedy} if error.remedy else {})}
    except TimeoutError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 (a bug here is no reason to fail a pass)
        return {"error": f"{type(error).__name__}, which is a bug"}
    return None
