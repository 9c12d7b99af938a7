"""The table of the rules that can withhold a delete, at the top of `plan/plan.py`, is about this code and complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from s32s_agent import plan as plan_package

PACKAGE = Path(plan_package.__file__).parents[1]
PLAN = PACKAGE / "plan" / "plan.py"
ROW = re.compile(
    r"^\| (?P<rule>.+?) \| (?P<lifted>.*?) ?\| (?P<file>\S+\.py): (?P<name>\S+) \|$"
)


def table() -> list[re.Match[str]]:
    """Return the rows of all its parts."""
    about = ast.get_docstring(ast.parse(PLAN.read_text(encoding="utf-8"))) or ""
    lines = [line for line in about.splitlines() if line.startswith("| ")]
    return [row for line in lines if (row := ROW.match(line))]


def definitions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield every class and function with its qualified name, outermost first."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield f"{outer}{node.name}", node
            yield from definitions(node, f"{outer}{node.name}.")


def files() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of the package, by its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(PACKAGE).as_posix(), tree


def test_every_row_of_the_table_is_read() -> None:
    """A row in another form would be checked by nothing."""
    about = ast.get_docstring(ast.parse(PLAN.read_text(encoding="utf-8"))) or ""
    rows = [line for line in about.splitlines() if line.startswith("| ")]
    headings = [line for line in rows if line == "| rule | lifted by | applied in |"]

    assert len(headings) == 4
    assert len(table()) == len(rows) - len(headings)
    assert len(table()) > 30


@pytest.mark.parametrize("row", table(), ids=lambda row: row["rule"].replace(" ", "_"))
def test_the_place_that_the_table_names_exists(row: re.Match[str]) -> None:
    """Whoever asks why a file was kept finds the function."""
    file = PACKAGE / row["file"]

    assert file.is_file()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert row["name"] in {name for name, _ in definitions(tree)}


def raising(tree: ast.AST) -> Iterator[str]:
    """Yield what in a tree withholds deletes: the guards' values and errors, and fatal problems."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in {"Withheld", "DeletesRefused", "ListingInconsistent", "OutOfOrder"}:
            yield name
        if any(each.arg == "fatal" for each in node.keywords):
            yield "fatal"


def test_no_file_withholds_deletes_without_a_row() -> None:
    """A rule that is added elsewhere needs its row; a report that counts what was withheld is none."""
    listed = {row["file"] for row in table()}
    withholding = {file for file, tree in files() if set(raising(tree))}

    assert withholding - listed == {"run/report.py"}
    assert {"plan/plan.py", "run/execute.py", "stores/local/walk.py"} <= withholding


def test_allow_deletes_is_turned_into_guards_in_one_place() -> None:
    """What it lifts cannot differ from one guard to the next."""
    readers = {
        file
        for file, tree in files()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "allow_deletes"
    }
    lifting = [
        f"{file}: {name}"
        for file, tree in files()
        for name, node in definitions(tree)
        if isinstance(node, ast.FunctionDef)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "lifted"
    ]

    # The first two hand it on.
    assert readers == {"arguments.py", "commands/once.py", "run/mapping_run.py"}
    assert lifting == ["run/mapping_run.py: MappingRun._guards"]
