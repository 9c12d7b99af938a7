"""What other tools did: the documents show the committed findings, and those are of every case that there is."""

from __future__ import annotations

from pathlib import Path

from support import other_tools
from support.hostile_cases import CASES
from support.other_tools import Finding
from support.pages import PAGES

from tools.documents import filled
from tools.peers import KINDS, NAMES, RESULTS, blocks, classes, read, sentence, write

FINDINGS = [
    Finding("s32s-agent", "empty", "listing", "fine", 3),
    Finding("aws", "empty", "listing", "lost files", 0),
    Finding("rclone", "empty", "listing", "hung", None),
    Finding("s32s-agent", "cut | short", "listing", "fine", 69),
    Finding("aws", "cut | short", "listing", "lost files", 0, "detail"),
    Finding("rclone", "cut | short", "listing", "exit 0", 0),
]


def test_the_documents_show_the_findings_that_were_written() -> None:
    """What stands between the marks is made of the committed findings."""
    for page, contents in blocks(RESULTS).items():
        for name, content in contents.items():
            assert filled(PAGES[page], name, content) == PAGES[page]


def test_every_tool_was_tried_in_every_case_that_there_is() -> None:
    """A case that is new, or gone, makes the findings old."""
    found = {(each.tool, each.case, each.kind) for each in read(RESULTS)[0]}
    wanted = {
        (tool, case.name, case.kind)
        for case in CASES
        if case.for_any_tool
        for tool in other_tools.TOOLS
    }

    assert found == wanted
    assert set(NAMES) == set(other_tools.TOOLS)
    assert set(KINDS) == {case.kind for case in CASES if case.for_any_tool}


def test_findings_are_counted_by_the_worst() -> None:
    """One row a class, one column a tool; only harm counts in the sentence."""
    row = classes(FINDINGS).splitlines()[2]

    assert row.endswith("| 2 | correct | deleted good files: 2 | hung: 1, silent: 1 |")
    assert "2 cases" in sentence(FINDINGS)
    assert "s32s-agent deleted or damaged good files in none, `aws s3 sync` in 2" in " ".join(
        sentence(FINDINGS).split()
    )


def test_no_directory_of_this_computer_is_written(tmp_path: Path) -> None:
    """Findings come back as they were, without their details."""
    write(tmp_path / "peers.json", FINDINGS, {"aws": "aws-cli/1"}, "2026-01-02")

    findings, made = read(tmp_path / "peers.json")

    assert [(each.case, each.verdict, each.exit_code) for each in findings] == [
        (each.case, each.verdict, each.exit_code) for each in FINDINGS
    ]
    assert {each.detail for each in findings} == {""}
    assert made == {"versions": {"aws": "aws-cli/1"}, "date": "2026-01-02"}
