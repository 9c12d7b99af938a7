"""What the full-length proof reads from its parts: a part that broke off must never look like one without losses."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import PAGES

from tools.documents import filled
from tools.proof import (
    BLOCK,
    PAGE,
    RESULTS,
    Kept,
    Proof,
    Result,
    of_cuts,
    of_points,
    of_soak,
    of_tests,
    proofs,
    read,
    table,
    try_out,
    write,
)

POINTS = """1117 of 1300 points

first | SIGKILL | 190 | 190 | 1 | 0: 190
all | | 1117 | {met} | 1 |
"""
CUTS = """scenario | disk | a foreign sync | cuts | states | with problems
--- | --- | --- | --- | --- | ---
first | ext4 | False | 120 | 60 | 0
first | ext4 noauto_da_alloc | True | 130 | 70 | 2
"""
SOAK = """seed:                   1
minutes:                15.0
runs:                   812 (status 0: 700, status 75: 112)
killed by SIGKILL:      140
steps of the clock:     33
losses:                 0
"""


def junit(directory: Path, attributes: str) -> Path:
    file = directory / "junit.xml"
    file.write_text(
        f'<testsuites><testsuite {attributes}><testcase><properties><property name="races" value="40"/>'
        "</properties></testcase></testsuite></testsuites>"
    )
    return file


def test_the_table_of_every_part_is_read(tmp_path: Path) -> None:
    """Counts and losses are those that were printed."""
    file = junit(tmp_path, 'tests="9" skipped="2" failures="1" errors="1"')

    assert of_tests("", file) == Result("7 cases, 2 not tried here, 40 races", 2)
    assert of_points(POINTS.format(met=1100), file) == Result(
        "1,117 of 1,300 calls, 1,100 reached", 1
    )
    assert of_cuts(CUTS, file) == Result("250 cuts, 130 states of the disk", 2)
    assert of_soak(SOAK, file) == Result(
        "15.0 minutes, 812 runs, 140 killed, 33 clock steps", 0
    )


@pytest.mark.parametrize(
    "result",
    [
        of_points("", Path()),
        of_points(POINTS.format(met=900), Path()),
        of_cuts("mkfs.xfs: not found", Path()),
        of_soak("Traceback", Path()),
    ],
)
def test_a_part_without_a_result_is_no_part_without_losses(result: Result) -> None:
    """Nothing printed, or points that were not met, is told as such."""
    assert result.lost is None


def test_a_part_in_which_everything_was_skipped_is_no_part_without_losses(
    tmp_path: Path,
) -> None:
    """Without root nothing is tried."""
    file = junit(tmp_path, 'tests="9" skipped="9" failures="0" errors="0"')

    assert of_tests("", file).lost is None


def test_a_part_that_breaks_off_is_no_part_without_losses(tmp_path: Path) -> None:
    """It printed that nothing was lost, and then ended with another status than 0."""
    statement = f"print({CUTS.replace('| 2', '| 0')!r}); raise SystemExit(1)"
    proof = Proof("breaks", ["timeit", "-n", "1", "-r", "1", statement], of_cuts)

    result = try_out(proof, tmp_path)

    assert result == Result("250 cuts, 130 states of the disk", None)
    assert "| breaks | 250 cuts, 130 states of the disk | could not be tried |" in table(
        {"breaks": result}, "2026-01-02"
    )


def test_a_run_that_was_interrupted_goes_on_with_what_did_not_come_to_its_end(
    tmp_path: Path,
) -> None:
    """By command: another number of minutes, or of calls, is another thing to try."""
    whole, broken = (
        Proof("whole", ["a", "--minutes", "1"], of_soak),
        Proof("b", ["b"], of_soak),
    )
    kept = Kept(tmp_path / "results")
    kept.keep(whole, Result("1 minute", 0))
    kept.keep(broken, Result("", None))

    again = Kept(tmp_path / "results")

    assert again.of(whole) == Result("1 minute", 0)
    assert again.of(broken) is None
    assert again.of(Proof("whole", ["a", "--minutes", "2"], of_soak)) is None
    assert Kept(None).of(whole) is None


def test_the_page_shows_the_results_that_were_written(tmp_path: Path) -> None:
    """What stands between its marks is the table of the committed results; writing them again changes nothing."""
    results, date = read(RESULTS)
    write(tmp_path / "again.json", results, date)

    assert filled(PAGES[PAGE], BLOCK, table(results, date)) == PAGES[PAGE]
    assert read(tmp_path / "again.json") == (results, date)


def test_no_hostile_test_is_left_out_of_the_table() -> None:
    """Each belongs to a class, but those two that try a few calls of what is tried at every call."""
    tests = Path(__file__).parents[2]
    tried = {word for proof in proofs(1, 1, None) for word in proof.command}
    hostile = {
        f"tests/hostile/{path.name}" for path in (tests / "hostile").glob("test_*.py")
    } - {"tests/hostile/test_crashes.py", "tests/hostile/test_powercuts.py"}

    assert hostile - tried == set()
    assert [each for each in tried if "/" in each and not (tests.parent / each).exists()] == []
