"""Run other tools in the cases of hostile servers and names: `python -m tools.peers`.

Prints a table of the classes of cases. With `--readme` the findings become those that the documents show.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support import other_tools
from support.moto_server import find_tool
from support.other_tools import Finding

from tools.bench.table import markdown
from tools.documents import fill, wrapped

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "tools" / "results" / "peers.json"
"""The findings that the documents show."""
README, PAGE = "README.md", "docs/evidence/comparison.md"
NAMES = {
    other_tools.AGENT: other_tools.AGENT,
    "aws": "`aws s3 sync`",
    "rclone": "`rclone sync`",
    "s5cmd": "`s5cmd sync`",
}
KINDS = {
    "listing": "listings: empty, cut, foreign, errors",
    "body": "answers that are not the object, or damaged",
    "names": "hostile keys",
    "access": "credentials that expire during the run",
    "head": "a listing that contradicts GET and HEAD",
    "ranges": "a server that ignores `Range`, and an object of 20 MiB",
}
VERDICTS = {
    "lost files": "deleted good files",
    "wrote outside": "wrote outside",
    "wrong files": "wrong files",
    "hung": "hung",
    "exit 0": "silent",
}
"""The words of the documents for what went wrong, from the worst."""
FINE = "correct"


def main() -> int:
    """Run the tools in all cases, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.peers", description=__doc__)
    parser.add_argument(
        "--tools", nargs="+", choices=other_tools.TOOLS, default=list(other_tools.TOOLS)
    )
    parser.add_argument("--kind", choices=KINDS, help="only this class of cases")
    parser.add_argument(
        "--readme", action="store_true", help=f"write the findings into {README} and {PAGE}"
    )
    options = parser.parse_args()
    tools = [each for each in options.tools if each == other_tools.AGENT or find_tool(each)]
    for missing in set(options.tools) - set(tools):
        print(f"{missing} is not installed (extra: bench), so it is left out", file=sys.stderr)
    for broken in [each for each in tools if not other_tools.mirrors(each)]:
        sys.exit(f"{broken} does not even mirror an honest server, so it cannot be compared")
    if options.readme and (options.kind or set(tools) != set(other_tools.TOOLS)):
        parser.error("--readme needs all cases and all tools")
    cases = [
        each for each in other_tools.cases_for_any_tool() if options.kind in (None, each.kind)
    ]
    findings = other_tools.compare(tools, cases, _show)
    print(classes(findings))
    if options.readme:
        write(RESULTS, findings, other_tools.versions(tools), f"{datetime.now(UTC):%Y-%m-%d}")
        for page, contents in blocks(RESULTS).items():
            fill(ROOT, page, contents)
    return 0


def _show(finding: Finding) -> None:
    print(
        f"{finding.tool:10} {finding.verdict:14} {finding.exit_code!s:5} {finding.case}",
        file=sys.stderr,
    )


def write(
    file: Path, findings: Iterable[Finding], versions: Mapping[str, str], date: str
) -> None:
    """Write findings to a file, one a line, without their details, which name directories of this computer."""
    lines = ",\n".join(json.dumps({**asdict(each), "detail": ""}) for each in findings)
    head = json.dumps({"date": date, "versions": dict(versions)}, indent=1)[:-2]
    file.write_text(f'{head},\n "findings": [\n{lines}\n]}}\n', encoding="utf-8")


def read(file: Path) -> tuple[list[Finding], dict[str, Any]]:
    """Read findings, and with what and when they were made."""
    document = json.loads(file.read_text(encoding="utf-8"))
    return [Finding(**each) for each in document.pop("findings")], document


def blocks(file: Path) -> dict[str, dict[str, str]]:
    """Return the content of each generated block, by document and name."""
    findings, made = read(file)
    numbers = (
        f"{tool} {re.findall(r'[0-9]+(?:[.][0-9]+)+', text)[0]}"
        for tool, text in made["versions"].items()
    )
    when = f"Tried on {made['date']} with {', '.join(numbers)}."
    return {
        PAGE: {"classes": f"{classes(findings)}\n\n{when}", "cases": cases_of(findings)},
        README: {"peers": sentence(findings)},
    }


def classes(findings: Sequence[Finding]) -> str:
    """Return a table of classes of cases against tools, in Markdown."""
    tools = _tools(findings)
    rows = []
    for kind in dict.fromkeys(each.kind for each in findings):
        of_kind = [each for each in findings if each.kind == kind]
        counts = (_counts(each for each in of_kind if each.tool == tool) for tool in tools)
        rows.append((KINDS[kind], str(len({each.case for each in of_kind})), *counts))
    columns = ("class of cases", "cases", *(NAMES[tool] for tool in tools))
    return "\n".join(markdown(columns, rows))


def cases_of(findings: Sequence[Finding]) -> str:
    """Return a table of cases against tools, in Markdown."""
    tools = _tools(findings)
    rows: dict[str, dict[str, str]] = {}
    for each in findings:
        code = "" if each.exit_code is None else f" ({each.exit_code})"
        cell = VERDICTS.get(each.verdict, FINE) + code
        rows.setdefault(each.case.replace("|", "\\|"), {})[each.tool] = cell
    columns = ("case", *(NAMES[tool] for tool in tools))
    return "\n".join(
        markdown(
            columns,
            ((case, *(cells.get(tool, "") for tool in tools)) for case, cells in rows.items()),
        )
    )


def sentence(findings: Sequence[Finding]) -> str:
    """Return the one sentence of the README."""
    cases = len({each.case for each in findings})
    harm = {*VERDICTS} - {"hung", "exit 0"}

    def harmed(tool: str) -> str:
        count = sum(each.tool == tool and each.verdict in harm for each in findings)
        return str(count) if count else "none"

    others = ", ".join(f"{NAMES[tool]} in {harmed(tool)}" for tool in list(NAMES)[1:])
    return wrapped(
        f"In {cases} cases of servers that break the rules and of hostile keys, with deletes on, s32s-agent deleted "
        f"or damaged good files in {harmed(other_tools.AGENT)}, {others}."
    )


def _tools(findings: Iterable[Finding]) -> tuple[str, ...]:
    there = {each.tool for each in findings}
    return tuple(tool for tool in NAMES if tool in there)


def _counts(findings: Iterable[Finding]) -> str:
    found = Counter(each.verdict for each in findings)
    bad = [
        f"{words}: {found[verdict]}" for verdict, words in VERDICTS.items() if found[verdict]
    ]
    return ", ".join(bad) or FINE


if __name__ == "__main__":
    sys.exit(main())
