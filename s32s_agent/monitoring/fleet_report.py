"""Write an agent's report for the fleet: the record of its last run, as an object that `--fleet` reads."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from s32s_agent.config.documents import load_json
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError
from s32s_agent.model import Location
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.monitoring.untrusted import as_object, as_text
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName
from s32s_agent.stores.s3.write_requests import WriteRequests
from s32s_agent.text import shortened

SUFFIX = ".json"
"""Of the key of a report."""
MAX_REPORT_BYTES = 1 << 20
"""A larger report is not read."""
MAX_NAME = 100
"""Characters of a server's name."""

_MACHINE_ID = Path("/etc/machine-id")


def report_key(location: Location, hostname: str) -> str:
    """Return the key of a computer's report: its name, with "-" for characters that are not safe in keys and URLs."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", hostname).strip(".")[:MAX_NAME] or "unknown"
    return f"{location.prefix}/{name}{SUFFIX}" if location.prefix else f"{name}{SUFFIX}"


def agent_id(state_dir: str, machine_id: Path = _MACHINE_ID) -> str:
    """Return what distinguishes this agent from all others; "" when the machine has no id.

    A digest, since the id of a machine is confidential (machine-id(5)).
    """
    try:
        machine = machine_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    text = f"s32s-agent {machine} {state_dir}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def send_report(settings: Settings, location: Location, run: LastRun) -> list[str]:
    """Write the record of a run to the fleet's reports.

    Returns:
        The key, when it held the report of another agent; only an agent that may read it can know.

    Raises:
        AgentError: the report could not be written.
    """
    own_id = agent_id(settings.state_dir)
    report = {**run.to_json(), "agent_id": own_id}
    data = json.dumps(report).encode()
    if len(data) > MAX_REPORT_BYTES:
        data = json.dumps({**report, "mappings": []}).encode()
    key = report_key(location, run.hostname)
    connection = Connection(settings.s3)
    replaced_id = _read_agent_id(connection, location.bucket, key) if own_id else ""
    name = ObjectName(location.bucket, key, f'"{location.bucket}/{key}"')
    headers = ObjectHeaders("application/json")
    WriteRequests(connection).put(name, data, headers)
    return [key] if replaced_id not in ("", own_id) else []


def _read_agent_id(connection: Connection, bucket: str, key: str) -> str:
    """Read whose report a key holds; "" when that is not known, which is no reason to write none."""
    try:
        answer = connection.fetch(bucket, key, MAX_REPORT_BYTES)
        found = load_json(answer[0].decode("utf-8")) if answer else None
    except (AgentError, ValueError):
        return ""
    return shortened(as_text(as_object(found).get("agent_id")), MAX_NAME)
