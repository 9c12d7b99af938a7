"""Read the reports of a fleet's agents from S3, and show all servers at once.

A report is the record of the server's last run. A user that may write one server's report may write any bytes under any
name there, so nothing in it is trusted, and a report that cannot be read is a line like the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.config.documents import load_json
from s32s_agent.errors import AgentError
from s32s_agent.model import Entry, Kind, Location, Problem
from s32s_agent.monitoring.fleet_report import MAX_NAME, MAX_REPORT_BYTES, SUFFIX
from s32s_agent.monitoring.health import Health, Limits, first_error, judge
from s32s_agent.monitoring.last_run import SCHEMA_VERSION, LastRun, MappingResult
from s32s_agent.monitoring.rollouts import Follower, Rollout, rollouts
from s32s_agent.monitoring.untrusted import as_text
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.text import duration_text, printable, shortened
from s32s_agent.workers import in_parallel

MAX_SERVERS = 10_000
"""The others are one line: a prefix with more objects than this holds something else."""
WORST_FIRST = (Health.CRITICAL, Health.UNKNOWN, Health.WARNING, Health.OK)

_WORKERS = 16
_MAX_TEXT = 300
_MAX_ROLE = 10
_MAX_VERSION = 20
_MAX_ID = 40
_MAX_MAPPINGS = 100
"""Of one server, and in all, whose snapshots are shown."""
_SHOWN = 3
"""Snapshots of a mapping that the table names."""
_COLUMNS = ("SERVER", "STATE", "ROLE", "IN SYNC", "AGE", "FAILURES", "VERSION", "")


@dataclass(frozen=True, slots=True)
class Server:
    """What the report of one server says, checked; every text is printable and short."""

    name: str
    """Its key, without prefix and suffix."""
    health: Health
    reason: str
    role: str = ""
    mappings: int = 0
    in_sync: int = 0
    """Of the mappings."""
    age: float | None = None
    """Seconds since the last run ended."""
    finished: str = ""
    """ISO 8601."""
    last_success: str = ""
    """ISO 8601; "" for never."""
    consecutive_failures: int = 0
    version: str = ""
    error: str = ""
    """The first error of the last run."""
    snapshots: tuple[tuple[str, str], ...] = ()
    """The mappings with snapshots, by name, and which one each has."""
    pinned: tuple[str, ...] = ()
    """The mappings that are pinned."""
    followers: tuple[Follower, ...] = ()
    """The mappings with snapshots, with their channels."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All servers, the worst first, then by name."""

    location: Location
    now: datetime
    servers: tuple[Server, ...]

    def tally(self) -> dict[str, int]:
        """Count the servers by their health, the worst first."""
        found = Counter(server.health for server in self.servers)
        return {health.name.lower(): found[health] for health in WORST_FIRST}


def read_fleet(
    connection: Connection, location: Location, now: datetime, limits: Limits
) -> Fleet:
    """Read every report below a prefix.

    Raises:
        AgentError: they cannot be listed. An error in one report is the reason of its server.
    """
    entries: list[Entry] = []
    servers: list[Server] = []
    found = S3Source(connection, location).scan()
    for each in islice(found, MAX_SERVERS):
        if isinstance(each, Problem):
            servers.append(_unreadable(each.key, each.reason))
        elif each.kind is Kind.FILE and each.key.endswith(SUFFIX):
            entries.append(each)
    if next(found, None) is not None:
        reason = f"there are more than {MAX_SERVERS:,} objects; the others were not read"
        servers.append(Server("...", Health.UNKNOWN, reason))

    def fetch(entry: Entry, _: Heartbeat) -> bytes:
        return _fetch(connection, location, entry)

    for entry, result in in_parallel(fetch, entries, _WORKERS, CancelToken()):
        name = entry.key.removesuffix(SUFFIX)
        if isinstance(result, bytes):
            servers.append(read_report(name, result, now, limits))
        elif isinstance(result, AgentError):
            servers.append(_unreadable(name, str(result)))
        else:
            raise result
    servers.sort(key=lambda server: (WORST_FIRST.index(server.health), server.name))
    return Fleet(location, now, tuple(servers))


def _fetch(connection: Connection, location: Location, entry: Entry) -> bytes:
    if entry.size > MAX_REPORT_BYTES:
        raise AgentError(f"{entry.size} bytes, expected at most {MAX_REPORT_BYTES}")
    key = f"{location.prefix}/{entry.key}" if location.prefix else entry.key
    answer = connection.fetch(location.bucket, key, MAX_REPORT_BYTES)
    if answer is None:
        raise AgentError(
            "the store answered 304 Not Modified to a request without a condition"
        )
    return answer[0]


def read_report(name: str, data: bytes, now: datetime, limits: Limits) -> Server:
    """Judge the bytes of a report."""
    try:
        document = load_json(data.decode("utf-8"))
    except ValueError as error:
        return _unreadable(name, str(error))
    if not isinstance(document, dict) or not isinstance(document.get("schema_version"), int):
        return _unreadable(name, "expected an object with schema_version")
    return _server(name, LastRun.from_json(document), now, limits)


def _unreadable(name: str, reason: str) -> Server:
    text = _short(f"its report cannot be read: {reason}", _MAX_TEXT)
    return Server(_short(name, MAX_NAME), Health.UNKNOWN, text)


def _server(name: str, run: LastRun, now: datetime, limits: Limits) -> Server:
    health, reason = _judge(run, now, limits)
    totals = run.totals
    return Server(
        name=_short(name, MAX_NAME),
        health=health,
        reason=reason,
        role=_short(run.role or "?", _MAX_ROLE),
        mappings=totals.mappings,
        in_sync=max(0, totals.mappings - totals.failed_mappings),
        age=(now - run.finished).total_seconds() if run.finished else None,
        finished=run.finished.isoformat() if run.finished else "",
        last_success=run.last_success.isoformat() if run.last_success else "",
        consecutive_failures=run.consecutive_failures,
        version=_short(run.agent_version or "?", _MAX_VERSION),
        error=_short(first_error(run), _MAX_TEXT),
        snapshots=tuple(
            (_short(each.name, MAX_NAME), _short(each.snapshot, _MAX_ID))
            for each in run.mappings[:_MAX_MAPPINGS]
            if each.snapshot
        ),
        pinned=tuple(
            _short(each.name, MAX_NAME) for each in run.mappings[:_MAX_MAPPINGS] if each.pinned
        ),
        followers=tuple(
            _follower(run, each)
            for each in run.mappings[:_MAX_MAPPINGS]
            if each.snapshot and each.channel
        ),
    )


def _follower(run: LastRun, result: MappingResult) -> Follower:
    return Follower(
        mapping=_short(result.name, MAX_NAME),
        channel=_short(result.channel, MAX_NAME),
        snapshot=_short(result.snapshot, _MAX_ID),
        asked=run.finished.isoformat() if run.finished else "",
        is_in_sync=result.exit_code == 0,
        is_pinned=bool(result.pinned),
    )


def _judge(run: LastRun, now: datetime, limits: Limits) -> tuple[Health, str]:
    if run.schema_version != SCHEMA_VERSION:
        reason = (
            f"its report has version {run.schema_version}, expected {SCHEMA_VERSION}:"
            " upgrade the older agent"
        )
        return Health.UNKNOWN, reason
    verdict = judge(run, now, limits)
    return verdict.health, _short(verdict.reason, _MAX_TEXT)


def _short(value: object, length: int) -> str:
    return shortened(as_text(value), length)


# --- showing ---


def age_text(age: float | None) -> str:
    """Write how long ago the last run ended."""
    if age is None:
        return "?"
    return "ahead" if age < 0 else duration_text(age) or "now"


def fleet_text(fleet: Fleet) -> str:
    """Write a table, one line a server, and a last line with the numbers."""
    lines = [_COLUMNS, *(_cells(server) for server in fleet.servers)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    widths[-1] = 0
    padded = (map(str.ljust, cells, widths) for cells in lines)
    table = "".join(f"{'  '.join(cells).rstrip()}\n" for cells in padded)
    tally = ", ".join(f"{count} {name}" for name, count in fleet.tally().items() if count)
    rollouts = "".join(f"{line}\n" for line in rollout_lines(fleet))
    return table + rollouts + (f"{title(fleet)}: {tally}\n" if tally else f"{title(fleet)}\n")


def rollout_lines(fleet: Fleet) -> list[str]:
    """Write for each mapping with snapshots how many servers have which, the newest first; masters count too."""
    found: dict[str, Counter[str]] = {}
    pinned = Counter(name for server in fleet.servers for name in server.pinned)
    for server in fleet.servers:
        for mapping, snapshot in server.snapshots:
            found.setdefault(mapping, Counter())[snapshot] += 1
    lines = []
    for mapping, counts in sorted(found.items())[:_MAX_MAPPINGS]:
        total = counts.total()
        of_each = [
            f"{counts[each]:,} of {total:,} have {each}"
            for each in sorted(counts, reverse=True)
        ]
        held = [f"{pinned[mapping]:,} pinned"] if pinned[mapping] else []
        more = [f"{len(of_each) - _SHOWN} older"] if len(of_each) > _SHOWN else []
        lines.append(f"{mapping}: {', '.join([*of_each[:_SHOWN], *more, *held])}")
    return lines


def rollouts_of(fleet: Fleet) -> Sequence[Rollout]:
    """Return how far each channel is, of at most so many as are shown."""
    found = (each for server in fleet.servers for each in server.followers)
    return rollouts(found)[:_MAX_MAPPINGS]


def title(fleet: Fleet) -> str:
    """Write how many servers there are, and where."""
    count = len(fleet.servers)
    return f"{count:,} server{'s' if count != 1 else ''} at {printable(str(fleet.location))}"


def _cells(server: Server) -> tuple[str, ...]:
    return (
        server.name,
        server.health.name.lower(),
        server.role,
        f"{server.in_sync}/{server.mappings}",
        age_text(server.age),
        str(server.consecutive_failures),
        server.version,
        "" if server.health is Health.OK else note(server),
    )


def note(server: Server) -> str:
    """Return why the server has its state, with the first error of its last run."""
    return f"{server.reason}: {server.error}" if server.error else server.reason


def fleet_document(fleet: Fleet) -> dict[str, object]:
    """Return the fleet as plain values."""
    servers = [{**asdict(each), "health": each.health.name.lower()} for each in fleet.servers]
    for server in servers:
        del server["followers"]  # `channels` counts them
    return {
        "schema_version": SCHEMA_VERSION,
        "location": printable(str(fleet.location)),
        "generated": fleet.now.isoformat(),
        "totals": fleet.tally(),
        "rollouts": rollout_lines(fleet),
        "channels": [{**asdict(each), "percent": each.percent} for each in rollouts_of(fleet)],
        "servers": servers,
    }
