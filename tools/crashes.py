"""Inject a fault at every file-system call of a run: `python -m tools.crashes`, from the project's directory.

Without arguments, SIGKILL at every call of every scenario. Each crash point is a run that meets the fault, then two
runs without it; what must never happen is in `support.invariants` and `support.fault_rigs`. `--power-cut` cuts the
power at every call instead, on separate disks. Ends with status 1 if something was lost.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from support.disks import FILE_SYSTEMS
from support.faults import FAULTS, Point, Trial, attempt, points_of, sample
from support.forked import forked_once
from support.powercuts import PowerCutOptions, cut_power
from support.scenarios import SCENARIOS
from support.tracing import SUPPORTED, WHY_NOT


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.crashes", description=__doc__)
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be repeated"
    )
    parser.add_argument("--fault", action="append", choices=FAULTS, help="may be repeated")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="only so many points, at random"
    )
    parser.add_argument("--seed", type=int, default=32)
    parser.add_argument("--number", type=int, help="only this call")
    parser.add_argument("--power-cut", action="append", choices=FILE_SYSTEMS, metavar="DISK")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _attempt(point: Point) -> Trial:
    with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
        return attempt(point, Path(directory, "rig"), forked_once)


def _points(options: argparse.Namespace) -> tuple[list[Point], int]:
    """Return the points to try, and how many there are."""
    found: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
        for name in options.scenario or SCENARIOS:
            found += points_of(
                name, options.fault or ["SIGKILL"], Path(directory, "rig"), forked_once
            )
    if options.number:
        found = [each for each in found if each.number == options.number]
    chosen = sample(found, options.sample, options.seed) if options.sample else found
    return chosen, len(found)


class _Table:
    """What came of the points, by scenario and fault."""

    def __init__(self) -> None:
        self.tried: Counter[tuple[str, str]] = Counter()
        self.met: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.codes: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)

    def add(self, trial: Trial) -> None:
        group = trial.point.scenario, trial.point.fault
        self.tried[group] += 1
        self.met[group] += bool(trial.call)
        self.lost[group] += bool(trial.problems)
        self.codes[group][trial.exit_code] += 1
        if trial.problems:
            print(f"{trial.point} ({trial.call}), exit status {trial.exit_code}")
        for problem in trial.problems:
            print(f"    {problem}", flush=True)

    def print(self) -> None:
        print("\nscenario | fault | points | met | with problems | exit statuses")
        print("--- | --- | --- | --- | --- | ---")
        for group, count in self.tried.items():
            codes = sorted(self.codes[group].items())
            told = ", ".join(f"{code}: {times}" for code, times in codes)
            print(*group, count, self.met[group], self.lost[group], told, sep=" | ")
        print(f"all | | {self.tried.total()} | {self.met.total()} | {self.lost.total()} |")


def _cut(options: argparse.Namespace) -> int:
    print("scenario | disk | a foreign sync | cuts | states | with problems", flush=True)
    print("--- | --- | --- | --- | --- | ---", flush=True)
    problems = 0
    scenarios = options.scenario or ["first", "change", "repair", "ranged"]
    for scenario, disk, commits in product(scenarios, options.power_cut, (False, True)):
        with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
            how = PowerCutOptions(commits, recover_every=8)
            cuts = cut_power(scenario, disk, Path(directory), forked_once, how)
        told = (scenario, disk, commits, cuts.calls, cuts.states, len(cuts.problems))
        print(*told, sep=" | ", flush=True)
        print("".join(f"    {each}\n" for each in cuts.problems), end="", flush=True)
        problems += len(cuts.problems)
    return 1 if problems else 0


def main() -> int:
    """Try every point and print what came of it; what has been tried by then, when it is interrupted."""
    options = _arguments()
    if not SUPPORTED:
        print(WHY_NOT)
        return 2
    if options.power_cut:
        return _cut(options)
    (points, count), table = _points(options), _Table()
    print(f"{len(points)} of {count} points", flush=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context) as pool:
        try:
            for trial in pool.map(_attempt, points):
                table.add(trial)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
        finally:
            table.print()
    return 1 if table.lost.total() or table.tried.total() < len(points) else 0


if __name__ == "__main__":
    sys.exit(main())
