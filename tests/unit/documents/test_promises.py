"""No promise of the documents stands without a test, and every test and bound that they name exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from support.hostile_cases import CASES as HOSTILE_CASES
from support.pages import PAGES, ROOT, SECURITY, section_of, table

from s32s_agent.config import documents, map_file
from s32s_agent.run import map_files
from s32s_agent.state import files as own_files
from s32s_agent.stores.s3 import client, listing

GUARANTEES = "docs/evidence/guarantees.md"


@pytest.mark.parametrize("page", [GUARANTEES, SECURITY])
def test_every_promise_has_its_tests(page: str) -> None:
    """Every link to tests leads to tests, and each test that is named after one is in that file."""
    named = r"\]\((?:\.\./)*(tests/[^)]*)\)(?:\s+\(((?:`test_\w+`[,\s]*)+)\))?"
    links = [
        (ROOT / path, re.findall(r"\w+", names))
        for path, names in re.findall(named, PAGES[page])
    ]
    empty = [path for path, _ in links if "def test_" not in source_of(path)]
    lost = [
        name
        for path, names in links
        for name in names
        if f"def {name}(" not in source_of(path)
    ]

    assert len(links) > 10
    assert (empty, lost) == ([], [])


def source_of(path: Path) -> str:
    """Return the text of a test file, or of all those in a directory."""
    files = path.glob("test_*.py") if path.is_dir() else [path]
    return "".join(each.read_text(encoding="utf-8") for each in files if each.exists())


def test_every_row_of_promises_is_held() -> None:
    """No promise of the table stands without a link to a test."""
    rows = table(section_of(GUARANTEES, "Promises and their tests"))

    assert len(rows) > 8
    assert [promise for promise, cell in rows.items() if "tests/" not in cell] == []


def test_the_bounds_that_security_names_are_those_of_the_code() -> None:
    """Each limit on the cost of an input stands in SECURITY.md with the value that the code has."""
    bounds = (
        f"{map_files.MAX_FILES} files, {map_files.MAX_BYTES >> 20} MiB and {map_file.MAX_MAPPINGS:,} mappings",
        f"{documents.MAX_YAML_SIZE >> 20} MiB, {documents.MAX_DEPTH} levels",
        f"| JSON | {documents.MAX_JSON_SIZE >> 20} MiB |",
        f"not an object | {client.MAX_ANSWER >> 20} MiB |",
        f"read whole | {own_files.MAX_SIZE >> 20} MiB;",
        f"{listing._MAX_DEPTH} levels, {listing._MAX_FIELDS} fields, {listing._MAX_TEXT >> 10} KiB a field",
    )

    assert [bound for bound in bounds if bound not in PAGES[SECURITY]] == []


def test_others_were_tried_in_every_case_that_there_is() -> None:
    """The table of what they did counts the cases of each class that the command beside it runs."""
    page = PAGES["docs/evidence/comparison.md"]
    rows = re.findall(r"^\| [^|]+ \| (\d+) \|", page, re.MULTILINE)
    cases = Counter(case.kind for case in HOSTILE_CASES if case.for_any_tool)

    assert [int(count) for count in rows] == list(cases.values())
