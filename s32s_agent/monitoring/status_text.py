"""Write the record of the last run for people: `--status`. Pure; whatever the record holds, every line is printable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from s32s_agent.errors import AccessDenied, StoreUnavailable
from s32s_agent.monitoring.last_run import (
    COUNTS,
    LAST_RUN,
    LastRun,
    MappingResult,
    Skipped,
    Totals,
)
from s32s_agent.text import ago_text, time_text

MAX_SHOWN_ERRORS = 10
"""Errors that people are shown."""

_REMEDIES = {
    "partial": "the next run tries again; the log has the details",
    "refused": "look at the plan with --dry-run; where a guard can be lifted, its reason says how",
    "dataerr": "fix the map file; --check lists every problem",
    "unavailable": StoreUnavailable.remedy,
    "software": "this is a bug; please report it with the traceback from the log",
    "cantcreat": "check the directory's owner, its free space, and the unit's ReadWritePaths=",
    "noperm": AccessDenied.remedy,
    "config": "fix the config file; --check lists every problem",
}


def status_text(run: LastRun | None, now: datetime) -> str:
    """Write the record for people.

    Args:
        run: As `read_last_run` returns it.
        now: With a time zone.
    """
    return "".join(f"{line}\n" for line in _lines(run or LastRun(), now))


def _lines(run: LastRun, now: datetime) -> Iterator[str]:
    if run.has_ended:
        yield from _result_lines(run, now)
        yield from map(_mapping_line, run.mappings)
        yield from _error_lines(run)
    else:
        yield "no run has ended yet"
    if run.last_skipped:
        yield from _skipped_lines(run.last_skipped, now)


def _skipped_lines(skipped: Skipped, now: datetime) -> Iterator[str]:
    yield f"last skipped: {_when(skipped.when, now)}, another run held the lock"
    if skipped.holder:
        known = (f"{name} {value}" for name, value in skipped.holder.items())
        yield f"              {', '.join(known)}"


def _result_lines(run: LastRun, now: datetime) -> Iterator[str]:
    seconds = "?" if run.seconds is None else f"{run.seconds:.1f}"
    yield f"last run:     {_when(run.finished, now)}, {run.role or '?'}, took {seconds} s"
    if run.only:
        yield f"only:         {', '.join(run.only)}"
    failures = run.consecutive_failures
    yield f"result:       {run.outcome}" + (
        f", {failures} failures in a row" if failures > 1 else ""
    )
    if run.exit_code != 0:
        success = run.last_success
        yield f"last success: {_when(success, now) if success else 'never'}"
    yield f"in all:       {_counts(run.totals)}"


def _mapping_line(mapping: MappingResult) -> str:
    line = f"  {mapping.name or '?'}: {mapping.outcome}: {_counts(mapping)}"
    if mapping.snapshot:
        held = "pinned" if mapping.pinned else mapping.channel
        line += f"; snapshot {mapping.snapshot} ({held})"
    return f"{line}: {mapping.error}" if mapping.error else line


def _error_lines(run: LastRun) -> Iterator[str]:
    if run.errors:
        yield "errors:"
    for error in run.errors[:MAX_SHOWN_ERRORS]:
        mapping = f"{error.mapping}: " if error.mapping else ""
        key = f'"{error.key}" ' if error.key else ""
        yield f"  {mapping}{key}{error.error}"
        if error.remedy:
            yield f"    {error.remedy}"
    if len(run.errors) > MAX_SHOWN_ERRORS:
        yield f"  and {len(run.errors) - MAX_SHOWN_ERRORS} more in {LAST_RUN}"
    causes = (*(mapping.cause for mapping in run.mappings), run.cause)
    for remedy in dict.fromkeys(_REMEDIES[cause] for cause in causes if cause in _REMEDIES):
        yield f"what to do:   {remedy}"


def _counts(of: MappingResult | Totals) -> str:
    counts = {name: getattr(of, name) for name in COUNTS}
    if isinstance(of, MappingResult):
        counts["withheld"] = of.withheld
    words = [f"{count:,} {name}" for name, count in counts.items() if count]
    return ", ".join((*words, f"{of.bytes:,} bytes"))


def _when(time: datetime | None, now: datetime) -> str:
    if time is None:
        return "?"
    seconds = (now - time).total_seconds()
    ago = ago_text(seconds) if seconds >= 0 else "in the future: is the clock right?"
    return f"{time_text(time)} ({ago})"
