"""The benchmark as a person starts it, with very little to do."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.bench.tools import FOLLOWING, PAGE_BY_PAGE, SIDE_BY_SIDE, all_tools

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
AGENT = Path(sys.executable).with_name("s32s-agent")
OURS = "s32s-agent"


def bench(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark once through with a handful of objects; its results are in `results`."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "tools.bench", "--divide", "500", "--rounds", "1"]
    command += [
        "--directory",
        str(temporary),
        "--output",
        str(tmp_path / "results"),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert list(temporary.iterdir()) == []
    return done


def results(tmp_path: Path) -> dict[str, Any]:
    text = (tmp_path / "results" / "benchmark.json").read_text(encoding="utf-8")
    workloads: dict[str, Any] = json.loads(text)["workloads"]
    return workloads


def test_every_tool_that_is_there_gets_its_figures(tmp_path: Path) -> None:
    """All bring the right tree and are in JSON and table; those that are not there are said to be left out."""
    tools = all_tools(AGENT)
    missing = [tool.name for tool in tools if tool.missing()]
    elsewhere = {"rclone --size-only", PAGE_BY_PAGE, SIDE_BY_SIDE, FOLLOWING}
    expected = {tool.name for tool in tools} - {*missing} - elsewhere

    done = bench(tmp_path, "--workload", "a")

    found = {each["tool"]: each for each in results(tmp_path)["a"]["tools"]}
    assert {name: each["problem"] for name, each in found.items()} == dict.fromkeys(
        expected, ""
    )
    assert [len(each["runs"]) for each in found.values()] == [1] * len(found)
    assert [
        run for each in found.values() for run in each["runs"] if min(run.values()) < 0
    ] == []
    assert [name for name in missing if f"LEFT OUT: {name}: " not in done.stderr] == []
    assert [name for name in expected if f"| {name} |" not in done.stdout] == []
    assert done.returncode == (1 if missing else 0), done.stderr


def test_a_tool_that_lies_gets_no_figure(tmp_path: Path) -> None:
    """A program that says nothing, does nothing and ends with 0 is marked as wrong, with what is missing."""
    liar = tmp_path / "liar"
    liar.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'liar 1.0'\nexit 0\n", encoding="utf-8"
    )
    liar.chmod(0o755)

    done = bench(tmp_path, "--workload", "a", "--only", OURS, "--agent", str(liar))

    first, *_ = results(tmp_path)["a"]["tools"]
    assert (first["tool"], first["runs"]) == (OURS, [])
    assert first["problem"] == "20 missing (first 0000/0000000.dat)"
    assert "| s32s-agent | wrong: 20 missing" in done.stdout
    assert done.returncode == 1


def test_every_kind_of_work_is_prepared_and_checked(tmp_path: Path) -> None:
    """The agent makes a push, a pass over changes, and one against the listing server, each with a figure."""
    done = bench(tmp_path, "--workload", "f,g", "--workload", "j-10k", "--only", OURS)

    found = {name: each["tools"][0] for name, each in results(tmp_path).items()}
    assert {name: each["problem"] for name, each in found.items()} == dict.fromkeys(
        ("f", "g", "j-10k"), ""
    ), done.stderr
    assert [len(each["runs"]) for each in found.values()] == [1, 1, 1]
    assert done.returncode == 0, done.stderr


def test_an_agent_that_follows_snapshots_is_measured_beside_one_that_lists(
    tmp_path: Path,
) -> None:
    """Ten objects change before each round; both have them afterwards, and the one that lists nothing is as right."""
    done = bench(tmp_path, "--workload", "q", "--only", OURS)

    (found,) = results(tmp_path).values()
    problems = {each["tool"]: each["problem"] for each in found["tools"]}
    assert problems == {OURS: "", FOLLOWING: ""}, done.stderr
    assert [len(each["runs"]) for each in found["tools"]] == [1, 1]


def test_the_same_results_give_the_same_chart(tmp_path: Path) -> None:
    """Drawing twice gives the same bytes, with a bar for each tool and no date."""
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed; it is in the extra `bench`")
    command = [sys.executable, "-W", "error", "-c", DRAW, str(tmp_path)]
    subprocess.run(
        command, cwd=ROOT, check=True, env={**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    )
    first, second = (tmp_path / name for name in ("1.svg", "2.svg"))

    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    assert "s5cmd sync" in text
    assert "<dc:date>" not in text


DRAW = """
import pathlib, sys
from tools.bench import chart

def tool(name, wall):
    runs = [{"wall": wall, "cpu": 1, "memory": 1, "server_cpu": 1}]
    return {"tool": name, "problem": "", "runs": runs}

record = {"title": "first pass, 10 x 4 KiB", "tools": [tool("s32s-agent", 2.0), tool("s5cmd sync", 1.0)]}
for name in ("1.svg", "2.svg"):
    chart.draw({"a": record}, pathlib.Path(sys.argv[1]) / name)
"""
