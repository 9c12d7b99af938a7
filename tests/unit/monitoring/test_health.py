"""How the last run is judged, and the line that Nagios gets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import JSON

from s32s_agent.monitoring.health import Health, Limits, first_error, judge, nagios_line
from s32s_agent.monitoring.last_run import LastRun

NOW = datetime(2026, 11, 22, 21, 0, 0, tzinfo=UTC)
LIMITS = Limits(warn=900, crit=3600)
PERFORMANCE = re.compile(r"[a-z_]+=\d+(?:s|B)?(?:;\d*){3}")


def a_document(
    exit_code: int = 0, minutes: float | None = 3, success: float | None = 3, failures: int = 0
) -> dict[str, Any]:
    """Make the document of a run that ended some minutes ago, with the last success."""
    return {
        "schema_version": 1,
        "exit_code": exit_code,
        "cause": "unavailable" if exit_code else "",
        "finished": ago(minutes),
        "last_success": ago(success),
        "consecutive_failures": failures,
        "totals": {"copied": 3, "bytes": 10},
        "mappings": [{"name": "a", "withheld": 2}],
        "errors": [{"mapping": "a", "key": "", "error": "no route | to\nhost"}]
        if exit_code
        else [],
    }


def a_run(*values: Any, **changes: Any) -> LastRun:
    return LastRun.from_json(a_document(*values, **changes))


def ago(minutes: float | None) -> str | None:
    return None if minutes is None else (NOW - timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize(
    ("run", "health", "reason"),
    [
        (None, Health.UNKNOWN, "no run has ended yet"),
        (LastRun(), Health.UNKNOWN, "no run has ended yet"),
        (a_run(), Health.OK, "in sync 3 minutes ago"),
        (a_run(success=0), Health.OK, "in sync just now"),
        (a_run(success=15), Health.OK, "in sync 15 minutes ago"),
        (a_run(minutes=16, success=16), Health.WARNING, "no run for 16 minutes"),
        (a_run(minutes=60, success=60), Health.WARNING, "no run for 1 hour"),
        (a_run(minutes=61, success=61), Health.CRITICAL, "no run for 1 hour"),
        (
            a_run(69, success=8, failures=1),
            Health.WARNING,
            "the last run failed: unavailable (exit status 69)",
        ),
        (
            a_run(69, success=30, failures=5),
            Health.WARNING,
            "not in sync for 30 minutes: unavailable (exit status 69), 5 times in a row",
        ),
        (
            a_run(69, success=90, failures=17),
            Health.CRITICAL,
            "not in sync for 1 hour: unavailable (exit status 69), 17 times in a row",
        ),
        (
            a_run(69, success=None, failures=1),
            Health.CRITICAL,
            "never in sync: unavailable (exit status 69)",
        ),
        (
            a_run(0, success=8, failures=2),
            Health.WARNING,
            "the last run failed: 2 full runs in a row failed before one of some mappings",
        ),
        (a_run(success=-4), Health.OK, "in sync just now"),
        (
            a_run(minutes=-6, success=-6),
            Health.UNKNOWN,
            "its clock, or this one, is wrong by 6 minutes or more",
        ),
        (
            a_run(69, minutes=-120, success=3),
            Health.UNKNOWN,
            "its clock, or this one, is wrong by 2 hours or more",
        ),
    ],
)
def test_verdicts(run: LastRun | None, health: Health, reason: str) -> None:
    """The table in the docstring of `judge`."""
    verdict = judge(run, NOW, LIMITS)

    assert (verdict.health, verdict.reason) == (health, reason)


def test_a_dead_timer_is_not_taken_for_a_server_in_sync() -> None:
    """A success of long ago is critical, however well that run ended."""
    verdict = judge(a_run(minutes=60 * 24 * 30, success=60 * 24 * 30), NOW, LIMITS)

    assert (verdict.health, verdict.reason) == (Health.CRITICAL, "no run for 30 days")


def test_the_line_of_nagios() -> None:
    """One line: status, reason, first error, and performance data with its limits."""
    run = a_run(69, success=30, failures=5)
    line = nagios_line(run, judge(run, NOW, LIMITS), LIMITS)

    assert line == (
        "S32S-AGENT WARNING - not in sync for 30 minutes: unavailable (exit status 69), 5 times in a row"
        r" - a: no route / to\x0ahost | age=1800s;900;3600;0 consecutive_failures=5;;;0 copied=3;;;0"
        " deleted=0;;;0 unchanged=0;;;0 skipped=0;;;0 failed=0;;;0 withheld=2;;;0 bytes=10B;;;0"
    )


def test_nothing_is_measured_of_no_run() -> None:
    """Without a run there is no performance data."""
    line = nagios_line(None, judge(None, NOW, LIMITS), LIMITS)

    assert line == "S32S-AGENT UNKNOWN - no run has ended yet"


@given(st.dictionaries(st.sampled_from(sorted(a_document())) | st.text(), JSON))
def test_whatever_a_document_holds_gives_one_line_of_nagios(document: dict[str, Any]) -> None:
    """No value of any field breaks the verdict, the line, or its performance data."""
    run = LastRun.from_json(document)
    line = nagios_line(run, judge(run, NOW, LIMITS), LIMITS)
    text, _, performance = line.partition(" | ")

    assert line.isprintable()
    assert len(text) < 1000
    assert "|" not in text + performance
    assert all(PERFORMANCE.fullmatch(each) for each in performance.split())
    assert first_error(run).isprintable()
