"""Writes the results into the documents, between marks, so that no figure there is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.documents import fill, wrapped

from .goals import goals
from .results import CHECKSUMS, OURS, Record, summaries
from .table import figure, short_table

README, PAGE = "README.md", "docs/evidence/benchmarks.md"


def section(workloads: Mapping[str, Record]) -> str:
    """Return the table, and on what it was measured."""
    return f"{short_table(workloads)}\n\n{_circumstances(workloads)}"


def sentence(workloads: Mapping[str, Record]) -> str:
    """Return the one sentence of the README: a run without changes, many small objects, one large one."""
    told = [
        f"{what} takes {shown}"
        for name, what in _SHOWN.items()
        if name in workloads and (shown := _compared(workloads[name]))
    ]
    return wrapped(
        f"On two cores that the store shares, {'; '.join(told)}."
        if told
        else "Nothing has been measured yet."
    )


_SHOWN = {
    "e": "a run that finds 100,000 objects unchanged",
    "a": "a first run over 10,000 objects of 4 KiB",
    "c": "one over an object of 2 GiB",
}
"""The workloads that the README names, and its words for them."""
_IN_README = (OURS, CHECKSUMS, "s5cmd sync")


def _compared(record: Record) -> str:
    found = summaries(record)
    ours, *peers = (
        f"{figure(found[tool].wall.median)} s" if tool in found else "" for tool in _IN_README
    )
    others = [
        f"`{tool}` {time}" for tool, time in zip(_IN_README[1:], peers, strict=True) if time
    ]
    return ours and f"{ours} ({', '.join(others)})"


def _circumstances(workloads: Mapping[str, Record]) -> str:
    """Return when, where and with what it was measured; several machines are all named."""
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


def blocks(workloads: Mapping[str, Record]) -> dict[str, dict[str, str]]:
    """Return the content of each generated block, by document and name."""
    return {
        PAGE: {"results": section(workloads), "goals": goals(workloads)},
        README: {"speed": sentence(workloads)},
    }


def update(root: Path, workloads: Mapping[str, Record]) -> None:
    """Write the results into the documents that show them."""
    for page, contents in blocks(workloads).items():
        fill(root, page, contents)
