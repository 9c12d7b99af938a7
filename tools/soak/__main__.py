"""Run agents under a storm: `python -m tools.soak --minutes 15 --seed 7`. Exit status 1 when anything was lost.

The seed decides what every thread does; the machine decides when.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tools.soak.tally import Tally
from tools.soak.world import World, new_world


def main() -> int:
    """Run it, and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        new_world(Path(directory).resolve(), options.seed) as world,
    ):
        started = time.monotonic()
        world.storm(options.minutes * 60)
        seconds = time.monotonic() - started
        world.calm()
        print(summary(world, options.seed, seconds))
        return 1 if world.tally.violations else 0


def summary(world: World, seed: int, seconds: float) -> str:
    """Print what happened, one line for each kind."""
    counts = world.tally.counts
    clock = (
        f"{counts['steps of the clock']}"
        if world.clock
        else "skipped, libfaketime is not installed"
    )
    lines = {
        "seed": f"{seed}",
        "minutes": f"{seconds / 60:.1f}",
        "runs": f"{counts['runs']} ({world.tally.of('status ')})",
        "killed by SIGKILL": f"{counts['killed by SIGKILL']}",
        "ended by SIGTERM": f"{counts['ended by SIGTERM']}",
        "stopped and continued": f"{counts['stopped and continued']}",
        "steps of the clock": clock,
        "changes": ", ".join(
            f"{counts[name]} {name.removeprefix('changes ')}"
            for name in (
                "changes in the bucket",
                "changes in the source",
                "deeds of the vandal",
            )
        ),
        "a file for a directory": f"{counts['exchanges in the source']} in the source, for which"
        f" {counts['runs that waited for the store']} runs in the calm waited",
        "contents checked": f"{counts['files read']} files, {counts['objects read']} objects",
        "compared in the end": f"{counts['files compared in the end']} files",
        "losses": f"{len(world.tally.violations)}",
    }
    return "\n".join(
        (*(f"{name + ':':24}{text}" for name, text in lines.items()), *_told(world.tally))
    )


def _told(tally: Tally) -> list[str]:
    return [f"VIOLATION: {each}" for each in tally.violations[:20]]


if __name__ == "__main__":
    sys.exit(main())
