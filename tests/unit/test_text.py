"""Texts, sizes, durations and times for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.text import (
    ago_text,
    clock_text,
    duration_text,
    printable,
    shortened,
    size_text,
    time_text,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (123_456, "123 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (52_113_000, "52.1 MB"),
        (1_500_000_000, "1.5 GB"),
        (12_000_000_000_000_000, "12000 TB"),
    ],
)
def test_sizes(size: float, expected: str) -> None:
    """A size has at most four figures and a decimal unit, and rounding never shows 1000."""
    assert size_text(size) == expected


@pytest.mark.parametrize(
    ("seconds", "duration", "ago", "clock"),
    [
        (0.4, "", "just now", "0:00"),
        (1, "1 second", "1 second ago", "0:01"),
        (59.4, "59 seconds", "59 seconds ago", "0:59"),
        (150, "2 minutes", "2 minutes ago", "2:30"),
        (7199, "1 hour", "1 hour ago", "1:59:59"),
        (7200, "2 hours", "2 hours ago", "2:00:00"),
        (86400 * 1234, "1,234 days", "1,234 days ago", "29616:00:00"),
    ],
)
def test_durations(seconds: float, duration: str, ago: str, clock: str) -> None:
    """A duration has its largest whole unit, or every unit as a clock shows it."""
    assert (duration_text(seconds), ago_text(seconds), clock_text(seconds)) == (
        duration,
        ago,
        clock,
    )


def test_a_time_names_its_zone() -> None:
    """Whoever reads it elsewhere can convert it."""
    assert time_text(datetime(2026, 11, 22, 7, 5, 9, tzinfo=UTC)) == "2026-11-22 07:05:09 UTC"


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


def test_a_long_text_is_cut() -> None:
    """The cut is seen."""
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 7 + "..."
