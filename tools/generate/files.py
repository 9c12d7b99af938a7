"""All generated files, by their names. Writes none of them."""

from __future__ import annotations

import json
from pathlib import Path

from tools.generate import completions, manual, sample, schema
from tools.generate.readme import read


def made(root: Path) -> dict[str, str]:
    """Make the text of every generated file.

    Args:
        root: the top of the source, for the documents.
    """
    readme = read(root)
    shells = {"bash": "s32s-agent.bash", "zsh": "_s32s-agent", "fish": "s32s-agent.fish"}
    files = {
        f"etc/completions/{name}": completions.script(shell) for shell, name in shells.items()
    }
    files["etc/man/s32s-agent.8"] = manual.of_the_command(readme)
    files["etc/man/s32s-agent.yaml.5"] = manual.of_the_config(readme)
    files["etc/config.yaml"] = sample.of_the_config()
    for name, document in (
        ("config", schema.of_the_config()),
        ("map", schema.of_a_map()),
    ):
        text = json.dumps(document, indent=2, ensure_ascii=False)
        files[f"etc/schema/{name}.schema.json"] = f"{text}\n"
    return files
