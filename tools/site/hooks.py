"""Hooks of mkdocs.yml: check links that leave docs/, and make the search work from the file system.

mkdocs knows only what is below docs/, and a strict build refuses every other link. The site lies at the top of the
source, so the relative paths of the documents lead to the same files from there.

The search of mkdocs starts a worker and has it fetch the index. Browsers permit neither for file:// pages, so the index
becomes a script, and `search.js` takes the place of the script that starts the worker.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

SEARCH = Path(__file__).with_name("search.js")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)\s#]*)(#[^)]*)?\)")
_logger = logging.getLogger("mkdocs.hooks.site")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the text of a page with each link that leaves docs/ as HTML, which mkdocs does not judge.

    Warns of each that leads nowhere, which ends a strict build.
    """
    documents = Path(config.docs_dir)
    here = (documents / page.file.src_path).parent

    def leaving(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        path = Path(os.path.normpath(here / target))
        if path.is_relative_to(documents):
            return match[0]
        if not path.exists():
            _logger.warning('%s: "%s" does not exist', page.file.src_path, target)
        if image:
            return f'<img src="{target}" alt="{text}">'
        return f'<a href="{target}{anchor}">{text}</a>'

    return _LINK.sub(leaving, markdown)


def on_post_build(*, config: Any, **_: Any) -> None:
    """Write the index of the search as a script, and the script that searches it."""
    directory = Path(config.site_dir) / "search"
    index = (directory / "search_index.json").read_text(encoding="utf-8")
    (directory / "search_index.js").write_text(
        f"var searchIndex = {index};\n", encoding="utf-8"
    )
    shutil.copyfile(SEARCH, directory / "main.js")
