"""Records of a last run, as tests need them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from s32s_agent.monitoring.last_run import LastRun, MappingResult, Totals

NOW = datetime(2026, 11, 22, 21, 0, 0, tzinfo=UTC)
FINISHED = datetime(2026, 11, 22, 20, 55, 0, tzinfo=UTC)
EARLIER = datetime(2026, 11, 21, 20, 55, 0, tzinfo=UTC)
SKIPPED_AT = datetime(2026, 11, 22, 20, 57, 0, tzinfo=UTC)
HOLDER = {"pid": 4711, "run_id": "r0", "started": "2026-11-22T20:50:00+00:00"}


def mapping(**changes: Any) -> MappingResult:
    """Return the result of a mapping that is in sync."""
    values: dict[str, Any] = {
        "name": "web",
        "s3": "bucket/web",
        "directory": "/srv/www",
        "copied": 12,
        "unchanged": 1034,
        "bytes": 1234567,
        "seconds": 2.5,
    }
    return MappingResult(**values | changes)


def a_run(**changes: Any) -> LastRun:
    """Return the record of a run that ended in sync, without history."""
    values: dict[str, Any] = {
        "agent_version": "0.1.0",
        "hostname": "web1",
        "run_id": "r1",
        "role": "slave",
        "started": datetime(2026, 11, 22, 20, 54, 48, tzinfo=UTC),
        "finished": FINISHED,
        "seconds": 12.34,
        "exit_code": 0,
        "mappings": (mapping(),),
        "totals": Totals(mappings=1, copied=12, unchanged=1034, bytes=1234567),
    }
    return LastRun(**values | changes)
