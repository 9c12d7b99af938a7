"""Make the completions of shells from the parser of the command line."""

from __future__ import annotations

import argparse

import shtab


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script of one shell.

    Args:
        shell: `bash`, `zsh` or `fish`.
        parser: of the command line; learns which values are files.
    """
    for action in parser._actions:
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    lines = shtab.complete(parser, shell).splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"
