"""What a run publishes, and that no monitoring service can change it. The agent as a process, on a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.agents import AgentRun, parse_events
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.ping_server import SECRET, PingServer
from support.slaves import Slave

from s32s_agent import __version__

pytestmark = pytest.mark.integration

MACHINE_ID = Path("/etc/machine-id")
"""What tells servers of one host name apart."""

STATUS_FILE = "last_run.json"
BAD_ENDPOINT = {"endpoint_url": "http://127.0.0.1:9"}


def metrics(path: Path) -> dict[str, float]:
    """Read the metrics that have no label but the agent's name."""
    return {
        sample.name.removeprefix("s32s_agent_"): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
        if sample.labels == {"instance_name": path.stem}
    }


def reports(bucket: Bucket) -> dict[str, Any]:
    keys = [key for key in bucket.keys() if key.startswith("fleet/")]  # noqa: SIM118 (no dict)
    return {key: json.loads(bucket.get(key)) for key in keys}


def told(bucket: Bucket) -> dict[str, Any]:
    """Return the reports without the ids of the agents."""
    return {key: {**each, "agent_id": None} for key, each in reports(bucket).items()}


def last_run(slave: Slave) -> dict[str, Any]:
    document = json.loads((slave.agent.state_dir / STATUS_FILE).read_text())
    assert isinstance(document, dict)
    return document


def warnings(run: AgentRun) -> list[str]:
    return [each["event"] for each in run.events if each["level"] == "warning"]


def hostname() -> str:
    return os.uname().nodename


def test_a_run_is_published_everywhere(slave: Slave, bucket: Bucket, tmp_path: Path) -> None:
    """Metrics, report and pings say what last_run.json says, and the log's last event is still the last."""
    slave.publish({"a": b"alpha", "b": b"beta"})
    prom = tmp_path / "web.prom"
    with PingServer() as server:
        monitoring = {
            "metrics_file": str(prom),
            "ping_url": server.url,
            "report": f"{bucket.name}/fleet",
        }
        slave.configure(monitoring=monitoring)
        run = slave.once()

    document = last_run(slave)
    assert (run.exit_code, run.events[-1]["event"], warnings(run)) == (0, "run.finished", [])
    assert metrics(prom)["last_run_success"] == 1
    assert metrics(prom)["bytes"] == 9
    assert metrics(prom)["last_success_timestamp_seconds"] == pytest.approx(
        datetime.fromisoformat(document["finished"]).timestamp(), abs=0.01
    )
    assert told(bucket) == {f"fleet/{hostname()}.json": {**document, "agent_id": None}}
    assert server.events() == ["start", "0"]
    assert server.pings[1].body["totals"] == document["totals"]
    assert server.pings[1].body["run_id"] == run.finished["run_id"]
    assert SECRET not in run.stderr


def test_a_failed_run_is_published_everywhere_it_can_be(
    slave: Slave, bucket: Bucket, tmp_path: Path
) -> None:
    """Without S3 the metrics and the ping still work; the report fails, which is a warning and no other exit status."""
    slave.publish({"a": b"alpha"})
    prom = tmp_path / "web.prom"
    with PingServer() as server:
        monitoring = {
            "metrics_file": str(prom),
            "ping_url": server.url,
            "report": f"{bucket.name}/fleet",
        }
        slave.configure(monitoring=monitoring)
        assert slave.once().exit_code == 0
        success = last_run(slave)["finished"]
        slave.configure(monitoring=monitoring, s3=BAD_ENDPOINT)
        run = slave.once()

    assert (run.exit_code, warnings(run)) == (69, ["report.failed"])
    assert metrics(prom)["last_exit_code"] == 69
    assert metrics(prom)["consecutive_failures"] == 1
    assert metrics(prom)["last_success_timestamp_seconds"] > 1
    assert server.events() == ["start", "0", "start", "69"]
    assert "127.0.0.1:9" in server.pings[3].body["errors"][0]["error"]
    assert last_run(slave)["last_success"] == success


@pytest.mark.parametrize("behaviour", ["500", "close"])
def test_a_monitor_that_is_down_changes_no_exit_status(slave: Slave, behaviour: str) -> None:
    """A ping that fails twice is a warning, and the run does its work."""
    slave.publish({"a": b"alpha"})
    with PingServer(behaviour) as server:
        slave.configure(monitoring={"ping_url": server.url})
        run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {"a": b"alpha"})
    assert warnings(run) == ["ping.failed"] * 2
    assert server.events() == ["start", "start", "0", "0"]
    assert SECRET not in run.stderr
    assert "127.0.0.1" in run.named("ping.failed")[0]["error"]


def test_metrics_that_cannot_be_written_change_no_exit_status(
    slave: Slave, tmp_path: Path
) -> None:
    """A directory that is missing is a warning with a remedy, and `--check` warns of it before."""
    slave.configure(monitoring={"metrics_file": str(tmp_path / "none" / "a.prom")})
    slave.publish({"a": b"alpha"})

    check = slave.agent.run("--check")
    run = slave.once()

    assert (check.exit_code, "warning monitoring.metrics_file" in check.stdout) == (0, True)
    assert (run.exit_code, warnings(run)) == (0, ["metrics.failed"])
    assert "ReadWritePaths=" in run.named("metrics.failed")[0]["remedy"]


def tell_everybody(slave: Slave, bucket: Bucket, server: PingServer, directory: Path) -> Path:
    """Configure metrics, pings and reports; give the metrics file."""
    prom = directory / "web.prom"
    slave.configure(
        monitoring={
            "metrics_file": str(prom),
            "ping_url": server.url,
            "report": f"{bucket.name}/fleet",
        }
    )
    return prom


def test_check_tries_the_monitoring_without_publishing(
    slave: Slave, bucket: Bucket, tmp_path: Path
) -> None:
    """The directory and the bucket are looked at; no metrics, no report, no ping come of it."""
    slave.publish({"a": b"alpha"})
    with PingServer() as server:
        prom = tell_everybody(slave, bucket, server, tmp_path)
        check = slave.agent.run("--check")

    assert check.exit_code == 0
    assert f'ok      monitoring.metrics_file: "{tmp_path}" can be written' in check.stdout
    assert f"ok      monitoring.report: {bucket.name}/fleet can be reached" in check.stdout
    assert (server.pings, prom.exists(), reports(bucket)) == ([], False, {})


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("metrics_file", "taken.prom", 'taken.prom" is a directory'),
        ("metrics_file", "file/a.prom", "can write: Not a directory"),
        ("report", "no-such-bucket/fleet", "no-such-bucket"),
    ],
)
def test_check_warns_of_monitoring_that_cannot_work(
    slave: Slave, tmp_path: Path, option: str, value: str, problem: str
) -> None:
    """It is a warning, as in a run, and the exit status stays 0."""
    (tmp_path / "taken.prom").mkdir()
    (tmp_path / "file").touch()
    slave.publish({"a": b"alpha"})
    slave.configure(
        monitoring={option: value if option == "report" else str(tmp_path / value)}
    )

    check = slave.agent.run("--check")

    (warning,) = [line for line in check.stdout.splitlines() if line.startswith("warning")]
    assert check.exit_code == 0
    assert f"monitoring.{option}" in warning
    assert problem in warning


def test_a_report_that_is_denied_changes_no_exit_status(slave: Slave, bucket: Bucket) -> None:
    """An agent that may read and not write mirrors as before, and says what it lacks."""
    reader = bucket.server.identities["reader"]
    keys = {
        "AWS_ACCESS_KEY_ID": reader.access_key,
        "AWS_SECRET_ACCESS_KEY": reader.secret_key,
    }
    slave.publish({"a": b"alpha"})
    slave.configure(monitoring={"report": f"{bucket.name}/fleet"})

    check = slave.agent.run("--check", env=keys)
    run = slave.once(env=keys)

    assert (check.exit_code, "monitoring.report" in check.stdout) == (0, True)
    assert (run.exit_code, warnings(run)) == (0, ["report.failed"])
    assert "AccessDenied" in run.named("report.failed")[0]["error"]
    assert reports(bucket) == {}


@pytest.mark.skipif(not MACHINE_ID.is_file(), reason=f"{MACHINE_ID} does not exist")
def test_a_server_that_hides_behind_the_name_of_another_is_noticed(
    slave: Slave, bucket: Bucket
) -> None:
    """Two agents of one host name overwrite each other's report: both say so, and one alone never does."""
    slave.publish({"a": b"alpha"})
    slave.configure(monitoring={"report": f"{bucket.name}/fleet"})
    key = f"fleet/{hostname()}.json"
    alone = [warnings(slave.once()) for _ in range(2)]
    mine = bucket.get(key)
    bucket.put(key, json.dumps({**json.loads(mine), "agent_id": "another"}).encode())

    run = slave.once()

    assert alone == [[], []]
    assert (run.exit_code, warnings(run)) == (0, ["report.replaced"])
    assert key in run.named("report.replaced")[0]["error"]
    assert reports(bucket)[key]["agent_id"] == json.loads(mine)["agent_id"]


@pytest.mark.parametrize("there", [b"", b"no JSON", b"[]", b"{}", b'{"agent_id": null}'])
def test_what_stands_in_the_place_of_a_report_is_not_believed(
    slave: Slave, bucket: Bucket, there: bytes
) -> None:
    """Whatever it is, the report replaces it, without a warning."""
    slave.publish({"a": b"alpha"})
    slave.configure(monitoring={"report": f"{bucket.name}/fleet"})
    key = f"fleet/{hostname()}.json"
    bucket.put(key, there)

    assert warnings(slave.once()) == []
    assert reports(bucket)[key]["exit_code"] == 0


def test_a_dry_run_publishes_nothing(slave: Slave, bucket: Bucket, tmp_path: Path) -> None:
    """`--dry-run` touches nothing, and a monitor is something."""
    slave.publish({"a": b"alpha"})
    with PingServer() as server:
        prom = tell_everybody(slave, bucket, server, tmp_path)
        run = slave.once("--dry-run")

    assert (run.exit_code, server.pings, prom.exists()) == (0, [], False)
    assert (reports(bucket), slave.agent.state_dir.exists()) == ({}, False)


def test_a_run_over_one_mapping_is_not_taken_for_a_run_over_all(slave: Slave) -> None:
    """After `--map`, the failures of the full runs still count, and no monitoring hears of success."""
    slave.publish_map(slave.mapping(), slave.mapping("other", "other", files=["missing"]))
    slave.publish({"a": b"alpha"})
    with PingServer() as server:
        slave.configure(monitoring={"ping_url": server.url})
        assert slave.once().exit_code == 65
        told = server.events()
        assert slave.once("--map", "site").exit_code == 0

    assert (told, server.events()) == (["start", "65"], ["start", "65"])
    document = last_run(slave)
    assert (document["only"], document["exit_code"]) == (["site"], 0)
    assert (document["last_success"], document["consecutive_failures"]) == (None, 1)
    assert slave.agent.run("--status", "--nagios").exit_code == 2


def test_a_run_that_is_stopped_tells_so(slave: Slave, bucket: Bucket, tmp_path: Path) -> None:
    """SIGTERM in the middle: the status of the signal is published everywhere, and the record is written."""
    slave.publish({f"k{number}": b"x" * 100 for number in range(40)})
    with (
        PingServer() as server,
        CountingProxy(bucket.server.endpoint_url) as proxy,
        (tmp_path / "log").open("wb") as log,
    ):
        slave.configure(
            s3={"endpoint_url": proxy.endpoint_url}, monitoring={"ping_url": server.url}
        )
        proxy.hold_after(5)
        command, env = slave.agent.command("--once"), slave.agent.environment()
        with subprocess.Popen(command, env=env, stderr=log) as process:
            assert proxy.wait_for(6)
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)

    assert (code, server.events()) == (143, ["start", "143"])
    document = last_run(slave)
    assert (document["exit_code"], document["cause"]) == (143, "stopped")
    assert document["consecutive_failures"] == 1


def test_a_signal_while_a_run_is_published_loses_no_result(
    slave: Slave, tmp_path: Path
) -> None:
    """The work is done when the last ping hangs: SIGTERM does not turn a success into a failure."""
    slave.publish({"a": b"alpha"})
    log = tmp_path / "log"
    with PingServer() as server, log.open("wb") as stderr:
        slave.configure(monitoring={"ping_url": server.url})
        server.change("hang", after=1)
        command, env = slave.agent.command("--once"), slave.agent.environment()
        with subprocess.Popen(command, env=env, stderr=stderr) as process:
            assert server.wait_for(2)
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)

    events = parse_events(log.read_text())
    assert (code, last_run(slave)["exit_code"]) == (0, 0)
    assert [each["event"] for each in events[-2:]] == ["ping.failed", "run.finished"]


def test_a_run_that_finds_the_lock_held_publishes_nothing(
    slave: Slave, bucket: Bucket, tmp_path: Path
) -> None:
    """Exit status 75 says nothing of the files; the other run publishes its result, and last_run.json keeps it."""
    slave.publish({"a": b"alpha"})
    assert slave.once().exit_code == 0
    before = last_run(slave)
    slave.publish({"b": b"beta"})
    prom = tmp_path / "web.prom"
    with PingServer() as server, CountingProxy(bucket.server.endpoint_url) as proxy:
        slave.configure(s3={"endpoint_url": proxy.endpoint_url})
        proxy.hold_after(0)
        command, env = slave.agent.command("--once"), slave.agent.environment()
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
            assert proxy.wait_for(1)
            slave.configure(monitoring={"ping_url": server.url, "metrics_file": str(prom)})
            run = slave.once()
            proxy.release()
            assert process.wait(60) == 0

    assert (run.exit_code, server.pings, prom.exists()) == (75, [], False)
    shown = json.loads(slave.agent.run("--status", "--json").stdout)
    assert shown["last_skipped"]["holder"]["pid"] == process.pid
    assert shown["run_id"] != before["run_id"]


def test_a_run_that_cannot_begin_tells_so(slave: Slave, tmp_path: Path) -> None:
    """A state directory that cannot be created ends the run before it begins, which is published."""
    prom = tmp_path / "web.prom"
    with PingServer() as server:
        slave.configure(
            state_dir=str(tmp_path / "no" / "state"),
            monitoring={"ping_url": server.url, "metrics_file": str(prom)},
        )
        run = slave.once()

    assert (run.exit_code, server.events()) == (73, ["73"])
    assert "no/state" in server.pings[0].body["errors"][0]["error"]
    assert metrics(prom)["last_exit_code"] == 73


def test_a_result_that_cannot_be_written_is_published_as_a_failure(slave: Slave) -> None:
    """When last_run.json cannot be replaced the run ends with 73, which is published."""
    slave.publish({"a": b"alpha"})
    slave.agent.state_dir.mkdir()
    (slave.agent.state_dir / STATUS_FILE).mkdir()
    with PingServer() as server:
        slave.configure(monitoring={"ping_url": server.url})
        run = slave.once()

    assert (run.exit_code, run.finished["exit_code"], server.events()) == (
        73,
        73,
        ["start", "73"],
    )
    assert run.events[-1]["event"] == "run.finished"
    assert (slave.target / "a").read_bytes() == b"alpha"


# --- --status ---


def age(slave: Slave, **ago: timedelta) -> None:
    """Make times in last_run.json as old as is said."""
    document = last_run(slave)
    now = datetime.now(UTC)
    document |= {name: (now - each).isoformat() for name, each in ago.items()}
    (slave.agent.state_dir / STATUS_FILE).write_text(json.dumps(document))


def test_nagios_sees_a_server_grow_old(slave: Slave) -> None:
    """Exit 0, 1, 2 and 3 as Nagios has them, by the age of the last success; one line each time."""
    slave.publish({"a": b"alpha"})
    codes = [slave.agent.run("--status", "--nagios").exit_code]
    assert slave.once().exit_code == 0
    runs = [slave.agent.run("--status", "--nagios")]
    for minutes in (20, 70):
        old = timedelta(minutes=minutes)
        age(slave, finished=old, last_success=old)
        runs.append(slave.agent.run("--status", "--nagios"))
    runs.append(slave.agent.run("--status", "--nagios", "--warn", "2h", "--crit", "1d"))

    assert codes + [run.exit_code for run in runs] == [3, 0, 1, 2, 0]
    assert [run.stdout.count("\n") for run in runs] == [1, 1, 1, 1]
    assert runs[0].stdout.startswith("S32S-AGENT OK - in sync ")
    assert "no run for 1 hour | age=42" in runs[2].stdout
    assert ";7200;86400;0" in runs[3].stdout


@pytest.mark.parametrize("what", ["no config", "wrong config", "damaged"])
def test_nagios_gets_unknown_when_nothing_is_known(slave: Slave, what: str) -> None:
    """Whatever is in the way is UNKNOWN on standard output, not an exit status of the agent's own."""
    if what == "no config":
        slave.agent.config_file.unlink()
    elif what == "wrong config":
        slave.agent.config_file.write_text("role: |\n  a | b\n")
    else:
        slave.agent.state_dir.mkdir()
        (slave.agent.state_dir / STATUS_FILE).write_text("{")
    arguments = ("--status", "--nagios", "--config", str(slave.agent.config_file))

    run = slave.agent.run(*arguments, "--log-format", "json")

    assert (run.exit_code, run.stdout.count("\n"), run.stderr) == (3, 1, "")
    assert run.stdout.startswith("S32S-AGENT UNKNOWN - ")
    assert "|" not in run.stdout


def test_a_monitor_of_the_group_may_read_the_status(slave: Slave) -> None:
    """Whoever may enter the state directory, mode 0750, may read last_run.json, mode 0644, whatever the umask."""
    slave.publish({"a": b"alpha"})
    before = os.umask(0o077)
    try:
        assert slave.once().exit_code == 0
    finally:
        os.umask(before)

    state = slave.agent.state_dir
    modes = [each.stat().st_mode & 0o777 for each in (state / STATUS_FILE, state / "index.db")]
    assert modes == [0o644, 0o600]
    assert last_run(slave)["agent_version"] == __version__
