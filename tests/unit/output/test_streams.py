"""What a stream can show."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import pytest

from s32s_agent.output.terminal import (
    RED,
    can_erase,
    columns,
    cut,
    is_terminal,
    paint,
    wants_colours,
)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def closed_terminal() -> Terminal:
    terminal = Terminal()
    terminal.close()
    return terminal


@pytest.mark.parametrize("stream", [None, io.StringIO(), closed_terminal()])
def test_what_is_no_terminal_gets_neither_colours_nor_erasing(
    stream: io.StringIO | None,
) -> None:
    """A missing stream, a pipe and a closed terminal are none."""
    assert not is_terminal(stream)
    assert not wants_colours(stream, {})
    assert not can_erase(stream, {})


@pytest.mark.skipif(os.name == "nt", reason="colours are off there")
@pytest.mark.parametrize(
    ("environ", "colours", "erases"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm"}, True, True),
    ],
)
def test_no_color_and_a_dumb_terminal_are_honoured(
    environ: Mapping[str, str], *, colours: bool, erases: bool
) -> None:
    """NO_COLOR takes the colours, and TERM=dumb every escape sequence."""
    terminal = Terminal()

    assert (wants_colours(terminal, environ), can_erase(terminal, environ)) == (
        colours,
        erases,
    )


def test_a_text_is_painted_where_colours_are_wanted() -> None:
    """The colour ends with the text."""
    assert paint(RED, "x", colours=True) == "\x1b[31mx\x1b[0m"
    assert paint(RED, "x", colours=False) == "x"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 2, "ab"), ("日本", 3, "日"), ("日本", 4, "日本"), ("", 0, "")],
)
def test_wide_characters_take_two_columns(text: str, width: int, expected: str) -> None:
    """A text is never cut in the middle of one."""
    assert cut(text, width) == expected
    assert columns(expected) <= width
