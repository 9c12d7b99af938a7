"""What is printable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.text import printable


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain é 日", "plain é 日"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\x9b", "a\\x0ab\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_no_control_character_reaches_a_terminal(text: str, escaped: str) -> None:
    """Whatever is not printable is written as its escape."""
    actual = printable(text)

    assert actual == escaped


@given(st.text())
def test_everything_is_printable_afterwards(text: str) -> None:
    """The result can be printed and encoded, whatever the text."""
    actual = printable(text)

    assert actual.isprintable()
    assert actual.encode().decode() == actual
