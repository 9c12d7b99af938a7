"""Puts results into the README, between two marks, so that no figure there is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .goals import goals
from .results import Record
from .table import short_table

COMMAND = "python -m tools.bench --readme"
README, GOALS = "README.md", "docs/development.md"


def section(workloads: Mapping[str, Record]) -> str:
    """Give what belongs between the marks: the table, and on what it was measured."""
    return f"{short_table(workloads)}\n\n{_circumstances(workloads)}"


def _circumstances(workloads: Mapping[str, Record]) -> str:
    """Say when, where and with what; several machines are all named."""
    records = list(workloads.values())
    if not records:
        return "Nothing has been measured yet."
    machines = dict.fromkeys(_machine(each["machine"]) for each in records)
    versions = dict.fromkeys(
        version.removeprefix("v").partition(" Python")[0].replace("/", " ")
        for each in records
        for version in each["versions"].values()
    )
    rounds = sorted({each["rounds"] for each in records})
    load = max(each["load"] for each in records)
    dates = sorted({each["date"] for each in records})
    times = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"Each cell: wall time, processor time, peak memory; medians of {times} runs by turns, {when},\n"
        f"on a machine whose load was at most {load:.0f}, the benchmark included.\n"
        f"{'; '.join(machines)}.\n{', '.join(versions)}."
    )


def _machine(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gb']} GB, Linux {facts['kernel']}, "
        f"Python {facts['python']}"
    )


def inserted(text: str, results: str, command: str) -> str:
    """Give the README with results in their place, which names the command that writes them.

    Raises:
        ValueError: it has no such place.
    """
    first, last = (
        f"<!-- written by `{command}` -->",
        f"<!-- end of what `{command}` writes -->",
    )
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"README.md: expected the line {first} and, below it, {last}")
    return f"{before}{begin}\n\n{results}\n\n{end}{after}"


def update(root: Path, workloads: Mapping[str, Record]) -> None:
    """Write the results into the README, and the goals where the development is described."""
    for name, results in ((README, section(workloads)), (GOALS, goals(workloads))):
        text = inserted((root / name).read_text(encoding="utf-8"), results, COMMAND)
        (root / name).write_text(text, encoding="utf-8")
