"""The fleet: each agent leaves a report in S3, and anybody who may read them sees all servers at once.

A report is the document of the last pass. Whoever may write one server's report may write any bytes under any name
there, so nothing in it is believed, and one that cannot be read is a line like the others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.config.documents import load_json
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError
from s32s_agent.model import Entry, Kind, Location, Problem
from s32s_agent.monitoring.health import Health, Limits, first_error, judge
from s32s_agent.monitoring.last_run import SCHEMA_VERSION, LastRun
from s32s_agent.monitoring.untrusted import as_text
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.stores.s3.write_requests import WriteRequests
from s32s_agent.text import duration_text, printable, shortened
from s32s_agent.workers import in_parallel

MAX_REPORT_BYTES = 1 << 20
"""A larger one is not read."""
MAX_SERVERS = 10_000
"""More than this are counted as one line: somebody fills the prefix."""
WORST_FIRST = (Health.CRITICAL, Health.UNKNOWN, Health.WARNING, Health.OK)

_SUFFIX = ".json"
_MACHINE_ID = Path("/etc/machine-id")
_WORKERS = 16
_MAX_NAME = 100
_MAX_TEXT = 300
_MAX_ROLE = 10
_MAX_VERSION = 20
_COLUMNS = ("SERVER", "STATE", "ROLE", "IN SYNC", "AGE", "FAILURES", "VERSION")


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
    """Seconds since the last pass ended."""
    finished: str = ""
    """ISO 8601."""
    last_success: str = ""
    """ISO 8601; "" for never."""
    consecutive_failures: int = 0
    version: str = ""
    error: str = ""
    """The first one of the last pass."""


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


# --- the agent's side ---


def report_key(location: Location, hostname: str) -> str:
    """Give the key of a computer's report; of its name only what is plain in every key and URL is used."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", hostname).strip(".")[:_MAX_NAME] or "unknown"
    return f"{location.prefix}/{name}{_SUFFIX}" if location.prefix else f"{name}{_SUFFIX}"


def agent_id(state_dir: str, machine_id: Path = _MACHINE_ID) -> str:
    """Tell this agent from all others: a digest, since the id of a machine is not for everybody; "" without one."""
    try:
        machine = machine_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    text = f"s32s-agent {machine} {state_dir}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def send_report(settings: Settings, location: Location, run: LastRun) -> list[str]:
    """Write the record of a run to the fleet's reports.

    Returns:
        The key, when the report of another agent stood there; known only to who may read it.

    Raises:
        AgentError: it could not be put there.
    """
    mine = agent_id(settings.state_dir)
    report = {**run.to_json(), "agent_id": mine}
    data = json.dumps(report).encode()
    if len(data) > MAX_REPORT_BYTES:
        data = json.dumps({**report, "mappings": []}).encode()
    key = report_key(location, run.hostname)
    connection = Connection(settings.s3)
    before = _agent_of(connection, location.bucket, key) if mine else ""
    name = ObjectName(location.bucket, key, f'"{location.bucket}/{key}"')
    headers = ObjectHeaders("application/json")
    WriteRequests(connection).put(name, data, headers)
    return [key] if before not in ("", mine) else []


def _agent_of(connection: Connection, bucket: str, key: str) -> str:
    """Tell whose report stands there; "" where that cannot be told, which is no reason to send none."""
    try:
        answer = connection.fetch(bucket, key, MAX_REPORT_BYTES)
        found = load_json(answer[0].decode("utf-8")) if answer else None
    except (AgentError, ValueError):
        return ""
    return _short(found.get("agent_id"), _MAX_NAME) if isinstance(found, dict) else ""


# --- the reader's side ---


def read_fleet(
    connection: Connection, location: Location, now: datetime, limits: Limits
) -> Fleet:
    """Read every report below a prefix.

    Raises:
        AgentError: they cannot be listed. What is wrong with one report is that server's reason.
    """
    entries: list[Entry] = []
    servers: list[Server] = []
    found = S3Source(connection, location).scan()
    for each in islice(found, MAX_SERVERS):
        if isinstance(each, Problem):
            servers.append(_unreadable(each.key, each.reason))
        elif each.kind is Kind.FILE and each.key.endswith(_SUFFIX):
            entries.append(each)
    if next(found, None) is not None:
        reason = f"there are more than {MAX_SERVERS:,} objects; the others were not read"
        servers.append(Server("...", Health.UNKNOWN, reason))

    def fetch(entry: Entry, _: Heartbeat) -> bytes:
        return _fetch(connection, location, entry)

    for entry, result in in_parallel(fetch, entries, _WORKERS, CancelToken()):
        name = entry.key.removesuffix(_SUFFIX)
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
        raise AgentError("the store says that it has not changed, which nobody asked")
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
    return Server(_short(name, _MAX_NAME), Health.UNKNOWN, text)


def _server(name: str, run: LastRun, now: datetime, limits: Limits) -> Server:
    health, reason = _judge(run, now, limits)
    totals = run.totals
    return Server(
        name=_short(name, _MAX_NAME),
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


# --- what is shown ---


def age_text(age: float | None) -> str:
    """Write how long ago the last pass ended."""
    if age is None:
        return "?"
    return "ahead" if age < 0 else duration_text(age) or "now"


def fleet_lines(fleet: Fleet) -> Iterator[str]:
    """Yield a table, one line a server, and a last line with the numbers."""
    rows = [_COLUMNS, *(_cells(server) for server in fleet.servers)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_COLUMNS))]
    reasons = ["", *(_why(server) for server in fleet.servers)]
    for row, reason in zip(rows, reasons, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join((*cells, reason)).rstrip()
    tally = ", ".join(f"{count} {name}" for name, count in fleet.tally().items() if count)
    yield f"{title(fleet)}: {tally}" if tally else title(fleet)


def title(fleet: Fleet) -> str:
    """Say how many servers there are, and where."""
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
    )


def _why(server: Server) -> str:
    """Say what is wrong; nothing of a server that is well."""
    if server.health is Health.OK:
        return ""
    return f"{server.reason}: {server.error}" if server.error else server.reason


def fleet_document(fleet: Fleet) -> dict[str, object]:
    """Give the fleet as plain values."""
    servers = [{**asdict(each), "health": each.health.name.lower()} for each in fleet.servers]
    return {
        "schema_version": SCHEMA_VERSION,
        "location": printable(str(fleet.location)),
        "generated": fleet.now.isoformat(),
        "totals": fleet.tally(),
        "servers": servers,
    }
