"""Read Markdown: its paragraphs, lists, samples, tables and generated blocks, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOX = "┌"
_GENERATED = re.compile(r"<!-- generated: (.*), by .*-->")
_END = re.compile(r"<!-- end of .* -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document."""

    kind: str
    """`text`, `list`, `code`, `table`, `heading` or `generated`."""
    lines: tuple[str, ...]
    """One paragraph; the points; the lines; the rows, each as in the text; the heading; the name of the block."""


def section_of(text: str, heading: str) -> str:
    """Return the text below a heading of the second level, as far as the next one.

    Raises:
        KeyError: there is no such heading.
    """
    _, found, rest = text.partition(f"\n## {heading}\n")
    if not found:
        raise KeyError(f"no section is called {heading}")
    return rest.partition("\n## ")[0]


def below_title(text: str) -> str:
    """Return what is below the first line of a document."""
    return text.partition("\n")[2]


def cells_of(row: str) -> tuple[str, ...]:
    r"""Split a row of a table; `\|` is no border."""
    inner = row.strip().removeprefix("|").removesuffix("|")
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inner))


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a text; of a generated one only its name, since its source says more."""
    generated = False
    for block in _blocks(text):
        line = block.lines[0] if block.lines else ""
        if match := _GENERATED.fullmatch(line):
            generated = True
            yield Block("generated", (match[1],))
        elif _END.fullmatch(line):
            generated = False
        elif not generated:
            yield block


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
    if match := re.match("##+ ", piece):
        return Block("heading", (piece[match.end() :],))
    if re.match(r"- |\d+\. ", piece):
        points = re.split(r"^(?:- |\d+\. )", piece, flags=re.MULTILINE)[1:]
        return Block("list", tuple(" ".join(point.split()) for point in points))
    return Block("text", (" ".join(piece.split()),))
