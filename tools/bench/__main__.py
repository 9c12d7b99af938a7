"""The command line: which workloads, which tools, how often, and where the results go."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from s32s_agent.demo.seaweedfs import find_weed
from s32s_agent.errors import AgentError

from . import chart, results
from .course import run_workload
from .readme import update
from .table import long_table
from .tools import EXTRA, Agent, Tool, all_tools
from .workloads import WORKLOADS, Workload, select, shrunk

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROOT = HERE.parent.parent
USAGE_STATUS = 2
SMALL = 10
GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, and give the exit status: 1 when a tool was wrong or missing."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    if options.readme:
        update(ROOT, results.read(RESULTS / results.FILE))
        return 0
    for program in filter(None, (options.agent, options.beside)):
        if not os.access(program, os.X_OK) or program.is_dir():
            parser.error(
                f"{program} is not a program; name s32s-agent itself, as .venv/bin/s32s-agent"
            )
    if not options.directory.is_dir():
        parser.error(f"--directory {options.directory}: no such directory")
    try:
        workloads = select(name for text in options.workload for name in text.split(","))
        tools = _chosen(all_tools(options.agent, options.beside), options.only)
        find_weed()
    except (ValueError, AgentError) as error:
        parser.error(f"{error}")
    divisor = SMALL if options.small else options.divide
    return _run([shrunk(each, divisor) for each in workloads], tools, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Measures the agent beside rclone, s5cmd and aws-cli, on loopback.",
        epilog="workloads: " + "; ".join(f"{each.name}: {each.title}" for each in WORKLOADS),
    )
    add = parser.add_argument
    add(
        "--workload",
        action="append",
        default=[],
        metavar="NAME",
        help="only these; repeat, or a,b",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="TOOL",
        help="only tools whose name begins so",
    )
    add("--rounds", type=_positive, default=5, metavar="N", help="after a warm-up; default 5")
    add("--small", action="store_true", help="everything ten times smaller")
    add("--divide", type=_positive, default=1, metavar="N", help="everything N times smaller")
    add(
        "--agent",
        type=Path,
        default=Path(sys.executable).with_name("s32s-agent"),
        metavar="PATH",
        help="of s32s-agent; the one beside this Python unless given",
    )
    add(
        "--beside",
        type=Path,
        metavar="PATH",
        help="of another build of s32s-agent, measured in turn with the first",
    )
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="add to the results there, and draw the chart anew",
    )
    add(
        "--directory",
        metavar="DIR",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="for temporary data",
    )
    add(
        "--readme",
        action="store_true",
        help="write the results of this repository into README.md and docs/evidence/benchmarks.md",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _chosen(tools: list[Tool], names: list[str]) -> list[Tool]:
    chosen = [tool for tool in tools if not names or tool.name.startswith(tuple(names))]
    if not chosen:
        known = ", ".join(tool.name for tool in tools)
        raise ValueError(f"--only {names[0]}: no such tool, expected one of {known}")
    return chosen


def _run(workloads: list[Workload], tools: list[Tool], options: argparse.Namespace) -> int:
    """Run them one after the other; what is done is kept, whatever becomes of the rest."""
    there = [tool for tool in tools if not tool.missing()]
    for tool in tools:
        if tool.missing():
            _say(f"LEFT OUT: {tool.name}: {tool.missing()}")
    fine = len(there) == len(tools)
    done: dict[str, results.Record] = {}
    for workload in workloads:
        _say(f"{workload.name}: {workload.title}")
        takers = there
        if workload.listing_only and not options.only:
            takers = [tool for tool in there if isinstance(tool, Agent)]
        lack = _lack_of_room(workload, len(takers), options)
        if lack:
            _say(f"  LEFT OUT: {lack}")
            fine = False
            continue
        outcomes = run_workload(workload, takers, options.rounds, options.directory, _say)
        fine = fine and not any(each.problem for each in outcomes)
        done[workload.name] = results.record_of(workload, outcomes, there, options.rounds)
        _keep(workload.name, done, options.output)
    print(f"\n{long_table(done)}")
    return 0 if fine else 1


def _lack_of_room(workload: Workload, tools: int, options: argparse.Namespace) -> str:
    directory, rounds = options.directory, options.rounds
    needed, free = workload.disk_bytes(tools, rounds), shutil.disk_usage(directory).free
    trees = tools * (rounds + 1) if workload.keeps_trees else tools
    disk, files = os.statvfs(directory), workload.data.count * (trees + 1)
    # Where f_files is 0 the file system makes inodes as it needs them.
    if disk.f_files and disk.f_favail < files:
        return f"needs {files:,} inodes in {directory}, {disk.f_favail:,} are free; see --directory"
    if free >= needed:
        return ""
    return f"needs {needed / GIB:.1f} GiB in {directory}, {free / GIB:.1f} are free; see --directory"


def _keep(name: str, done: dict[str, results.Record], output: Path | None) -> None:
    """Add a workload to the results on the disk."""
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    file = output / results.FILE
    everything = {**results.read(file), name: done[name]}
    results.write(file, everything)
    if importlib.util.find_spec("matplotlib") is None:
        _say(f"  NOT DRAWN: matplotlib is not installed: pip install 's32s-agent[{EXTRA}]'")
    else:
        chart.draw(results.read(file), output / chart.FILE)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
