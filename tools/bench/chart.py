"""The results as a chart: for each workload the time of every tool, ours being 1. The same results, the same file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .results import OURS, Record, summaries
from .table import PEERS

FILE = "benchmark.svg"
GREY = "#808890"
"""Readable on a light page and on a dark one; the background is left to the page."""
COLOURS = {
    OURS: "#d55e00",
    PEERS[0]: "#0072b2",
    PEERS[1]: "#56b4e9",
    PEERS[2]: "#009e73",
    PEERS[3]: "#7fcdb5",
    PEERS[4]: "#b58a1b",
}
BAR = 0.14
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "s32s-agent",  # names inside the file would be random
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def heights(workloads: Mapping[str, Record]) -> dict[str, dict[str, float]]:
    """Give, by workload and tool, how many times our time a tool took; only workloads with ours and a peer."""
    found = {}
    for name, record in workloads.items():
        walls = {tool: each.wall.median for tool, each in summaries(record).items()}
        shown = {tool: walls[tool] for tool in COLOURS if tool in walls}
        if OURS in shown and len(shown) > 1:
            found[name] = {tool: wall / shown[OURS] for tool, wall in shown.items()}
    return found


def draw(workloads: Mapping[str, Record], file: Path) -> None:
    """Write the chart as SVG; without any two tools to compare there is none."""
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only in the extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    groups = heights(workloads)
    if not groups:
        return
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6))
        axes = figure.add_subplot()
        for number, (tool, colour) in enumerate(COLOURS.items()):
            points = [
                (position + (number - (len(COLOURS) - 1) / 2) * BAR, group[tool])
                for position, group in enumerate(groups.values())
                if tool in group
            ]
            if points:
                places, values = zip(*points, strict=True)
                # From 1 up or down, so that a bar below the line is a tool that is ahead of us.
                sizes = [value - 1 for value in values]
                axes.bar(places, sizes, BAR, bottom=1, color=colour, label=tool)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.axhline(1, color=COLOURS[OURS], linewidth=1.5)
        names = [f"{name}\n{_in_lines(workloads[name])}" for name in groups]
        axes.set_xticks(range(len(groups)), names, fontsize=7)
        axes.set_ylabel("time, s32s-agent = 1\n(above: slower than s32s-agent)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            frameon=False, fontsize=8, ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1)
        )
        figure.tight_layout()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})


def _in_lines(record: Record) -> str:
    return str(record["title"]).replace(", ", "\n")
