"""The results: kept as JSON, one record a workload, and summed up as medians. Touches no disk but that one file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .course import Outcome
from .tools import FLOOR, LISTING, Tool
from .workloads import Workload

FILE = "benchmark.json"
OURS = "s32s-agent"
CHECKSUMS = "rclone --checksum"
"""The peer that compares checksums, as we do."""

Record = Mapping[str, Any]
"""What the file says of one workload."""

_CHECKOUT = f"{Path(__file__).parents[2]}/"


@dataclass(frozen=True, slots=True)
class Spread:
    """Some figures of the same kind."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What one tool took for one workload."""

    wall: Spread
    cpu: Spread
    memory: Spread
    server_cpu: Spread


def spread(figures: Sequence[float]) -> Spread:
    """Sum figures up; there is at least one."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def summaries(record: Record) -> dict[str, Summary]:
    """Sum up what each tool took; a tool without a figure is left out."""
    return {
        each["tool"]: Summary(
            **{
                name: spread([run[name] for run in each["runs"]])
                for name in ("wall", "cpu", "memory", "server_cpu")
            }
        )
        for each in record["tools"]
        if each["runs"]
    }


def problems(record: Record) -> dict[str, str]:
    """Return those that get no figure, with the reason."""
    return {each["tool"]: each["problem"] for each in record["tools"] if each["problem"]}


def is_peer(tool: str) -> bool:
    """Return whether it is another tool than ours, in any of its settings."""
    return not tool.startswith((OURS, FLOOR, LISTING))


def best_peer(found: Mapping[str, Summary]) -> str | None:
    """Name the peer with the shortest time; None where there is none."""
    peers = [tool for tool in found if is_peer(tool)]
    return min(peers, key=lambda tool: found[tool].wall.median, default=None)


def record_of(
    workload: Workload, outcomes: Iterable[Outcome], tools: Iterable[Tool], rounds: int
) -> dict[str, Any]:
    """Write down what came out, and where. The load is that of the last minutes, our own included."""
    outcomes = list(outcomes)
    names = {each.tool for each in outcomes}
    return {
        "title": workload.title,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": rounds,
        "versions": {tool.name: tool.version() for tool in tools if tool.name in names},
        "machine": machine(),
        "load": round(os.getloadavg()[1], 1),
        "max_bandwidth": workload.max_bandwidth,
        "data": asdict(workload.data),
        "tools": [_outcome(each) for each in outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    runs = [
        {
            "wall": round(run.wall, 4),
            "cpu": round(run.cpu, 4),
            "memory": round(run.memory),
            "server_cpu": round(run.server_cpu, 2),
        }
        for run in outcome.runs
    ]
    return {
        "tool": outcome.tool,
        # Without the place of this checkout, which is nobody else's.
        "command": " ".join(outcome.command).replace(_CHECKOUT, ""),
        "problem": outcome.problem,
        "runs": runs,
        "rates": [round(rate) for rate in outcome.rates],
    }


def machine() -> dict[str, str | int]:
    """Return what it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "memory_gb": round(memory / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def read(file: Path) -> dict[str, Any]:
    """Read what is known so far, by workload; nothing where there is no file."""
    if not file.exists():
        return {}
    workloads: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["workloads"]
    return workloads


def write(file: Path, workloads: Mapping[str, Record]) -> None:
    """Replace the file, workloads in the order of their names."""
    ordered = {name: workloads[name] for name in sorted(workloads)}
    text = json.dumps({"workloads": ordered}, indent=1) + "\n"
    aside = file.with_suffix(".tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)
