"""Write the metrics of a pass for Prometheus, and ping a URL.

Each function raises when it cannot do its one thing; none decides what that means for the pass. The path of the URL is
a secret: no message repeats it.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.plan.keys import TEMPORARY
from s32s_agent.state.files import replace_file

_PREFIX = "s32s_agent_"
_STEM = 40
"""So many characters of the name of the metrics file are in that of its temporary one, which has to fit, too."""
_METRICS_REMEDY = "make its directory, let the agent's user write there, and list it in the unit's ReadWritePaths="

HELP = {
    "info": "Version and role of the agent.",
    "last_run_timestamp_seconds": "When the last pass ended.",
    "last_success_timestamp_seconds": "When a full pass last ended in sync, 0 for never.",
    "last_run_success": "Whether the last pass ended in sync.",
    "last_exit_code": "Exit status of the last pass.",
    "duration_seconds": "How long the last pass took.",
    "consecutive_failures": "Full passes in a row that did not end in sync.",
    "files": "What became of files in the last pass.",
    "bytes": "Bytes that the last pass copied.",
    "mapping_exit_code": "Exit status that each mapping of the last pass would give alone.",
}
"""Every metric, by its name without the prefix; all are gauges."""


def metrics_text(run: LastRun, instance_name: str) -> str:
    """Write the record of a run in the text format of Prometheus.

    Args:
        run: has ended.
        instance_name: tells apart the agents of one computer; every metric carries it.
    """
    lines: list[str] = []
    samples = list(_samples(run))
    for name, text in HELP.items():
        lines += (f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} gauge")
        for sample, labels, value in samples:
            if sample == name:
                lines.append(_line(name, {"instance_name": instance_name, **labels}, value))
    return "\n".join(lines) + "\n"


def _samples(run: LastRun) -> Iterator[tuple[str, dict[str, str], float]]:
    yield "info", {"version": run.agent_version, "role": run.role}, 1
    yield "last_run_timestamp_seconds", {}, _timestamp(run.finished)
    yield "last_success_timestamp_seconds", {}, _timestamp(run.last_success)
    yield "last_run_success", {}, int(run.exit_code == 0)
    yield "last_exit_code", {}, run.exit_code or 0
    yield "duration_seconds", {}, run.seconds or 0
    yield "consecutive_failures", {}, run.consecutive_failures
    for result, count in run.file_counts().items():
        yield "files", {"result": result}, count
    yield "bytes", {}, run.totals.bytes
    # By name, since Prometheus refuses a file in which a metric stands twice.
    codes = {mapping.name: mapping.exit_code for mapping in run.mappings}
    for name, code in codes.items():
        yield "mapping_exit_code", {"mapping": name}, code


def _timestamp(time: datetime | None) -> float:
    return 0 if time is None else round(time.timestamp(), 3)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{_PREFIX}{name}{{{pairs}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write_metrics(path: str, run: LastRun) -> None:
    """Replace the metrics file, readable by everybody; the collector sees the old one or the new one, whole.

    Raises:
        DirectoryError: it cannot be written.
    """
    file = Path(path)
    # Two agents of one computer need two files, so the name tells them apart.
    text = metrics_text(run, file.stem)
    # Others may write files of theirs here at any time: only what a killed pass left of this very file goes.
    prefix = f"{TEMPORARY}{file.name[:_STEM]}."
    for left in file.parent.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):
            left.unlink()
    replace_file(file, text.encode(), mode=0o644, remedy=_METRICS_REMEDY, prefix=prefix)
