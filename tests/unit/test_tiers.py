"""Each test file belongs to one tier, so that no command runs it twice and none leaves it out."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from conftest import TIERS
from support.pages import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.glob("**/test_*.py"))
ALLOWED = {
    "unit": {""},
    "contract": {""},
    "property": {""},
    "integration": {"", "integration", "machine"},
    "hostile": {"hostile", "machine"},
    "trust": {"hostile"},
    "stores": {"stores"},
    "systemd": {"machine"},
}
"""The tiers that a file of each directory may have; "" is the fast one."""


def tier_marks(tree: ast.AST) -> list[str]:
    """Return the names of the tier marks in the code, in their order."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "pytest.mark"
        and node.attr in TIERS
    ]


def module_marks(tree: ast.Module) -> list[str]:
    """Return the names of the tier marks that hold for the whole module."""
    return [
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for mark in tier_marks(node.value)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_each_file_belongs_to_one_tier(path: Path) -> None:
    """Its mark is one for the whole file, and one that its directory allows."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    marks = module_marks(tree)

    assert tier_marks(tree) == marks
    assert len(marks) <= 1
    assert (marks or [""])[0] in ALLOWED[path.relative_to(TESTS).parts[0]]


def test_every_tier_is_a_known_mark_and_has_tests() -> None:
    """A tier that is renamed in one place only would run nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = {
        line.partition(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]
    }
    used = {mark for path in FILES for mark in tier_marks(ast.parse(path.read_text()))}

    assert known == {*TIERS, "slow"}
    assert used == set(TIERS)


def test_ci_runs_every_tier() -> None:
    """CI names each tier; the fast one is the README's command."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert [each for each in TIERS if f"-m {each}" not in script] == []
