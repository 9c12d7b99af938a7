"""The README stays short, and its commands, tables and samples are those that exist."""

from __future__ import annotations

import re
import tomllib

import pytest
from support.pages import PAGES, README, ROOT, blocks, section_of, table

from s32s_agent.arguments import make_parser

TEXT = PAGES[README]
MOST_LINES = 300
MOST_BULLETS = 10
DEMO = "python3 -m venv .venv && .venv/bin/pip install -e '.[demo]' && .venv/bin/python -m s32s_agent.demo"
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"


def test_it_is_short() -> None:
    """Its length, and that of its two lists, have a limit."""
    assert len(TEXT.splitlines()) <= MOST_LINES
    for heading in ("Guarantees", "Limits"):
        assert section_of(README, heading).count("\n- ") <= MOST_BULLETS


@pytest.mark.parametrize("command", [DEMO, TESTS])
def test_a_fresh_machine_needs_one_command(command: str) -> None:
    """Each of the two commands stands alone in a block of its own."""
    assert f"{command}\n" in blocks(section_of(README, "Try it"))


def test_ci_runs_the_command_of_the_readme() -> None:
    """The pattern by which CI looks for the test command finds it."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m1 -o '(.*)' README\.md", script)

    assert pattern is not None
    assert re.findall(pattern[1], TEXT) == [TESTS]


def test_its_usage_is_that_of_the_reference() -> None:
    """Both show the same usage, and the table has the modes, which all but version and help are."""
    shown, full = (
        re.findall(r"^    .*$", text, re.MULTILINE)
        for text in (section_of(README, "Command line"), PAGES["docs/reference/cli.md"])
    )
    (modes,) = (
        group._group_actions
        for group in make_parser()._mutually_exclusive_groups
        if group.required
    )
    names = {action.option_strings[-1] for action in modes} - {"--version", "--help"}

    assert shown == full
    assert set(table(section_of(README, "Command line"))) == names


def test_every_document_is_in_its_index() -> None:
    """The last section links to each page of docs, and nothing else is in docs."""
    index = section_of(README, "Documentation")
    pages = {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md"}

    assert set(re.findall(r"\]\((docs/[^)]*)\)", index)) == pages


def test_packages_have_what_the_text_links_to() -> None:
    """Who reads the README in the Debian package or in an sdist finds the other documents beside it."""
    documents = {"CHANGELOG.md", "SECURITY.md", "docs"}
    debian = ROOT / "etc" / "debian"
    installed = (debian / "install").read_text(encoding="utf-8").splitlines()[-1].split()
    (copied,) = re.findall(
        r"^for name in (.*); do$", (debian / "build").read_text(encoding="utf-8"), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sdist = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert documents <= set(installed)
    assert documents <= set(copied.split())
    assert {*documents, "mkdocs.yml", "tests", ".ci"} <= set(sdist)
