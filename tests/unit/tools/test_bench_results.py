"""The benchmark's figures: medians, ratios, and who gets none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.pages import PAGES, ROOT

from tools.bench import readme, results, table
from tools.bench.chart import heights
from tools.bench.course import Outcome
from tools.bench.data import DataSet
from tools.bench.goals import goals
from tools.bench.measure import Run
from tools.bench.results import Spread, best_peer, problems, spread, summaries
from tools.bench.workloads import Scenario, Workload
from tools.documents import filled

COMMITTED = ROOT / "tools" / "bench" / "results" / results.FILE
OURS, PEER, OTHER = "s32s-agent", "rclone --checksum", "s5cmd sync"


def runs(*walls: float, memory: float = 50e6) -> list[Run]:
    return [Run(wall, wall / 2, memory, 0.25) for wall in walls]


def record(*outcomes: Outcome, workload: Workload | None = None) -> dict[str, Any]:
    """Write down outcomes as a benchmark does, without asking any tool for its version."""
    workload = workload or Workload("a", Scenario.FIRST_PULL, DataSet(10, 4096))
    return results.record_of(workload, outcomes, [], 3)


def outcome(tool: str, *walls: float, memory: float = 50e6) -> Outcome:
    return Outcome(tool, [tool], runs(*walls, memory=memory))


def wrong(tool: str) -> Outcome:
    return Outcome(tool, [tool], [], "1 missing (first x)")


@pytest.mark.parametrize(
    ("figures", "median"), [((3.0,), 3.0), ((9.0, 1.0, 2.0), 2.0), ((4.0, 1.0, 3.0, 2.0), 2.5)]
)
def test_medians(figures: tuple[float, ...], median: float) -> None:
    """The median is that of the sorted figures, and least and most stand beside it."""
    assert spread(figures) == Spread(median, min(figures), max(figures))


def test_a_tool_that_was_wrong_has_no_figure_anywhere() -> None:
    """It is named with the reason in both tables, is no best peer, and has no bar."""
    made = record(outcome(OURS, 1, 2, 3), wrong(PEER), outcome(OTHER, 4, 4, 4))

    assert set(summaries(made)) == {OURS, OTHER}
    assert problems(made) == {PEER: "1 missing (first x)"}
    assert best_peer(summaries(made)) == OTHER
    assert heights({"a": made}) == {"a": {OURS: 1.0, OTHER: 2.0}}
    assert f"| {PEER} | wrong: 1 missing (first x) |" in table.long_table({"a": made})
    assert "| wrong |" in table.short_table({"a": made})


def test_ratios_are_of_medians() -> None:
    """A peer with twice our median has a ratio of 2, and ours to it is a half."""
    made = record(outcome(OURS, 1, 2, 30), outcome(PEER, 4, 4, 4), outcome(OTHER, 5, 5, 5))
    text = table.long_table({"a": made})

    assert f"- ours / {PEER}: wall 0.50, CPU 0.50, memory 1.00" in text
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {PEER} ")]
    assert row.endswith("| 2.00 | 2.00 |")


def test_other_settings_of_ours_are_no_peer() -> None:
    """The fastest peer is never ourselves without fsync."""
    made = record(outcome(OURS, 3), outcome(f"{OURS}, durable: false", 1), outcome(PEER, 2))

    assert best_peer(summaries(made)) == PEER


def test_growth_of_memory() -> None:
    """It is the slope from the least to the most objects, and unknown with one size only."""
    made = {
        name: record(
            outcome(OURS, 1, memory=memory),
            workload=Workload(name, Scenario.UNCHANGED, DataSet(count, 1)),
        )
        for name, count, memory in (("j-1m", 1_000, 90_000), ("j-10k", 100, 45_000))
    }

    assert table.growth_bytes(made) == 50.0
    assert table.growth_bytes({"j-1m": made["j-1m"]}) is None


def test_a_workload_is_added_to_what_is_known(tmp_path: Path) -> None:
    """Writing and reading gives the same, and other workloads stay."""
    first, second = record(outcome(OURS, 1)), record(outcome(PEER, 2))
    file = tmp_path / "results.json"
    results.write(file, {"b": first})

    results.write(file, {**results.read(file), "a": second})

    assert results.read(file) == {"a": second, "b": first}
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_the_figures_of_the_documents_are_those_that_were_measured() -> None:
    """What stands between the marks is what the committed results give."""
    for page, contents in readme.blocks(results.read(COMMITTED)).items():
        text = PAGES[page]
        for name, content in contents.items():
            assert filled(text, name, content) == text


def test_a_goal_that_was_missed_is_told() -> None:
    """Beside the share that was reached; a goal whose peer was not measured is left out."""
    measured = {"a": record(outcome(OURS, 8.0, memory=120e6), outcome(PEER, 10.0))}

    assert goals(measured).splitlines()[2:] == [
        "| a | wall time: 0.9 of `rclone --checksum` | 0.80 |  |",
        "| a | processor time: 0.7 of `rclone --checksum` | 0.80 | **missed** |",
        "| a | memory: 100 MB | 120 MB | **missed** |",
    ]
