"""The reports of many servers: most as an agent writes them, and some hostile ones."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 22, 21, 0, 0, tzinfo=UTC)
ATTACK = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\"'>&amp;"
SERVERS = 200
_CAUSES = {69: "unavailable", 3: "refused", 77: "noperm", 1: "partial", 73: "cantcreat"}
_ERRORS = {
    69: 'listing "bucketname": Could not connect to the endpoint URL',
    3: "412 deletes withheld: more than 25% of 812 files",
    77: '"bucketname/maps": AccessDenied: Access Denied.',
    1: '"img/x.png": got 52000 bytes, expected 52113',
    73: '"/srv/www/index.html": No space left on device',
}


def report(name: str, number: int, **changes: Any) -> dict[str, Any]:
    """Return the report of a server; the number chooses its state."""
    chance = random.Random(number)
    minutes = chance.uniform(0.3, 6)
    exit_code = tuple(_CAUSES)[number // 17 % len(_CAUSES)] if number % 17 == 0 else 0
    failures = chance.randint(1, 30) if exit_code else 0
    mappings = chance.randint(1, 6)
    finished = NOW - timedelta(minutes=minutes if number % 41 else 60 * 24 * 3)
    success = finished - timedelta(minutes=5 * failures)
    error = {"mapping": "site", "key": "", "error": _ERRORS.get(exit_code, "")}
    return {
        "schema_version": 1,
        "agent_version": "0.1.0" if number % 23 else "0.0.9",
        "hostname": name,
        "run_id": f"20261122T205500Z-{number:06x}",
        "role": "slave" if number % 50 else "master",
        "started": finished.isoformat(),
        "finished": finished.isoformat(),
        "seconds": 3.2,
        "exit_code": exit_code,
        "cause": _CAUSES.get(exit_code, ""),
        "mappings": [],
        "totals": {
            "mappings": mappings,
            "failed_mappings": min(mappings, 1) if exit_code else 0,
            "copied": 3,
        },
        "errors": [error] if exit_code else [],
        "last_success": success.isoformat(),
        "consecutive_failures": failures,
        **changes,
    }


def fleet() -> dict[str, bytes]:
    """Return the bytes of two hundred reports by key, without prefix; twelve of them are hostile."""
    reports = {}
    for number in range(1, SERVERS - 12 + 1):
        place, kind = ("fra", "ams", "iad")[number % 3], ("web", "app", "db")[number % 7 % 3]
        name = f"{kind}{number:03}.{place}.example.net"
        reports[f"{name}.json"] = json.dumps(report(name, number)).encode()
    return reports | hostile()


def hostile() -> dict[str, bytes]:
    """Return twelve reports that no agent would write."""
    late, later = ((NOW + timedelta(days=days)).isoformat() for days in (400, 900))
    everything = dict.fromkeys(report("", 1), ATTACK)
    changed: dict[str, dict[str, Any]] = {
        "evil-html": {
            **dict.fromkeys(("role", "agent_version", "cause", "hostname"), ATTACK),
            "exit_code": ATTACK,
            "errors": [{"mapping": ATTACK, "key": ATTACK, "error": ATTACK}],
        },
        "evil-terminal": {"role": "\x1b[2J\x1b[31mroot", "agent_version": "\u202e1.0"},
        "clock-ahead": {"finished": late, "last_success": late},
        "from-the-future": {"schema_version": 7, "finished": later},
        "numbers": {
            "totals": {"mappings": 10**300, "failed_mappings": -5},
            "consecutive_failures": 1e308,
            "finished": "0001-01-01T00:00:00+23:59",
        },
        "long-words": {
            "role": "x" * 5000,
            "agent_version": "y" * 5000,
            "exit_code": "z" * 9000,
        },
    }
    made = {
        name: json.dumps(report(name, 1, **some)).encode() for name, some in changed.items()
    }
    made |= {
        f"<b>{ATTACK[:20]}": json.dumps(report("b", 1)).encode(),
        "evil-everything": json.dumps({**everything, "schema_version": 1}).encode(),
        "broken-json": b'{"schema_version": 1, "exit_code"',
        "deep-json": b"[" * 100_000,
        "no-utf8": b"\xff\xfe\x00",
        "huge": b'{"schema_version": 1, "errors": "' + b"x" * (2 << 20) + b'"}',
    }
    return {f"{name}.json": data for name, data in made.items()}
