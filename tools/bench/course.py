"""The course of one workload: prepare, warm up, and let the tools take turns. Prints what it does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .measure import Measured, Run, measure
from .scenarios import Play, play_of
from .stage import Stage, open_stage
from .tools import Tool, environment
from .workloads import Workload

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tool did with one workload."""

    tool: str
    command: list[str]
    """As it was run, with the temporary directory shortened to `.`."""
    runs: list[Run]
    """Without the warm-up; none when the tool was wrong once."""
    problem: str = ""
    """Why it gets no figure."""
    rates: tuple[float, ...] = ()
    """Bytes a second as a relay saw them, where a limit was to be held."""


@dataclass(slots=True)
class _Turn:
    """A tool on its way through a workload."""

    tool: Tool
    runs: list[Run]
    rates: list[float]
    problem: str = ""


def run_workload(
    workload: Workload, tools: list[Tool], rounds: int, directory: Path, say: Say
) -> list[Outcome]:
    """Measure each tool that takes the job, a warm-up and `rounds` times, by turns: A B C A B C.

    Args:
        workload: what to do.
        tools: who does it.
        rounds: how often, at least once.
        directory: where the temporary directory is made; everything in it is removed at the end.
        say: takes a line for the person who waits.
    """
    with (
        tempfile.TemporaryDirectory(prefix="s32s-agent-bench-", dir=directory) as scratch,
        open_stage(workload, Path(scratch).resolve()) as stage,
    ):
        turns = [_Turn(tool, [], []) for tool in tools if tool.takes(stage.job(tool))]
        play = play_of(stage)
        say("  preparing the data")
        play.begin([turn.tool for turn in turns])
        for number in range(rounds + 1):
            play.before_round(number)
            for turn in turns:
                if not turn.problem:
                    _take(turn, number, stage, play)
                    say(_told(turn, number))
        return [_outcome(turn, stage) for turn in turns]


def _take(turn: _Turn, number: int, stage: Stage, play: Play) -> None:
    """Run one tool once, and keep its measurement unless it is a warm-up or the result is wrong."""
    job = stage.job(turn.tool)
    play.before(turn.tool, job)
    what = Measured(turn.tool.command(job), environment(job), stage.server, stage.scratch)
    run = measure(what)
    rate = stage.relay.rate() if stage.relay is not None else 0.0
    run = replace(run, problem=run.problem or play.problem(turn.tool, job))
    play.after(turn.tool, job)
    if run.problem:
        turn.problem = run.problem
        turn.runs.clear()
    elif number:
        turn.runs.append(run)
        turn.rates += [rate] if job.max_bandwidth else []


def _told(turn: _Turn, number: int) -> str:
    which = f"round {number}" if number else "warm-up"
    if turn.problem:
        return f"  {which}: {turn.tool.name}: WRONG: {turn.problem}"
    if not number:
        return f"  {which}: {turn.tool.name}"
    run = turn.runs[-1]
    return (
        f"  {which}: {turn.tool.name}: {run.wall:.2f} s, processor {run.cpu:.2f} s, "
        f"{run.memory / 1e6:.0f} MB; server {run.server_cpu:.2f} s"
    )


def _outcome(turn: _Turn, stage: Stage) -> Outcome:
    job = stage.job(turn.tool)
    command = [word.replace(str(stage.directory), ".") for word in turn.tool.command(job)]
    command[0] = Path(command[0]).name
    return Outcome(turn.tool.name, command, turn.runs, turn.problem, tuple(turn.rates))
