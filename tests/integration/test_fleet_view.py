"""`--fleet` on a real server: agents that report, and two hundred reports of which some are hostile."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.agents import Agent
from support.buckets import Bucket
from support.fleets import SERVERS, fleet
from support.s3_messages import Reply, error, is_get
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.monitoring.fleet import MAX_SERVERS
from s32s_agent.monitoring.fleet_report import MAX_REPORT_BYTES

pytestmark = pytest.mark.integration


@pytest.fixture
def reports(bucket: Bucket) -> str:
    """The place of two hundred reports."""
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda pair: bucket.put(f"fleet/{pair[0]}", pair[1]), fleet().items()))
    bucket.put("fleet/notes.txt", b"no report")
    return f"{bucket.name}/fleet"


def test_an_agent_that_reports_is_seen(slave: Slave, bucket: Bucket) -> None:
    """What the config names is read without another word, and who may only read sees it, too."""
    slave.publish({"a": b"alpha"})
    slave.configure(monitoring={"report": f"{bucket.name}/fleet"})
    assert slave.once().exit_code == 0
    reader = bucket.server.identities["reader"]
    env = {"AWS_ACCESS_KEY_ID": reader.access_key, "AWS_SECRET_ACCESS_KEY": reader.secret_key}

    run = slave.agent.run("--fleet", env=env)

    head, server, total = run.stdout.splitlines()
    assert (run.exit_code, run.stderr) == (0, "")
    assert head.split()[:3] == ["SERVER", "STATE", "ROLE"]
    assert server.split()[1:4] == ["ok", "slave", "1/1"]
    assert total == f"1 server at {bucket.name}/fleet: 1 ok"


def test_a_fleet_of_two_hundred_is_read_whole(
    agent: Agent, bucket: Bucket, reports: str, tmp_path: Path
) -> None:
    """Every report is a server, the hostile ones too; the others' files are none; one call gives JSON and page."""
    agent.configure(maps=f"{bucket.name}/maps", roots=[tmp_path])
    page = tmp_path / "fleet.html"

    run = agent.run("--fleet", reports, "--json", "--html", str(page))

    document = json.loads(run.stdout)
    servers = {each["name"]: each for each in document["servers"]}
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(servers) == SERVERS
    assert {key[:-5] for key in fleet()} <= servers.keys()
    assert servers["huge"]["health"] == "unknown"
    assert f"expected at most {MAX_REPORT_BYTES}" in servers["huge"]["reason"]
    assert page.read_text().count("<tr") == SERVERS + 1
    assert page.stat().st_mode & 0o777 == 0o644
    plain = agent.run("--fleet", reports)
    assert len(plain.stdout.splitlines()) == SERVERS + 2
    assert "\x1b" not in plain.stdout


def test_who_names_the_place_needs_no_config(
    agent: Agent, reports: str, tmp_path: Path
) -> None:
    """On any computer with credentials, `--fleet bucket/prefix` is enough."""
    env = {"AWS_ENDPOINT_URL": agent.server.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}

    run = agent.run("--fleet", f"s3://{reports}/", "--html", str(tmp_path / "x.html"), env=env)

    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")
    assert (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--fleet",), 2, "the config has no monitoring.report"),
        (("--fleet", "x"), 2, "expected bucket/prefix"),
        (("--fleet", "no-such-bucket/fleet"), 69, "no-such-bucket"),
        (("--fleet", "{bucket}/fleet", "--html", "/nonexistent/x.html"), 73, "/nonexistent"),
    ],
)
def test_a_fleet_that_cannot_be_shown(
    agent: Agent, bucket: Bucket, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:  # fmt: skip
    """The message names what is wrong, with the status of its cause."""
    agent.configure(maps=f"{bucket.name}/maps", roots=[tmp_path])
    words = (each.format(bucket=bucket.name) for each in arguments)

    run = agent.run(*words, "--log-format", "json", "--config", str(agent.config_file))

    assert (run.exit_code, run.stdout) == (exit_code, "")
    assert message in run.stderr


def test_instances_on_one_computer_have_prefixes_of_their_own(
    agent: Agent, bucket: Bucket, tmp_path: Path
) -> None:
    """Reports below the prefix are read, too, and named by where they are."""
    good = next(iter(fleet().values()))
    for key in ("fleet/web/host1.json", "fleet/db/host1.json"):
        bucket.put(key, good)
    agent.configure(maps=f"{bucket.name}/maps", roots=[tmp_path])

    run = agent.run("--fleet", f"{bucket.name}/fleet", "--json")

    assert {each["name"] for each in json.loads(run.stdout)["servers"]} == {
        "web/host1",
        "db/host1",
    }


def test_a_report_that_cannot_be_fetched_is_one_line(
    agent: Agent, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """When one report is denied or vanishes, the others are shown."""
    agent.configure(
        maps="bucket/maps", roots=[tmp_path], s3={"endpoint_url": scripted.endpoint_url}
    )
    names = list(fleet())[:4]
    for name in names:
        scripted.put(f"fleet/{name}", fleet()[name])
    scripted.on(is_get(f"fleet/{names[0]}"), error(403, "AccessDenied"))
    scripted.on(is_get(f"fleet/{names[1]}"), error(404, "NoSuchKey"))
    scripted.on(is_get(f"fleet/{names[2]}"), Reply(200, b"x" * 100, close_early=10))

    run = agent.run("--fleet", "bucket/fleet", "--json")

    found = {each["name"] + ".json": each for each in json.loads(run.stdout)["servers"]}
    assert (run.exit_code, set(found)) == (0, set(names))
    assert [found[name]["health"] == "unknown" for name in names] == [True, True, True, False]
    assert "AccessDenied" in found[names[0]]["reason"]


def test_a_prefix_full_of_other_objects_is_not_read_without_end(
    agent: Agent, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """Beyond a number of objects there is one line that says so, and the others are left alone."""
    agent.configure(
        maps="bucket/maps", roots=[tmp_path], s3={"endpoint_url": scripted.endpoint_url}
    )
    for number in range(MAX_SERVERS + 1):
        scripted.put(f"fleet/x{number:05}.txt", b"")

    run = agent.run("--fleet", "bucket/fleet")

    assert run.stdout.splitlines()[1].startswith("...")
    assert f"there are more than {MAX_SERVERS:,} objects" in run.stdout
