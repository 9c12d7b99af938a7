"""Write the metrics of a run for Prometheus, as a file for the textfile collector of its node exporter."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.plan.keys import TEMPORARY
from s32s_agent.state.files import replace_file

_PREFIX = "s32s_agent_"
_ID_TIME = len("20261201T101500Z")
_STEM = 40
"""Characters of the metrics file's name that are in the name of its temporary file, whose length is limited, too."""
_METRICS_REMEDY = "create its directory, grant the agent's user write access, and list it in the unit's ReadWritePaths="

HELP = {
    "info": "Version and role of the agent.",
    "last_run_timestamp_seconds": "When the last run ended.",
    "last_success_timestamp_seconds": "When a full run last ended in sync, 0 for never.",
    "last_run_success": "Whether the last run ended in sync.",
    "last_exit_code": "Exit status of the last run.",
    "duration_seconds": "How long the last run took.",
    "consecutive_failures": "Full runs in a row that did not end in sync.",
    "files": "What became of files in the last run.",
    "bytes": "Bytes that the last run copied.",
    "mapping_snapshot_timestamp_seconds": "When the snapshot was made that a mapping follows or has published.",
    "mapping_pinned": "Whether a mapping with snapshots is pinned to one.",
    "mapping_exit_code": "Exit status that each mapping of the last run would give alone.",
}
"""Every metric, by its name without the prefix; all are gauges."""


def metrics_text(run: LastRun, instance_name: str) -> bytes:
    """Write the record of a run in the text format of Prometheus.

    Args:
        run: has ended.
        instance_name: a label of every metric; distinguishes the agents of one computer.
    """
    registry = CollectorRegistry()
    registry.register(_LastRunCollector(run, instance_name))
    return generate_latest(registry)


class _LastRunCollector(Collector):
    """Yields the metrics of one run."""

    def __init__(self, run: LastRun, instance_name: str) -> None:
        self._run = run
        self._instance_name = instance_name

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples."""
        for name, samples in _samples(self._run).items():
            metric = Metric(_PREFIX + name, HELP[name], "gauge")
            for labels, value in samples:
                metric.add_sample(
                    metric.name, {"instance_name": self._instance_name, **labels}, value
                )
            yield metric


def _samples(run: LastRun) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return labels and values by the names of the metrics, in the order of `HELP`."""
    # By name, since Prometheus refuses a file in which a metric stands twice.
    snapshots = {mapping.name: mapping for mapping in run.mappings if mapping.snapshot}
    codes = {mapping.name: mapping.exit_code for mapping in run.mappings}
    return {
        "info": [({"version": run.agent_version, "role": run.role}, 1)],
        "last_run_timestamp_seconds": [({}, _timestamp(run.finished))],
        "last_success_timestamp_seconds": [({}, _timestamp(run.last_success))],
        "last_run_success": [({}, int(run.exit_code == 0))],
        "last_exit_code": [({}, run.exit_code or 0)],
        "duration_seconds": [({}, run.seconds or 0)],
        "consecutive_failures": [({}, run.consecutive_failures)],
        "files": [({"result": name}, count) for name, count in run.file_counts().items()],
        "bytes": [({}, run.totals.bytes)],
        "mapping_snapshot_timestamp_seconds": [
            ({"mapping": name, "channel": each.channel}, time)
            for name, each in snapshots.items()
            if (time := snapshot_time(each.snapshot))
        ],
        "mapping_pinned": [
            ({"mapping": name}, int(bool(each.pinned))) for name, each in snapshots.items()
        ],
        "mapping_exit_code": [({"mapping": name}, code) for name, code in codes.items()],
    }


def snapshot_time(snapshot_id: str) -> float:
    """Return when a snapshot was made, as its id says it; 0 when it is no id."""
    with contextlib.suppress(ValueError):
        time = datetime.strptime(f"{snapshot_id[:_ID_TIME]}+0000", "%Y%m%dT%H%M%SZ%z")
        return time.timestamp()
    return 0


def _timestamp(time: datetime | None) -> float:
    return 0 if time is None else round(time.timestamp(), 3)


def write_metrics(path: str, run: LastRun) -> None:
    """Replace the metrics file, readable by everyone; the collector sees the old one or the new one, whole.

    Raises:
        DirectoryError: it cannot be written.
    """
    file = Path(path)
    # Two agents of one computer need two files, so the name of the file distinguishes them.
    text = metrics_text(run, file.stem)
    # Other programs may write here at any time: only what a killed run left of this very file is removed.
    prefix = f"{TEMPORARY}{file.name[:_STEM]}."
    for left in file.parent.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):
            left.unlink()
    replace_file(file, text, mode=0o644, remedy=_METRICS_REMEDY, prefix=prefix)
