"""Read the README: its sections, tables, paragraphs, lists and samples, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a section."""

    kind: str
    """`text`, `list`, `code`, `table` or `heading`."""
    lines: tuple[str, ...]
    """One paragraph; the points; the lines; the rows, each as in the text; the heading."""


@dataclass(frozen=True, slots=True)
class Readme:
    """The text of the README."""

    text: str

    def section(self, heading: str) -> list[Block]:
        """Give the blocks below a heading of the second level.

        Raises:
            KeyError: there is no such heading.
        """
        _, found, rest = self.text.partition(f"\n## {heading}\n")
        if not found:
            raise KeyError(f"README: no section is called {heading}")
        return list(_blocks(rest.partition("\n## ")[0]))

    def rows(self, heading: str) -> dict[str, tuple[str, ...]]:
        """Give the first table below a heading, by the text of the first cell."""
        table = next(block for block in self.section(heading) if block.kind == "table")
        return {cells[0].strip("`"): cells[1:] for cells in map(cells_of, table.lines)}


def cells_of(row: str) -> tuple[str, ...]:
    r"""Split a row of a table; `\|` is no border."""
    inner = row.strip().removeprefix("|").removesuffix("|")
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inner))


def _blocks(text: str) -> Iterator[Block]:
    # A drawing is for those who see it drawn.
    shown = re.sub(r"^```mermaid\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    fenced = re.split(r"^```.*$", shown, flags=re.MULTILINE)
    for number, part in enumerate(fenced):
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
