"""The record of a run is written more than once, and follows from the run before each time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from s32s_agent.config.config_file import parse
from s32s_agent.errors import AgentError, Interrupted
from s32s_agent.monitoring.last_run import LastRun, read_last_run, write_last_run
from s32s_agent.run.context import RunOptions
from s32s_agent.run.recording import Recorder
from s32s_agent.run.report import RunReport

EARLIER = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
BEFORE = LastRun(finished=EARLIER, exit_code=1, last_success=EARLIER, consecutive_failures=4)
CONFIG = "role: slave\nmaps: bucket/maps\nroots: [/srv/www]\nstate_dir: {}\n"


def recorder(state_dir: Path) -> Recorder:
    settings = parse(CONFIG.format(state_dir), "config.yaml")
    return Recorder(settings, RunOptions(), "run", structlog.get_logger())


def read(state_dir: Path) -> LastRun:
    record = read_last_run(str(state_dir))
    assert record is not None
    return record


def test_a_run_that_is_stopped_while_it_reports_counts_as_one_failure(tmp_path: Path) -> None:
    """The record before `on_failure` and the one after it are of one run."""
    write_last_run(str(tmp_path), BEFORE)
    of_this_run, report = recorder(tmp_path), RunReport()
    report.fail(AgentError("x"))
    of_this_run.write(report)
    report.fail(Interrupted(15))
    of_this_run.write(report)

    found = read(tmp_path)
    assert (found.exit_code, found.consecutive_failures) == (143, 5)
    assert found.last_success == EARLIER


def test_a_run_that_is_stopped_is_no_success(tmp_path: Path) -> None:
    """A record that was written as a success, and then as a stopped run, leaves the last success as it was."""
    write_last_run(str(tmp_path), BEFORE)
    of_this_run, report = recorder(tmp_path), RunReport()
    of_this_run.write(report)
    report.fail(Interrupted(15))
    of_this_run.write(report)

    found = read(tmp_path)
    assert (found.last_success, found.consecutive_failures) == (EARLIER, 5)


def test_what_a_hook_does_to_the_record_does_not_change_the_history(tmp_path: Path) -> None:
    """The run before is read at the start, whatever is in its place at the end."""
    write_last_run(str(tmp_path), BEFORE)
    of_this_run, report = recorder(tmp_path), RunReport()
    report.fail(AgentError("x"))
    write_last_run(str(tmp_path), replace(BEFORE, consecutive_failures=99))
    of_this_run.write(report)

    assert read(tmp_path).consecutive_failures == 5
