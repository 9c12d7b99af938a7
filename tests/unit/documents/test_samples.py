"""What people copy from the documents works: configs, maps, hooks and policies."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from support.fleets import NOW, report
from support.pages import PAGES, ROOT, blocks

from s32s_agent.config import config_file, map_file
from s32s_agent.config.settings import Settings
from s32s_agent.model import Location
from s32s_agent.monitoring.fleet import Fleet, fleet_text, read_report
from s32s_agent.monitoring.health import Limits

SNIPPETS = {
    (page, number): snippet
    for page, text in PAGES.items()
    for number, snippet in enumerate(blocks(text, "yaml"))
}
CONFIGS = {place: text for place, text in SNIPPETS.items() if not text.startswith("- ")}
MAPS = {place: text for place, text in SNIPPETS.items() if text.startswith("- ")}
WITHOUT_CONFIG = "{role: slave, maps: bucketname/S32SMAP/foo/data, roots: [/srv]}"


@pytest.mark.parametrize("place", CONFIGS, ids=str)
def test_a_config_is_valid(place: tuple[str, int]) -> None:
    """It is what the agent takes, and names the bucket of all samples."""
    settings = config_file.parse(CONFIGS[place], "sample")

    assert str(settings.maps.location).startswith("bucketname/")


@pytest.mark.parametrize("place", MAPS, ids=str)
def test_a_map_is_valid_below_the_roots_of_the_config_before_it(
    place: tuple[str, int],
) -> None:
    """It is what the agent takes, and hooks name only mappings that it has."""
    page, number = place
    settings = config_file.parse(CONFIGS.get((page, number - 1), WITHOUT_CONFIG), "sample")
    rules = map_file.MapRules(settings.role, settings.roots, settings.state_dir, ())
    read = map_file.read_maps([map_file.MapFile("map.yaml", MAPS[place].encode())], rules)
    named = settings.hooks.on_change.by_mapping

    assert read.failures == ()
    assert set(named) <= {mapping.name for mapping in read.mappings}


def test_there_are_samples() -> None:
    """The two tests above have something to test."""
    assert len(CONFIGS) > 5
    assert len(MAPS) > 1


def test_the_sample_map_is_the_one_in_etc() -> None:
    """The sample in the text is the sample file, but for white space."""
    sample = (ROOT / "etc" / "maps" / "sample.json").read_text(encoding="utf-8")

    assert "".join(sample.split()) in "".join(PAGES["docs/use/maps.md"].split())


def test_the_table_of_the_fleet_is_what_is_printed() -> None:
    """The page shows three servers as `--fleet` prints them, the worst first."""
    minute = timedelta(minutes=1)
    reports = {
        "web3": report(
            "web3",
            1,
            finished=(NOW - 4 * minute).isoformat(),
            last_success=(NOW - 120 * minute).isoformat(),
            exit_code=69,
            cause="unavailable",
            consecutive_failures=24,
            totals={"mappings": 4, "failed_mappings": 1},
        ),
        "db1": report(
            "db1",
            1,
            role="master",
            finished=(NOW - 3 * minute).isoformat(),
            last_success=(NOW - 3 * minute).isoformat(),
            totals={"mappings": 2, "failed_mappings": 0},
        ),
        "web1": report(
            "web1",
            1,
            finished=(NOW - 2 * minute).isoformat(),
            last_success=(NOW - 2 * minute).isoformat(),
            totals={"mappings": 4, "failed_mappings": 0},
        ),
    }
    servers = tuple(
        read_report(name, json.dumps(each).encode(), NOW, Limits())
        for name, each in reports.items()
    )
    shown = re.findall(r"^    (\S.*)$", PAGES["docs/use/fleet.md"], re.MULTILINE)

    assert shown[0] == "$ s32s-agent --fleet bucketname/S32SFLEET"
    fleet = Fleet(Location("bucketname", "S32SFLEET"), NOW, servers)
    assert shown[1:] == fleet_text(fleet).splitlines()


def hooks_of(settings: Settings) -> list[tuple[str, ...]]:
    hooks = settings.hooks
    named = [each for commands in hooks.on_change.by_mapping.values() for each in commands]
    return [*hooks.before, *hooks.on_change.of_all, *named, *hooks.after, *hooks.on_failure]


def test_no_sample_asks_the_service_for_what_it_may_not_do() -> None:
    """A hook that reloads by itself would fail in every run of the shipped unit, and stay pending for ever."""
    commands = [
        command
        for text in CONFIGS.values()
        for command in hooks_of(config_file.parse(text, "sample"))
    ]
    # Those in comments and in messages, which nobody parses.
    prose = (ROOT / "etc" / "config.yaml").read_text(encoding="utf-8")
    prose += "".join(PAGES.values())
    shown = [tuple(each.split(", ")) for each in re.findall(r"\[(/[^\[\]]+)\]", prose)]
    forbidden = {"systemctl", "service", "sudo"}

    assert len(commands) > 4
    assert len(shown) > 3
    assert [
        command
        for command in (*commands, *shown)
        if {Path(word).name for word in command} & forbidden
    ] == []


def policies(page: str) -> list[set[str]]:
    """Return the actions of each policy that a page links to, in its order."""
    files = dict.fromkeys(re.findall(r"\]\((?:\.\./)*(etc/iam/[^)]*)", PAGES[page]))
    return [
        set(re.findall(r"s3:[A-Z]\w+", (ROOT / file).read_text(encoding="utf-8")))
        for file in files
    ]


def test_the_policies_allow_what_is_documented() -> None:
    """A slave's policy writes nothing, a master's deletes no versions, and both may list, which 404 needs."""
    slave, master = policies("docs/use/permissions.md")[:2]

    assert slave == {"s3:ListBucket", "s3:GetObject"}
    assert slave < master
    assert "s3:AbortMultipartUpload" in master
    assert [each for each in master if "Version" in each] == ["s3:GetBucketVersioning"]


def test_the_policies_of_the_fleet_allow_what_is_documented() -> None:
    """An agent may write reports and nothing more, a reader may read them and nothing more."""
    report, fleet = policies("docs/use/fleet.md")

    assert report == {"s3:PutObject"}
    assert fleet == {"s3:ListBucket", "s3:GetObject"}
