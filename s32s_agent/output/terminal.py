"""What a stream can show: whether a person reads it, colours, and how many columns a text takes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from typing import TextIO

GREEN, RED, YELLOW, CYAN, BOLD, DIM = "32", "31", "33", "36", "1", "2"
"""Codes of ANSI escape sequences."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person reads a stream."""
    return stream is not None and not stream.closed and stream.isatty()


def wants_colours(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether to colour what goes to a stream: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
    if not is_terminal(stream) or os.name == "nt":
        # The old Windows console shows the codes instead of obeying them.
        return False
    return not environ.get("NO_COLOR") and not is_dumb(environ)


def can_erase(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether a line on a stream can be taken away again."""
    # The old Windows console shows the codes instead of obeying them.
    obeys = os.name != "nt" or "WT_SESSION" in environ
    return is_terminal(stream) and obeys and not is_dumb(environ)


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Return whether the terminal knows lines only."""
    return environ.get("TERM") == "dumb"


def paint(code: str, text: str, *, colours: bool) -> str:
    """Colour a text, where colours are wanted."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours else text


def columns(text: str) -> int:
    """Count the columns of a terminal that a text takes; East Asian characters take two."""
    return sum(map(_char_columns, text))


def cut(text: str, width: int) -> str:
    """Cut a text to so many columns."""
    used = 0
    for position, char in enumerate(text):
        used += _char_columns(char)
        if used > width:
            return text[:position]
    return text


def _char_columns(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
