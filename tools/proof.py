"""Try everything that may go wrong at full length, in one run: `python -m tools.proof --minutes 15`, as root.

Prints a table: of each class of faults how many cases were tried, and how many of them lost something. Ends with status
1 if any did, or if a class could not be tried. With `--readme` the table goes into docs/evidence/guarantees.md. It
takes hours to have each call fail; `--sample` has some of them fail, and `--results` resumes what was interrupted.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from support.disks import FILE_SYSTEMS

from tools.documents import fill

MET = 0.95
"""The share of the calls that must be reached: a run may take another way than the one that was counted."""
ROOT = Path(__file__).parent.parent
PAGE, BLOCK = "docs/evidence/guarantees.md", "faults"
RESULTS = ROOT / "tools" / "results" / "proof.json"
"""The results that the page shows."""
COUNT = re.compile(r"^\d+ of (?P<count>\d+) points$", re.MULTILINE)
POINTS = re.compile(
    r"^all \| \| (?P<tried>\d+) \| (?P<met>\d+) \| (?P<lost>\d+) \|$", re.MULTILINE
)
CUTS = re.compile(
    r"^\w+ \| \w+[^|]* \| \w+ \| (?P<tried>\d+) \| (?P<states>\d+) \| (?P<lost>\d+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a class of faults."""

    tried: str
    lost: int | None
    """None: it could not be tried, or did not finish."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A class of faults, and how it is tried."""

    name: str
    command: Sequence[str]
    read: Callable[[str, Path], Result]
    """Makes the result of what the command printed, or of its JUnit file."""


def of_tests(_: str, junit: Path) -> Result:
    """Read what pytest wrote."""
    suites = list(ET.parse(junit).getroot().iter("testsuite"))
    tests, skipped, failed = (
        sum(int(suite.get(name, "0")) for suite in suites for name in names)
        for names in (("tests",), ("skipped",), ("failures", "errors"))
    )
    if tests == skipped:
        return Result("", None)
    told = [f"{tests - skipped:,} cases"]
    told += [f"{skipped} not tried here"] if skipped else []
    races = [
        each
        for suite in suites
        for each in suite.iter("property")
        if each.get("name") == "races"
    ]
    told += [f"{sum(int(each.get('value', '0')) for each in races):,} races"] if races else []
    return Result(", ".join(told), failed)


def of_points(printed: str, _: Path) -> Result:
    """Read the table of `tools.crashes`."""
    found, count = POINTS.search(printed), COUNT.search(printed)
    if found is None or count is None or int(found["met"]) < MET * int(found["tried"]):
        return Result("", None)
    tried, met = int(found["tried"]), int(found["met"])
    reached = "all" if met == tried else f"{met:,}"
    text = f"{tried:,} of {int(count['count']):,} calls, {reached} reached"
    return Result(text, int(found["lost"]))


def of_cuts(printed: str, _: Path) -> Result:
    """Read the table of `tools.crashes --power-cut`."""
    found = list(CUTS.finditer(printed))
    if not found:
        return Result("", None)
    tried, states, lost = (
        sum(int(each[name]) for each in found) for name in ("tried", "states", "lost")
    )
    return Result(f"{tried:,} cuts, {states:,} states of the disk", lost)


def of_soak(printed: str, _: Path) -> Result:
    """Read the summary of `tools.soak`."""
    found = dict(re.findall(r"^([\w ]+): +([\d.]+)", printed, re.MULTILINE))
    if "losses" not in found:
        return Result("", None)
    text = (
        f"{found['minutes']} minutes, {int(found['runs']):,} runs, {found['killed by SIGKILL']} killed, "
        f"{found.get('steps of the clock', 'no')} clock steps"
    )
    return Result(text, int(found["losses"]))


def proofs(minutes: float, seed: int, points: int | None) -> Iterator[Proof]:
    """Yield how each class is tried, the quick ones first.

    Args:
        minutes: of the soak.
        seed: of the soak.
        points: how many file-system calls fail; None is all, and power cuts in more than one scenario. All calls meet
            SIGKILL and SIGTERM.
    """
    sample = ["--sample", f"{points}"] if points else []

    def tests(name: str, *places: str) -> Proof:
        return Proof(name, ["pytest", "-q", "-p", "no:cacheprovider", *places], of_tests)

    def hostile(*names: str) -> list[str]:
        return [f"tests/hostile/test_{name}.py" for name in names]

    def crashes(name: str, *options: str) -> Proof:
        read = of_cuts if "--power-cut" in options else of_points
        return Proof(name, ["tools.crashes", *options], read)

    yield tests(
        "servers that lie, break off, never end, or contain something else",
        *hostile(
            "cases",
            "listings",
            "bodies",
            "large_objects",
            "ignored_ranges",
            "master_listings",
            "opaque_parts",
            "page_boundaries",
            "endless_answers",
            "slow_listings",
        ),
    )
    yield tests(
        "networks, certificates, proxies, redirects, closed pipes and signals",
        *hostile(
            "networks",
            "certificates_and_proxies",
            "hanging_helpers",
            "temporary_credentials",
            "clocks",
            "interruptions",
        ),
    )
    yield tests(
        "hostile keys, maps and trees",
        *hostile(
            "names",
            "trees",
            "target_races",
            "source_races",
            "undeletable_files",
            "trusted_files",
        ),
        *hostile("system_directories"),
        "tests/unit/plan/test_keys.py",
    )
    yield tests("runs that overlap", "tests/integration/test_overlap.py")
    yield tests("corrupted and generated inputs", "tests/property")
    yield tests("rights, secrets, and files that other users can write", "tests/trust")
    yield tests(
        "disks that are full or fail",
        *hostile("full_disks", "failing_syncs", "blocked_entries"),
    )
    yield crashes("SIGKILL before each file-system call of a run")
    yield crashes("SIGTERM before each file-system call of a run", "--fault", "SIGTERM")
    faults = ("ENOSPC", "EDQUOT", "EIO", "EPERM", "EROFS", "short write")
    options = [word for fault in faults for word in ("--fault", fault)]
    yield crashes(f"each call fails: {', '.join(faults)}", *options, *sample)
    disks = [word for disk in FILE_SYSTEMS for word in ("--power-cut", disk)]
    scenario = ["--scenario", "change"] if points else []
    yield crashes(f"power cuts: {', '.join(FILE_SYSTEMS)}", *disks, *scenario)
    soak = ["tools.soak", "--minutes", f"{minutes}", "--seed", f"{seed}"]
    yield Proof(f"soak, seed {seed}", soak, of_soak)


class Kept:
    """What came of the classes, by the commands that tried them, in a file if there is to be one."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._found: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            self._found = json.loads(file.read_text())

    def of(self, proof: Proof) -> Result | None:
        """Return its earlier result, if it finished."""
        found = self._found.get(" ".join(proof.command))
        return Result(**found) if found and found["lost"] is not None else None

    def keep(self, proof: Proof, result: Result) -> None:
        """Note what came of it."""
        self._found[" ".join(proof.command)] = asdict(result)
        if self._file is not None:
            self._file.write_text(json.dumps(self._found, indent=1))


def try_out(proof: Proof, directory: Path) -> Result:
    """Run a command to its end, and read what it says."""
    junit = directory / "junit.xml"
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", *proof.command]
    command += ["--junitxml", str(junit)] if proof.read is of_tests else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if proof.read is of_tests and not junit.exists():
        return Result("", None)
    result = proof.read(done.stdout, junit)
    if result.lost or done.returncode:
        print(done.stdout, file=sys.stderr)
    if done.returncode and not result.lost:
        return Result(result.tried, None)  # it broke off
    return result


def table(results: Mapping[str, Result], date: str) -> str:
    """Return a table of the classes, in Markdown.

    Args:
        results: by the name of the class.
        date: when they were tried.
    """
    rows = [
        f"| {name} | {each.tried} | {'could not be tried' if each.lost is None else each.lost} |"
        for name, each in results.items()
    ]
    head = ["| class of faults | tried | losses |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", f"Tried on {date}."])


def read(file: Path) -> tuple[dict[str, Result], str]:
    """Read results and their date, as `write` has written them."""
    document = json.loads(file.read_text(encoding="utf-8"))
    classes = {name: Result(**each) for name, each in document["classes"].items()}
    return classes, document["date"]


def write(file: Path, results: Mapping[str, Result], date: str) -> None:
    """Write results and their date to a file."""
    document = {
        "date": date,
        "classes": {name: asdict(each) for name, each in results.items()},
    }
    file.write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")


def main() -> int:
    """Try all classes, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.proof", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="of the soak")
    parser.add_argument("--seed", type=int, default=1, help="of the soak")
    parser.add_argument(
        "--sample",
        type=int,
        help="how many calls fail, at random, and power cuts in one scenario; all",
    )
    parser.add_argument("--readme", action="store_true", help=f"write the table into {PAGE}")
    parser.add_argument(
        "--results",
        type=Path,
        help="a file for what came of each class; what is in it is not tried again",
    )
    options = parser.parse_args()
    results: dict[str, Result] = {}
    kept = Kept(options.results)
    with tempfile.TemporaryDirectory(prefix="proof-") as directory:
        for proof in proofs(options.minutes, options.seed, options.sample):
            print(f"{proof.name} ...", file=sys.stderr, flush=True)
            result = kept.of(proof) or try_out(proof, Path(directory))
            kept.keep(proof, result)
            results[proof.name] = result
            print(f"    {result.tried}, losses: {result.lost}", file=sys.stderr, flush=True)
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    print(table(results, date))
    if options.readme:
        write(RESULTS, results, date)
        fill(ROOT, PAGE, {BLOCK: table(results, date)})
    return 1 if any(result.lost != 0 for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
