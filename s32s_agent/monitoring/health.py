"""Judge whether the last pass is good news, for people who watch many computers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from s32s_agent.monitoring.lastrun import (
    counts,
    has_result,
    moment,
    outcome,
    record,
    records,
    short,
    span,
    whole,
)

CLOCK_SECONDS = 300
"""How far ahead a time may be before somebody's clock is wrong."""
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
    """What somebody should know of a pass."""

    health: Health
    reason: str
    age: float | None = None
    """Seconds since the last success; None without one."""


def judge(document: Mapping[str, object] | None, now: datetime, limits: Limits) -> Verdict:
    """Judge the document of a pass.

    | what                                             | health   |
    |--------------------------------------------------|----------|
    | no pass has ended yet                            | UNKNOWN  |
    | a time in it is ahead of this clock              | UNKNOWN  |
    | there was no success, or it is older than `crit` | CRITICAL |
    | the last success is older than `warn`            | WARNING  |
    | the last pass failed, or the last full one did   | WARNING  |
    | otherwise                                        | OK       |
    """
    if document is None or not has_result(document):
        return Verdict(Health.UNKNOWN, "no pass has ended yet")
    success, finished = moment(document.get("last_success")), moment(document.get("finished"))
    ages = [(now - each).total_seconds() for each in (success, finished) if each is not None]
    if ages and min(ages) < -CLOCK_SECONDS:
        ahead = span(-min(ages))
        return Verdict(Health.UNKNOWN, f"its clock, or this one, is wrong by {ahead} or more")
    if success is None:
        return Verdict(Health.CRITICAL, f"never in sync: {_failure(document)}")
    age = max(0.0, (now - success).total_seconds())
    return _judge_age(document, age, limits)


def _judge_age(document: Mapping[str, object], age: float, limits: Limits) -> Verdict:
    failed = document["exit_code"] != 0 or whole(document.get("consecutive_failures")) > 0
    if age > limits.warn:
        health = Health.CRITICAL if age > limits.crit else Health.WARNING
        if failed:
            return Verdict(health, f"not in sync for {span(age)}: {_failure(document)}", age)
        return Verdict(health, f"no pass for {span(age)}", age)
    if failed:
        return Verdict(Health.WARNING, f"the last pass failed: {_failure(document)}", age)
    ago = f"{span(age)} ago" if span(age) else "just now"
    return Verdict(Health.OK, f"in sync {ago}", age)


def _failure(document: Mapping[str, object]) -> str:
    failures = whole(document.get("consecutive_failures"))
    if document.get("exit_code") == 0:
        return f"{failures:,} full passes in a row failed before one of some mappings"
    often = f", {failures:,} times in a row" if failures > 1 else ""
    return short(outcome(document), _MAX_ERROR) + often


def first_error(document: Mapping[str, object]) -> str:
    """Give the first error, with its mapping and its key where it has them; "" when there is none."""
    errors = records(document.get("errors"))
    if not errors:
        return ""
    first = errors[0]
    names = (first.get("mapping"), first.get("key"), first.get("error"))
    return short(": ".join(str(each) for each in names if each), _MAX_ERROR)


def nagios_line(
    document: Mapping[str, object] | None, verdict: Verdict, limits: Limits
) -> str:
    """Write the one line of a Nagios plugin, with performance data."""
    error = first_error(document or {}) if verdict.health is not Health.OK else ""
    text = " - ".join(
        filter(None, (f"S32S-AGENT {verdict.health.name}", verdict.reason, error))
    )
    data = " ".join(_performance(document or {}, verdict, limits))
    # A bar would begin the performance data.
    return re.sub(r"\|", "/", text) + (f" | {data}" if data else "")


def _performance(
    document: Mapping[str, object], verdict: Verdict, limits: Limits
) -> Iterator[str]:
    """Yield label=value[unit];warn;crit;min, as the guidelines of the Monitoring Plugins say."""
    if verdict.age is not None:
        yield f"age={verdict.age:.0f}s;{limits.warn:.0f};{limits.crit:.0f};0"
    if not has_result(document):
        return
    yield f"consecutive_failures={whole(document.get('consecutive_failures'))};;;0"
    yield from (f"{name}={count};;;0" for name, count in counts(document).items())
    yield f"bytes={whole(record(document.get('totals')).get('bytes'))}B;;;0"
