"""Run other tools in the cases of hostile servers and names: `python -m tools.peers`.

Writes a table to standard output, and with `--output` a JSON file and two tables into a directory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from support import peers
from support.moto_server import find_tool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.peers", description=__doc__)
    parser.add_argument("--tools", nargs="+", choices=peers.TOOLS, default=list(peers.TOOLS))
    parser.add_argument(
        "--kind", help="only this class of cases: listing, body, head, names, access, ranges"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIRECTORY", help="write the tables there"
    )
    options = parser.parse_args()
    tools = [each for each in options.tools if each == peers.AGENT or find_tool(each)]
    for missing in set(options.tools) - set(tools):
        print(f"{missing} is not installed (extra: bench), so it is left out", file=sys.stderr)
    for broken in [each for each in tools if not peers.mirrors(each)]:
        sys.exit(f"{broken} does not even mirror an honest server, so it cannot be compared")
    cases = [each for each in peers.for_peers() if options.kind in (None, each.kind)]
    findings = peers.compare(tools, cases, _show)
    sys.stdout.write(peers.summary(findings))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        written = {
            "peers.json": peers.to_json(findings, peers.versions(tools)),
            "peers.md": f"{peers.summary(findings)}\n{peers.details(findings)}",
        }
        for name, text in written.items():
            (options.output / name).write_text(text, encoding="utf-8")
    return 0


def _show(finding: peers.Finding) -> None:
    print(
        f"{finding.tool:10} {finding.verdict:14} {finding.exit_code!s:5} {finding.case}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
