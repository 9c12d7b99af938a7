"""How an object is cut into parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.stores.s3.multipart import MAX_PARTS, PART_BYTES, part_size_for

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (PART_BYTES + 1, 8 * MIB),
        (80_000 * MIB, 8 * MIB),
        (80_000 * MIB + 1, 9 * MIB),
        (5 * 1024 * GIB, 525 * MIB),
    ],
)
def test_part_size(size: int, expected: int) -> None:
    """8 MiB as long as 10,000 of them are enough, then the next whole MiB."""

    assert part_size_for(size) == expected


@given(st.integers(PART_BYTES + 1, 5 * 1024 * GIB))
def test_parts_are_legal(size: int) -> None:
    """Never more than 10,000 parts, never one outside 5 MiB to 5 GiB."""
    part = part_size_for(size)

    assert -(-size // part) <= MAX_PARTS
    assert (part % MIB, 5 * MIB <= part <= 5 * GIB) == (0, True)
