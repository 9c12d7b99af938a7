"""Try a fault at every file-system call of a pass: `python -m tests.crashes`, from the project's directory.

Without arguments, SIGKILL at every call of every scenario. Each point is a pass that meets the fault, then two passes
without it; what may never happen is in `support.invariants` and `support.worlds`. Ends with status 1 if it did.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.faults import FAULTS, Point, Trial, attempt, points_of, sample
from support.tracing import SUPPORTED, WHY_NOT
from support.warm import warm_once
from support.worlds import SCENARIOS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be repeated"
    )
    parser.add_argument("--fault", action="append", choices=FAULTS, help="may be repeated")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="only so many points, at random"
    )
    parser.add_argument("--seed", type=int, default=32)
    parser.add_argument("--number", type=int, help="only this call")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _attempt(point: Point) -> Trial:
    with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
        return attempt(point, Path(directory, "world"), warm_once)


def _points(options: argparse.Namespace) -> list[Point]:
    found: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
        for name in options.scenario or SCENARIOS:
            found += points_of(
                name, options.fault or ["SIGKILL"], Path(directory, "world"), warm_once
            )
    if options.number:
        found = [each for each in found if each.number == options.number]
    return sample(found, options.sample, options.seed) if options.sample else found


def main() -> int:
    """Try every point and print what came of it."""
    options = _arguments()
    if not SUPPORTED:
        print(WHY_NOT)
        return 2
    points, started = _points(options), time.monotonic()
    tried: Counter[tuple[str, str]] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    codes: dict[tuple[str, str], Counter[int]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context) as pool:
        for trial in pool.map(_attempt, points):
            group = trial.point.scenario, trial.point.fault
            tried[group] += 1
            met[group] += bool(trial.call)
            codes.setdefault(group, Counter())[trial.exit_code] += 1
            if trial.problems:
                lost[group] += 1
                print(
                    f"{trial.point} ({trial.call}), exit status {trial.exit_code}", flush=True
                )
                for problem in trial.problems:
                    print(f"    {problem}", flush=True)
    print("\nscenario | fault | points | met | with problems | exit statuses")
    print("--- | --- | --- | --- | --- | ---")
    for group in tried:
        told = ", ".join(f"{code}: {count}" for code, count in sorted(codes[group].items()))
        print(*group, tried[group], met[group], lost[group], told, sep=" | ")
    print(f"\n{tried.total()} points in {time.monotonic() - started:.0f} s", end=", ")
    print(f"{lost.total()} with problems")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
