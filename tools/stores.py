"""Try the agent on every S3 server that can be had here, and write the table of the documents.

    python -m tools.stores             # tries those that are installed, keeps what is known of the others
    python -m tools.stores s3rver      # tries this one
    python -m tools.stores --readme    # writes the table from what is known

It takes some minutes. What is not installed is named, with the command that installs it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.store_servers import STORES, Store
from support.store_suite import Result, Suite

from s32s_agent.stores.s3.traits import StoreTraits, promises
from tools.documents import filled

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "tools/results/stores.json"
DOCUMENT = ROOT / "docs/understand/stores.md"
BLOCK = "stores"
_HEAD = (
    "store",
    "tried",
    "both roles",
    "filled by rclone, aws, s5cmd",
    "requests of a quiet run",
    "what it lacks",
)


def main(words: list[str] | None = None) -> int:
    """Try the stores, unless only the table is asked for; return whether something went wrong that was not known."""
    parser = argparse.ArgumentParser(prog="python -m tools.stores", description=__doc__)
    parser.add_argument("--readme", action="store_true", help="only write the table")
    parser.add_argument("store", nargs="*", help="only these")
    options = parser.parse_args(words)
    failed = False if options.readme else _try_all(options.store)
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(filled(text, BLOCK, table(known())), encoding="utf-8")
    return int(failed)


def known() -> dict[str, Any]:
    """Return what is known, by store."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def _try_all(names: Sequence[str]) -> bool:
    results, failed = known() if RESULTS.exists() else {}, False
    for store in STORES:
        if names and store.name not in names:
            continue
        if reason := store.missing():
            print(f"{store.name}: not tried: {reason}")
            continue
        result = try_store(store)
        failed = failed or bool(result.problems)
        day = datetime.now(UTC).date().isoformat()
        results[store.name] = {**asdict(result), "date": day}
        print(f"{store.name} {result.version}: {result.problems or 'works'}", flush=True)
    text = json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    return failed


def try_store(store: Store) -> Result:
    """Run the suite on one store, in a temporary directory."""
    result = Result(store.name, store.version())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        served, suite = Path(directory, "served"), Path(directory, "suite")
        served.mkdir()
        suite.mkdir()
        with store.start(served) as server:
            Suite(server, suite, result).run()
    return result


def table(results: Mapping[str, Any]) -> str:
    """Return the table, in Markdown: one row for each store, in their order."""
    rows = [_row(results[store.name]) for store in STORES if store.name in results]
    return "\n".join((_line(_HEAD), _line(["---"] * len(_HEAD)), *map(_line, rows)))


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _row(result: Mapping[str, Any]) -> Iterator[str]:
    fillers = [step for step in result["steps"] if "filled" in step]
    roles = [step for step in result["steps"] if "filled" not in step]
    yield f"{result['store']} {result['version']}"
    yield result["date"]
    problems = result["problems"]
    yield _told(roles, problems, ())
    yield _told(fillers, problems, result["skipped"].values())
    counts = {role: _counted(requests) for role, requests in result["quiet_requests"].items()}
    same = len(set(counts.values())) == 1
    yield (
        next(iter(counts.values()))
        if same
        else "; ".join(f"{role}: {each}" for role, each in counts.items())
    )
    traits = StoreTraits.from_json(result["traits"])
    yield (
        "<br>".join(
            f"{each.subject}: {each.found}" for each in promises(traits) if each.consequence
        )
        or "nothing"
    )


def _told(steps: Sequence[str], problems: Mapping[str, str], skipped: Iterable[str]) -> str:
    """Return what came of some steps; what was not tried is not called good."""
    wrong = [f"{step}: {problems[step]}" for step in steps if step in problems]
    good = ["work"] if steps and not wrong else []
    return "<br>".join((*good, *wrong, *skipped)) or "not tried"


def _counted(requests: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {kind.replace('GET map', 'GET of the map')}"
        for kind, count in requests.items()
    )


if __name__ == "__main__":
    sys.exit(main())
