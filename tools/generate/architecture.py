"""Fill the generated blocks of the architecture page from the code itself: rooms, rules for deletes, glossary."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools.documents import filled

PAGE = "docs/contribute/architecture.md"
PACKAGE = "s32s_agent"
_NAME_WIDTH = 16


def of_the_page(root: Path, text: str) -> str:
    """Return the page with new content in its blocks.

    Args:
        root: the top of the source.
        text: the page as it is.
    """
    blocks = {
        "rooms": _rooms(root),
        "deletes": _about(root / PACKAGE / "plan" / "plan.py"),
        "glossary": _about(root / PACKAGE / "model.py"),
    }
    for name, content in blocks.items():
        text = filled(text, name, content)
    return text


def _rooms(root: Path) -> str:
    """Return a drawing of the floors, from the contract that import-linter checks."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (floors,) = (each["layers"] for each in contracts if each["type"] == "layers")
    lines = [line for floor in floors for line in _floor(root, floor)]
    rows = [f"{'v' if line is lines[-1] else '│'}  {line}" for line in lines]
    return "\n".join(["```text", *rows, "```"])


def _floor(root: Path, floor: str) -> Iterator[str]:
    """Yield a line for each room of a floor; those after the first are indented, being beside it."""
    for number, name in enumerate(re.split(r"\s*:\s*", floor)):
        room = root / PACKAGE / name
        file = room / "__init__.py" if room.is_dir() else room.with_suffix(".py")
        about = re.split(r"\.(?:\s|$)|;", _docstring(file))[0].replace("`", "")
        label = name + ("/" if room.is_dir() else ".py")
        yield f"{'  ' * bool(number)}{label:{_NAME_WIDTH - 2 * bool(number)}}{about}"


def _docstring(file: Path) -> str:
    """Return the docstring of a module.

    Raises:
        ValueError: it has none.
    """
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if text is None:
        raise ValueError(f"{file}: expected a docstring")
    return text


def _about(file: Path) -> str:
    """Return the docstring of a module as Markdown: what is indented in it is shown as it stands."""
    parts = []
    for part in re.split(r"\n{2,}(?=\S)|\n{2,}(?=    \S)", _docstring(file)):
        if part.startswith("    "):
            lines = [line[4:] for line in part.rstrip().splitlines()]
            parts.append("\n".join(["```text", *lines, "```"]))
        else:
            parts.append(part)
    return "\n\n".join(parts)
