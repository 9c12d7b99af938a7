"""What the README tells people to type, so that tests type the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {each.name: each.read_text(encoding="utf-8") for each in (ROOT / "docs").glob("*.md")}
"""What the README links to for more, by the name of the file."""


def section_of(heading: str, level: int = 2, text: str = README) -> str:
    """Give the text below a heading, as far as the next one that is not below it."""
    below = text.partition(f"\n{'#' * level} {heading}\n")[2]
    return re.split(rf"^#{{2,{level}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(heading: str, text: str = README) -> list[str]:
    """Give the commands below a heading, a text for each block."""
    section = section_of(heading, text=text)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def table(heading: str, level: int = 2) -> dict[str, str]:
    """Give the rows of the first table below a heading, by the text of their first cell."""
    section = section_of(heading, level)
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {cells[0].strip("` "): " | ".join(cells[1:]) for cells in rows[2:]}
