"""Where an agent's report is written, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.model import Location
from s32s_agent.monitoring.fleet_report import agent_id, report_key

PLACE = Location("bucketname", "fleet")


@pytest.mark.parametrize(
    ("hostname", "key"),
    [
        ("web1.example.net", "fleet/web1.example.net.json"),
        ("../../data/x", "fleet/-..-data-x.json"),
        ("..", "fleet/unknown.json"),
        ("", "fleet/unknown.json"),
        ("größe 1", "fleet/gr--e-1.json"),
        ("a" * 300, f"fleet/{'a' * 100}.json"),
    ],
)
def test_no_hostname_leads_out_of_the_prefix(hostname: str, key: str) -> None:
    """Of the name only what is plain in every key is used."""
    assert report_key(PLACE, hostname) == key


def test_a_bucket_alone_takes_reports() -> None:
    """Without a prefix the key has no slash."""
    assert report_key(Location("bucketname"), "web1") == "web1.json"


def test_an_agent_is_known_by_its_machine_and_its_state(tmp_path: Path) -> None:
    """Another machine, and another instance on it, are others; the machine's id itself does not show."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("0123456789abcdef0123456789abcdef\n")
    other.write_text("f" * 32)
    ids = {agent_id("/s", one), agent_id("/s", other), agent_id("/t", one)}

    assert len(ids) == 3
    assert agent_id("/s", one) == agent_id("/s", one)
    assert not any("01234567" in each for each in ids)
    assert agent_id("/s", tmp_path / "none") == ""
