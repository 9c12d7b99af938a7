"""Judge the last run, for people who watch many computers: the exit status and the line of a Nagios plugin. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from s32s_agent.text import ago_text, duration_text, shortened

if TYPE_CHECKING:
    # The parser of the command line needs the limits, and only `--status` and `--fleet` the record.
    from s32s_agent.monitoring.last_run import LastRun

CLOCK_SECONDS = 300
"""How far ahead of this clock a time may be before one of the two clocks is wrong."""
_MAX_ERROR = 200


class Health(IntEnum):
    """How bad it is; the numbers are the exit statuses of a Nagios plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How long ago the last success may be."""

    warn: float = 15 * 60.0
    """Seconds."""
    crit: float = 3600.0
    """Seconds, not less than `warn`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How healthy a server is, and why."""

    health: Health
    reason: str
    age: float | None = None
    """Seconds since the last success; None without one."""


def judge(run: LastRun | None, now: datetime, limits: Limits) -> Verdict:
    """Judge the record of the last run.

    | what                                             | health   |
    |--------------------------------------------------|----------|
    | no run has ended yet                             | UNKNOWN  |
    | a time in it is ahead of this clock              | UNKNOWN  |
    | there was no success, or it is older than `crit` | CRITICAL |
    | the last success is older than `warn`            | WARNING  |
    | the last run failed, or the last full one did    | WARNING  |
    | otherwise                                        | OK       |
    """
    if run is None or not run.has_ended:
        return Verdict(Health.UNKNOWN, "no run has ended yet")
    times = (run.last_success, run.finished)
    ages = [(now - each).total_seconds() for each in times if each is not None]
    if ages and min(ages) < -CLOCK_SECONDS:
        ahead = duration_text(-min(ages))
        return Verdict(Health.UNKNOWN, f"its clock, or this one, is wrong by {ahead} or more")
    if run.last_success is None:
        return Verdict(Health.CRITICAL, f"never in sync: {_failure(run)}")
    age = max(0.0, (now - run.last_success).total_seconds())
    return _judge_age(run, age, limits)


def _judge_age(run: LastRun, age: float, limits: Limits) -> Verdict:
    failed = run.exit_code != 0 or run.consecutive_failures > 0
    if age > limits.warn:
        health = Health.CRITICAL if age > limits.crit else Health.WARNING
        if failed:
            reason = f"not in sync for {duration_text(age)}: {_failure(run)}"
            return Verdict(health, reason, age)
        return Verdict(health, f"no run for {duration_text(age)}", age)
    if failed:
        return Verdict(Health.WARNING, f"the last run failed: {_failure(run)}", age)
    return Verdict(Health.OK, f"in sync {ago_text(age)}", age)


def _failure(run: LastRun) -> str:
    failures = run.consecutive_failures
    if run.exit_code == 0:
        return f"{failures:,} full runs in a row failed before one of some mappings"
    often = f", {failures:,} times in a row" if failures > 1 else ""
    return shortened(run.outcome, _MAX_ERROR) + often


def first_error(run: LastRun) -> str:
    """Return the first error, with its mapping and its key where it has them; "" when there is none."""
    if not run.errors:
        return ""
    first = run.errors[0]
    return shortened(
        ": ".join(filter(None, (first.mapping, first.key, first.error))), _MAX_ERROR
    )


def nagios_line(run: LastRun | None, verdict: Verdict, limits: Limits) -> str:
    """Write the one line of a Nagios plugin, with performance data."""
    error = first_error(run) if run and verdict.health is not Health.OK else ""
    text = " - ".join(
        filter(None, (f"S32S-AGENT {verdict.health.name}", verdict.reason, error))
    )
    data = " ".join(_performance(run, verdict, limits))
    # A bar would begin the performance data.
    return re.sub(r"\|", "/", text) + (f" | {data}" if data else "")


def _performance(run: LastRun | None, verdict: Verdict, limits: Limits) -> Iterator[str]:
    """Yield label=value[unit];warn;crit;min, as the guidelines of the Monitoring Plugins say."""
    if verdict.age is not None:
        yield f"age={verdict.age:.0f}s;{limits.warn:.0f};{limits.crit:.0f};0"
    if run is None or not run.has_ended:
        return
    yield f"consecutive_failures={run.consecutive_failures};;;0"
    yield from (f"{name}={count};;;0" for name, count in run.file_counts().items())
    yield f"bytes={run.totals.bytes}B;;;0"
