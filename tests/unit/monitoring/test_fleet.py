"""How a report is read, whoever wrote it, and how the fleet is shown."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import JSON
from support.fleets import ATTACK, NOW, fleet, hostile, report

from s32s_agent.model import Location
from s32s_agent.monitoring.fleet import (
    Fleet,
    Server,
    fleet_document,
    fleet_text,
    read_report,
)
from s32s_agent.monitoring.fleet_page import fleet_page
from s32s_agent.monitoring.health import Health, Limits

LIMITS = Limits(900, 3600)
PLACE = Location("bucketname", "fleet")


def read(data: bytes, name: str = "web1") -> Server:
    return read_report(name, data, NOW, LIMITS)


def read_changed(**changes: Any) -> Server:
    return read(json.dumps(report("web1", 1, **changes)).encode())


def test_a_report_is_one_line() -> None:
    """Role, mappings, age, failures and version stand in their columns; what is well has no reason."""
    ago = (NOW - timedelta(minutes=4)).isoformat()
    good = read_changed(
        finished=ago, last_success=ago, totals={"mappings": 4, "failed_mappings": 0}
    )
    bad = read_changed(
        exit_code=69,
        cause="unavailable",
        role="master",
        finished=ago,
        last_success=(NOW - timedelta(hours=2)).isoformat(),
        consecutive_failures=24,
        totals={"mappings": 4, "failed_mappings": 1},
        errors=[{"mapping": "", "key": "", "error": "no route to host"}],
    )

    why = "not in sync for 2 hours: unavailable (exit status 69), 24 times in a row: no route to host"
    assert fleet_text(Fleet(PLACE, NOW, (bad, good))).splitlines() == [
        "SERVER  STATE     ROLE    IN SYNC  AGE        FAILURES  VERSION",
        f"web1    critical  master  3/4      4 minutes  24        0.1.0    {why}",
        "web1    ok        slave   4/4      4 minutes  0         0.1.0",
        "2 servers at bucketname/fleet: 1 critical, 1 ok",
    ]


def test_an_empty_fleet_is_shown() -> None:
    """An empty prefix is not an error, and is seen."""
    lines = fleet_text(Fleet(PLACE, NOW, ())).splitlines()

    assert lines[-1] == "0 servers at bucketname/fleet"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken-json", "its report cannot be read: line 1, column 34: not valid JSON"),
        ("deep-json", "its report cannot be read: not valid JSON, it nests too deeply"),
        ("no-utf8", "its report cannot be read: 'utf-8' codec can't decode byte 0xff"),
        ("from-the-future", "its report has version 7, expected 1: upgrade the older agent"),
        ("clock-ahead", "its clock, or this one, is wrong by 400 days or more"),
    ],
)
def test_a_report_that_cannot_be_judged_is_unknown(name: str, reason: str) -> None:
    """Its server has a line, with the reason, and does not look well."""
    server = read(hostile()[f"{name}.json"], name)

    assert (server.name, server.health) == (name, Health.UNKNOWN)
    assert server.reason.startswith(reason)


@pytest.mark.parametrize("data", [b"[]", b"1", b"{}", b"null", b'{"schema_version": "1"}'])
def test_what_is_no_report_is_unknown(data: bytes) -> None:
    """Some other JSON file is not taken for a server."""
    server = read(data)

    assert server.health is Health.UNKNOWN
    assert server.reason == "its report cannot be read: expected an object with schema_version"


def test_no_report_writes_to_the_terminal() -> None:
    """Every line is one line, printable and of a length that can be read."""
    servers = tuple(read(data, name) for name, data in fleet().items())
    lines = fleet_text(Fleet(PLACE, NOW, servers)).split("\n")[:-1]

    assert len(lines) == len(servers) + 2
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1000


def test_no_report_writes_markup() -> None:
    """Whatever stands in a report or its name comes out as text: the page has the elements of its template only."""
    servers = tuple(read(data, name) for name, data in hostile().items())
    page = fleet_page(Fleet(Location("bucketname", ATTACK), NOW, servers))

    assert "<img" not in page
    assert page.count("<script>") == 1
    assert page.count("<tr") == 1 + len(servers)
    assert "&lt;img src=x onerror" in page
    assert "$" not in page.partition("<script>")[0]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No address stands in it, and its policy forbids everything but its own style and script."""
    page = fleet_page(Fleet(PLACE, NOW, (read_changed(),)))

    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert page.count("'sha256-") == 2
    assert "unsafe" not in page


def test_a_rollout_can_be_watched() -> None:
    """The newest snapshot first, and the servers that a pin holds back."""
    old, new = "20261201T094500Z-81c02e", "20261201T101500Z-3fd2a1"
    at_old = {
        "name": "site",
        "exit_code": 0,
        "snapshot": old,
        "channel": "current",
        "pinned": old,
    }
    at_new = {"name": "site", "exit_code": 0, "snapshot": new, "channel": "current"}
    servers = tuple(read_changed(mappings=[each]) for each in (at_new, at_old, at_new))

    fleet = Fleet(PLACE, NOW, servers)

    line = f"site: 2 of 3 have {new}, 1 of 3 have {old}, 1 pinned"
    assert line in fleet_text(fleet).splitlines()
    assert fleet_document(fleet)["rollouts"] == [line]
    (of_channel,) = json.loads(json.dumps(fleet_document(fleet)))["channels"]
    assert (of_channel["at"], of_channel["total"], of_channel["percent"]) == (2, 3, 66)
    page = fleet_page(fleet)
    assert f"2 of 3 (66 %) have {new}, 1 pinned" in page
    assert 'max="3" value="2"' in page


def test_the_fleet_as_json() -> None:
    """Plain values, the worst first, with the numbers."""
    document = json.loads(json.dumps(fleet_document(Fleet(PLACE, NOW, (read_changed(),)))))

    (server,) = document["servers"]
    assert document["totals"] == {"critical": 0, "unknown": 0, "warning": 0, "ok": 1}
    assert document["location"] == "bucketname/fleet"
    assert (server["name"], server["health"], server["role"]) == ("web1", "ok", "slave")


@given(st.dictionaries(st.sampled_from(sorted(report("", 1))), JSON), st.text())
def test_whatever_a_report_holds_is_one_line_and_one_row(
    changes: dict[str, Any], name: str
) -> None:
    """No value of any field breaks the table, the page, or the JSON."""
    server = read(json.dumps({**report("", 1), **changes}).encode(), name)
    shown = Fleet(PLACE, NOW, (server,))

    assert (
        len([line for line in fleet_text(shown).split("\n")[:-1] if line.isprintable()]) == 3
    )
    assert fleet_page(shown).count("<tr") == 2
    json.dumps(fleet_document(shown))
