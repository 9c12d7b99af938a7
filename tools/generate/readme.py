"""Read the documents: their sections, tables, paragraphs, lists and samples, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a section."""

    kind: str
    """`text`, `list`, `code`, `table` or `heading`."""
    lines: tuple[str, ...]
    """One paragraph; the points; the lines; the rows, each as in the text; the heading."""


@dataclass(frozen=True, slots=True)
class Readme:
    """The text of the README, and below it, each as a section, of the pages that follow it in the manual."""

    text: str

    def section(self, heading: str) -> list[Block]:
        """Give the blocks below a heading of the second level.

        Raises:
            KeyError: there is no such heading.
        """
        _, found, rest = self.text.partition(f"\n## {heading}\n")
        if not found:
            raise KeyError(f"documents: no section is called {heading}")
        return list(_blocks(rest.partition("\n## ")[0]))

    def rows(self, heading: str) -> dict[str, tuple[str, ...]]:
        """Give the first table below a heading, by the text of the first cell."""
        table = next(block for block in self.section(heading) if block.kind == "table")
        return {cells[0].strip("`"): cells[1:] for cells in map(cells_of, table.lines)}


_BOX = "┌"
_PAGES = {
    "Command line": "docs/reference/cli.md",
    "Exit status": "docs/reference/exit-status.md",
    "Log events": "docs/reference/log-events.md",
    "Configuration": "docs/use/configuration.md",
    "Map files": "docs/use/maps.md",
    "Hooks": "docs/use/hooks.md",
    "Recipes": "docs/use/recipes.md",
}
_SECTIONS = {"Trash": "docs/understand/how-it-works.md"}


def read(root: Path) -> Readme:
    """Read what the manual pages and the schemas are made of.

    Args:
        root: the top of the source.
    """
    text = (root / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    for heading, name in _PAGES.items():
        page = (root / name).read_text(encoding="utf-8").partition("\n")[2]
        text += f"\n## {heading}\n{re.sub('^## ', '### ', page, flags=re.MULTILINE)}"
    for heading, name in _SECTIONS.items():
        _, begin, below = (
            (root / name).read_text(encoding="utf-8").partition(f"\n## {heading}\n")
        )
        text += begin + below.partition("\n## ")[0]
    return Readme(text)


def cells_of(row: str) -> tuple[str, ...]:
    r"""Split a row of a table; `\|` is no border."""
    inner = row.strip().removeprefix("|").removesuffix("|")
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inner))


def _blocks(text: str) -> Iterator[Block]:
    fenced = re.split(r"^```.*$", text, flags=re.MULTILINE)
    for number, part in enumerate(fenced):
        if number % 2 and _BOX in part:
            continue  # a drawing: too wide for a manual page, and not for every terminal
        if number % 2:
            yield Block("code", tuple(part.strip("\n").splitlines()))
            continue
        for piece in re.split(r"\n\s*\n", part):
            if piece.strip():
                yield _block(piece.strip("\n"))


def _block(piece: str) -> Block:
    lines = piece.splitlines()
    if piece.startswith("    "):
        return Block("code", tuple(line[4:] for line in lines))
    if piece.startswith("|"):
        return Block("table", tuple(lines[2:]))
    if piece.startswith("### "):
        return Block("heading", (piece[4:],))
    if re.match(r"- |\d+\. ", piece):
        points = re.split(r"^(?:- |\d+\. )", piece, flags=re.MULTILINE)[1:]
        return Block("list", tuple(" ".join(point.split()) for point in points))
    return Block("text", (" ".join(piece.split()),))
