"""Every link in every document leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(text: str) -> set[str]:
    """Return where links to the headings of a text lead."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    kept = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Links to files, also to those outside docs, and to headings of documents."""
    here = (ROOT / page).parent
    lost = []
    for target, anchor in LINK.findall(PAGES[page]):
        if "://" in target:
            continue
        path = (here / target).resolve() if target else ROOT / page
        text = PAGES.get(str(path.relative_to(ROOT)), "")
        if not path.exists() or (anchor and anchor not in anchors(text)):
            lost.append(f"{target}#{anchor}")

    assert lost == []


def test_other_files_name_documents_that_exist() -> None:
    """What code, units and samples say about a document leads to it."""
    named = re.compile(r"\bdocs/[\w/-]+\.md\b")
    tops = ("s32s_agent", "etc", "systemd", "tools", "tests", ".ci")
    files = [each for top in tops for each in (ROOT / top).rglob("*") if each.is_file()]
    texts = {
        each: each.read_bytes().decode(errors="replace") for each in files if is_text(each)
    }
    lost = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, text in texts.items()
        for name in named.findall(text)
        if name not in PAGES
    }

    assert lost == set()


def is_text(path: Path) -> bool:
    return path.suffix in {
        "",
        ".py",
        ".yaml",
        ".service",
        ".timer",
        ".path",
        ".8",
        ".5",
        ".json",
    }
