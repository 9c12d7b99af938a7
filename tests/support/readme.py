"""What the README tells people to type, so that tests type the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section_of(heading: str, level: int = 2) -> str:
    """Give the text below a heading."""
    return README.partition(f"\n{'#' * level} {heading}\n")[2].partition("\n## ")[0]


def blocks(heading: str) -> list[str]:
    """Give the commands below a heading, a text for each block."""
    return re.findall(r"^```sh\n(.*?)^```$", section_of(heading), re.MULTILINE | re.DOTALL)


def table(heading: str, level: int = 2) -> dict[str, str]:
    """Give the rows of the first table below a heading, by the text of their first cell."""
    section = section_of(heading, level)
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {cells[0].strip("` "): " | ".join(cells[1:]) for cells in rows[2:]}
