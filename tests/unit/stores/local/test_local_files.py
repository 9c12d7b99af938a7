"""Large files that many threads write."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.stores.local import files
from s32s_agent.stores.local.files import OpenFile


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_large_file_is_written_to_the_disk_before_its_end(
    root: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    """In whatever order the ranges are received; and only where a sync will wait for it."""
    begun: list[range] = []
    monkeypatch.setattr(
        files,
        "start_writeback",
        lambda _, position, size: begun.append(range(position, position + size)),
    )
    length = 8 << 20
    for to_disk in (True, False):
        with (root / f"{to_disk}").open("wb") as file:
            opened = OpenFile(file.fileno(), to_disk=to_disk)
            for number in order:
                for offset in range(0, length, 1 << 20):
                    opened.write(bytes(1 << 20), number * length + offset)

        assert {each // length for one in begun for each in (one.start, one.stop - 1)} == (
            {0, 1, 2} if to_disk else set()
        )
        begun.clear()
