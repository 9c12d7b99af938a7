"""Each finding has the form that `findings/README.md` asks for; whether it still holds is not asked here."""

from __future__ import annotations

import os
import re
import stat
from itertools import takewhile
from pathlib import Path

import pytest
from support.pages import ROOT

FINDINGS = ROOT / "findings"
SCRIPTS = sorted(each for each in FINDINGS.glob("*.sh") if each.name != "support.sh")
HEADER_LINES = 10
PARTS = ("One would guess: ", "What happens: ", "Why it matters: ", "Versions: ")


def header_of(script: Path) -> list[str]:
    """Return the comment lines below the first line, without their marks."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    return [line[2:] for line in takewhile(lambda line: line.startswith("# "), lines)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.stem)
def test_a_finding_says_what_it_is_about(script: Path) -> None:
    """Its header has the four parts in their order, versions with numbers, and a date."""
    header = header_of(script)
    begun = [part for line in header for part in PARTS if line.startswith(part)]
    *_, versions = "\n".join(header).partition("Versions: ")

    assert len(header) <= HEADER_LINES
    assert begun == list(PARTS)
    assert re.search(r"\d+\.\d+", versions)
    assert re.search(r"Seen 20\d\d-\d\d-\d\d\.", versions)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.stem)
def test_a_finding_can_be_run_and_pins_what_it_installs(script: Path) -> None:
    """It is executable, and another release of a package cannot slip in."""
    text = script.read_text(encoding="utf-8")
    installed = re.findall(r"^install (.+)$", text, re.MULTILINE)

    assert script.stat().st_mode & stat.S_IXUSR
    assert text.startswith("#!/usr/bin/env bash\n")
    assert text.endswith("conclude\n")
    assert installed
    assert [each for line in installed for each in line.split() if "==" not in each] == []


def test_there_is_one_command_for_all_of_them() -> None:
    """`findings/run` takes what is executable and ends in `.sh`; nothing else is there."""
    found = {each.name for each in FINDINGS.iterdir() if each.is_file()}

    assert os.access(FINDINGS / "run", os.X_OK)
    assert not os.access(FINDINGS / "support.sh", os.X_OK)
    assert found == {
        "README.md", "answers.py", "run", "store.py", "support.sh",
        *(each.name for each in SCRIPTS),
    }  # fmt: skip
