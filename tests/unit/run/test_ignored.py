"""How far `--check` counts what the patterns of `ignore` cover."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from s32s_agent.model import Entry, Problem
from s32s_agent.run import ignored
from s32s_agent.stores.base import Learned, Scan


def scan_of(count: int) -> Scan:
    def found() -> Generator[Entry | Problem, None, Learned]:
        for number in range(count):
            yield Entry(f"d/{number:03}")
            yield Problem(f"d/{number:03}x", "unreadable")
        return Learned()

    return Scan(found())


@pytest.mark.parametrize(("count", "whole"), [(0, True), (9, True), (10, True), (11, False)])
def test_a_huge_bucket_does_not_hold_up_the_check(
    monkeypatch: pytest.MonkeyPatch, count: int, *, whole: bool
) -> None:
    """It counts a limited number of entries, and says so where there are more."""
    monkeypatch.setattr(ignored, "MAX_ENTRIES", 10)

    counted = ignored._count(["d/", "*5"], scan_of(count))

    entries = min(count, 10)
    assert counted == ignored.Listed((entries, int(count > 5)), entries, is_whole=whole)


def test_many_patterns_do_not_hold_up_the_check() -> None:
    """The more patterns there are, the fewer entries are compared with them."""
    counted = ignored._count([f"{number}" for number in range(1_000_000)], scan_of(20))

    assert (counted.entries, counted.is_whole) == (10, False)
