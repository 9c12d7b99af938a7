"""What people read of the last run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.records import EARLIER, HOLDER, NOW, SKIPPED_AT, a_run, mapping

from s32s_agent.monitoring.last_run import LastRun, RunError, Skipped
from s32s_agent.monitoring.status_text import status_text

FAILED: dict[str, Any] = {"exit_code": 1, "cause": "partial"}


def render(**changes: Any) -> str:
    before = LastRun(last_success=EARLIER, consecutive_failures=2)
    return status_text(a_run(**changes).following(before), NOW)


def test_success_takes_few_lines() -> None:
    """When, how long ago, the result, the totals, and one line a mapping."""
    assert render() == (
        "last run:     2026-11-22 20:55:00 UTC (5 minutes ago), slave, took 12.3 s\n"
        "result:       in sync\n"
        "in all:       12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  web: in sync: 12 copied, 1,034 unchanged, 1,234,567 bytes\n"
    )


def test_failure_comes_with_what_to_do() -> None:
    """The cause, the history, the errors, and a remedy for each cause, once."""
    denied: dict[str, Any] = {"exit_code": 77, "cause": "noperm", "error": "denied"}
    text = render(
        **FAILED,
        mappings=(
            mapping(),
            mapping(name="a", **denied, copied=0, withheld=3),
            mapping(name="b", **denied, copied=0),
        ),
        errors=(
            RunError("web", "a.png", "got 1 byte", "look"),
            RunError("a", "", "denied"),
            RunError("", "", "stopped"),
        ),
    )

    assert text == (
        "last run:     2026-11-22 20:55:00 UTC (5 minutes ago), slave, took 12.3 s\n"
        "result:       partial (exit status 1), 3 failures in a row\n"
        "last success: 2026-11-21 20:55:00 UTC (1 day ago)\n"
        "in all:       12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  web: in sync: 12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  a: noperm (exit status 77): 1,034 unchanged, 3 withheld, 1,234,567 bytes: denied\n"
        "  b: noperm (exit status 77): 1,034 unchanged, 1,234,567 bytes: denied\n"
        "errors:\n"
        '  web: "a.png" got 1 byte\n'
        "    look\n"
        "  a: denied\n"
        "  stopped\n"
        "what to do:   check the credentials and the bucket policy (samples are in etc/iam)\n"
        "what to do:   the next run tries again; the log has the details\n"
    )


def test_the_first_errors_are_shown_and_the_others_counted() -> None:
    """A long list does not fill the screen."""
    text = render(**FAILED, errors=tuple(RunError("web", f"k{n}", "bad") for n in range(13)))

    assert '"k9"' in text
    assert '"k10"' not in text
    assert "  and 3 more in last_run.json\n" in text


def test_an_unknown_cause_has_no_remedy() -> None:
    """A cause from a newer version is shown as it is."""
    text = render(exit_code=99, cause="novel")

    assert "novel (exit status 99)" in text
    assert "what to do" not in text


def test_before_the_first_run_that_is_said() -> None:
    """Before the first run, that is said."""
    assert status_text(None, NOW) == "no run has ended yet\n"


@pytest.mark.parametrize(
    ("holder", "more"),
    [
        (HOLDER, "              pid 4711, run_id r0, started 2026-11-22T20:50:00+00:00\n"),
        ({}, ""),
    ],
)
def test_a_skipped_run_is_shown_with_the_holder_of_the_lock(
    holder: dict[str, object], more: str
) -> None:
    """When the lock was found held, and by whom where that is known."""
    assert status_text(LastRun(last_skipped=Skipped(SKIPPED_AT, holder)), NOW) == (
        "no run has ended yet\n"
        "last skipped: 2026-11-22 20:57:00 UTC (3 minutes ago), another run held the lock\n"
        + more
    )


def test_an_escape_sequence_in_the_status_never_reaches_the_terminal() -> None:
    """Every text is escaped, also in a document that another program wrote; what is no time is not known."""
    bad = "\x1b[2J\u202e"
    document = {
        "exit_code": 1,
        "only": [bad],
        **dict.fromkeys(("cause", "role", "finished", "seconds", "last_success"), bad),
        "mappings": [dict.fromkeys(("name", "cause", "error"), bad)],
        "errors": [dict.fromkeys(("mapping", "key", "error", "remedy"), bad)],
        "last_skipped": {"when": bad, "holder": {bad: bad}},
    }
    text = status_text(LastRun.from_json(document), NOW)

    assert text.replace("\n", "").isprintable()
    assert text.count(r"\x1b[2J\u202e") == 12


@pytest.mark.parametrize("value", [None, 1, "text", [], [1], {"a": 1}])
def test_a_document_of_another_shape_is_shown_as_far_as_possible(value: Any) -> None:
    """No value of any field breaks the rendering."""
    names = ("exit_code", "role", "finished", "seconds", "totals", "mappings", "errors")
    document = dict.fromkeys(
        (*names, "consecutive_failures", "last_success", "last_skipped"), value
    )

    assert status_text(LastRun.from_json(document), NOW).startswith("last run:")


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=-5), "in the future: is the clock right?"),
        (timedelta(0), "just now"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=2), "2 minutes ago"),
        (timedelta(hours=1, minutes=59), "1 hour ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_ages(age: timedelta, expected: str) -> None:
    """Ages are written in the largest whole unit."""
    assert f"({expected})" in render(finished=NOW - age)


def test_a_first_failure_has_no_success_before_it() -> None:
    """Without any success that is said, and one failure is not called a row."""
    text = status_text(a_run(**FAILED).following(None), NOW)

    assert "last success: never\n" in text
    assert "in a row" not in text


def test_a_run_over_some_mappings_names_them() -> None:
    """People see which mappings the run was about."""
    assert "only:         web, a\\x0ab" in render(only=("web", "a\nb"))
