"""Generated blocks in hand-written documents: what stands between two marks was written by a command.

<!-- generated: NAME, by `COMMAND` -->

content

<!-- end of NAME -->
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

WIDTH = 120
"""Of the lines of prose."""


def wrapped(text: str) -> str:
    """Return a paragraph in lines of the documents' width; names and links stay whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def filled(text: str, name: str, content: str) -> str:
    """Return the text of a document with new content between the marks of a block.

    Raises:
        ValueError: the document does not have the two marks, or has them twice.
    """
    begin = re.findall(rf"^<!-- generated: {re.escape(name)}, by .*-->$", text, re.MULTILINE)
    end = f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin[0] if begin else end)
    _, found, after = rest.partition(end)
    if len(begin) != 1 or not found or end in after:
        raise ValueError(
            f'expected once each: "<!-- generated: {name}, by ... -->" and, below it, "{end}"'
        )
    return f"{before}{begin[0]}\n\n{content}\n\n{end}{after}"


def fill(root: Path, page: str, blocks: Mapping[str, str]) -> None:
    """Write new content into the blocks of one document.

    Args:
        root: the top of the source.
        page: the path of the document below it.
        blocks: the content of each block, by its name.

    Raises:
        ValueError: the document does not have one of the blocks.
    """
    path = root / page
    text = path.read_text(encoding="utf-8")
    for name, content in blocks.items():
        try:
            text = filled(text, name, content)
        except ValueError as error:
            raise ValueError(f"{page}: {error}") from None
    path.write_text(text, encoding="utf-8")
