"""The documents as tests read them: whole pages, sections, commands and tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README, SECURITY, CHANGELOG = "README.md", "SECURITY.md", "CHANGELOG.md"
_FILES = (
    *(ROOT / name for name in (README, SECURITY, CHANGELOG)),
    *(ROOT / "docs").rglob("*.md"),
)
PAGES = {
    str(each.relative_to(ROOT)): each.read_text(encoding="utf-8") for each in sorted(_FILES)
}
"""The text of each document, by its path from the top of the source."""


def section_of(page: str, heading: str) -> str:
    """Return the text below a heading of the second level, as far as the next one.

    Raises:
        ValueError: the page has no such heading.
    """
    _, found, below = PAGES[page].partition(f"\n## {heading}\n")
    if not found:
        raise ValueError(f'{page}: no section is called "{heading}"')
    return below.partition("\n## ")[0]


def blocks(text: str, language: str = "sh") -> list[str]:
    """Return the content of each fenced block in a text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def table(text: str) -> dict[str, str]:
    """Return the rows of the first table in a text, by the text of their first cell."""
    found = re.search(r"^\|.*(?:\n\|.*)*", text, re.MULTILINE)
    rows = found[0].splitlines()[2:] if found else []
    cells = [line.strip("| ").split(" | ") for line in rows]
    return {first.strip("` "): " | ".join(others) for first, *others in cells}
