"""All generated files, by their names. Writes none of them."""

from __future__ import annotations

import json
from pathlib import Path

from s32s_agent.config.forms import Schema
from tools.generate import (
    architecture,
    completions,
    manual,
    pages,
    sample,
    schema,
    snapshot_schema,
)
from tools.generate.tables import Tables

SHELLS = {"bash": "s32s-agent.bash", "zsh": "_s32s-agent", "fish": "s32s-agent.fish"}


def made(root: Path, tables: Tables | None = None) -> dict[str, str]:
    """Return the text of every generated file, and of every document with a generated block.

    Args:
        root: the top of the source, for the documents.
        tables: the agent's own when left out.
    """
    tables = tables or Tables()
    documents = _documents(root)
    reference = pages.of_the_reference(documents, tables)
    reference[architecture.PAGE] = architecture.of_the_page(root, documents[architecture.PAGE])
    documents |= reference
    return {
        **reference,
        **{
            f"etc/completions/{name}": completions.script(shell, tables.parser)
            for shell, name in SHELLS.items()
        },
        "etc/config.yaml": sample.of_the_config(tables),
        "etc/man/s32s-agent.8": manual.of_the_command(documents, tables),
        "etc/man/s32s-agent.yaml.5": manual.of_the_config(documents, tables),
        "etc/schema/config.schema.json": _json(schema.of_the_config(tables)),
        "etc/schema/map.schema.json": _json(schema.of_a_map(tables)),
        "etc/schema/snapshots.schema.json": _json(snapshot_schema.of_snapshots()),
    }


def _documents(root: Path) -> dict[str, str]:
    paths = (root / "README.md", *(root / "docs").rglob("*.md"))
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths
    }


def _json(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
