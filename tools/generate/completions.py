"""Make the completions of shells from the parser of the command line."""

from __future__ import annotations

import shtab

from s32s_agent.arguments import make_parser


def script(shell: str) -> str:
    """Make the script of one shell.

    Args:
        shell: `bash`, `zsh` or `fish`.
    """
    parser = make_parser()
    for action in parser._actions:
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    lines = shtab.complete(parser, shell).splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"
