"""The metrics file, read by the parser of Prometheus' own client; dashboard and alerts, held to what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import s32s_agent
from s32s_agent.errors import DirectoryError
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.monitoring.metrics import HELP, metrics_text, snapshot_time, write_metrics

ROOT = Path(s32s_agent.__file__).parent.parent
RULES = ROOT / "etc" / "prometheus" / "s32s-agent.rules.yml"
DASHBOARD = ROOT / "etc" / "grafana" / "s32s-agent.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
RUN = LastRun.from_json(
    {
        "schema_version": 1,
        "agent_version": "0.1.0",
        "hostname": "web1",
        "role": "slave",
        "finished": "2026-11-22T20:55:00.500000+00:00",
        "seconds": 12.34,
        "exit_code": 3,
        "cause": "refused",
        "mappings": [
            {"name": 'we"b\\', "exit_code": 3, "withheld": 7},
            {"name": "data", "exit_code": 0, "withheld": 0},
            {
                "name": "data",
                "exit_code": 1,
                "withheld": 1,
                "snapshot": "20261122T200000Z-3fd2a1",
                "channel": "current",
                "pinned": "20261122T200000Z-3fd2a1",
            },
        ],
        "totals": {
            "copied": 12,
            "deleted": 1,
            "unchanged": 99,
            "skipped": 2,
            "failed": 0,
            "bytes": 4096,
        },
        "last_success": "2026-11-22T20:00:00Z",
        "consecutive_failures": 4,
    }
)


def samples(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Parse metrics as Prometheus does; a metric that stands twice is refused as the collector refuses it."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    seen = set()
    for family in text_string_to_metric_families(text.decode()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen
            seen.add(series)
            labels = {
                name: text for name, text in sample.labels.items() if name != "instance_name"
            }
            assert sample.labels["instance_name"] == "web"
            found.setdefault(sample.name.removeprefix("s32s_agent_"), []).append(
                (labels, sample.value)
            )
    return found


def test_the_metrics_say_what_the_record_says() -> None:
    """Every metric has its value, times as seconds since 1970, names of mappings unharmed."""
    found = samples(metrics_text(RUN, "web"))

    assert found == {
        "info": [({"version": "0.1.0", "role": "slave"}, 1)],
        "last_run_timestamp_seconds": [({}, 1795380900.5)],
        "last_success_timestamp_seconds": [({}, 1795377600)],
        "last_run_success": [({}, 0)],
        "last_exit_code": [({}, 3)],
        "duration_seconds": [({}, 12.34)],
        "consecutive_failures": [({}, 4)],
        "files": [
            ({"result": "copied"}, 12),
            ({"result": "deleted"}, 1),
            ({"result": "unchanged"}, 99),
            ({"result": "skipped"}, 2),
            ({"result": "failed"}, 0),
            ({"result": "withheld"}, 8),
        ],
        "bytes": [({}, 4096)],
        "mapping_snapshot_timestamp_seconds": [
            ({"mapping": "data", "channel": "current"}, 1795377600)
        ],
        "mapping_pinned": [({"mapping": "data"}, 1)],
        "mapping_exit_code": [({"mapping": 'we"b\\'}, 3), ({"mapping": "data"}, 1)],
    }


def test_no_success_is_longest_ago() -> None:
    """Without any success the time is 0, so that an alert on its age fires."""
    found = samples(metrics_text(replace(RUN, last_success=None), "web"))

    assert found["last_success_timestamp_seconds"] == [({}, 0)]


def test_a_text_that_is_no_id_of_a_snapshot_has_no_time() -> None:
    """A record may hold anything."""
    assert snapshot_time("no id") == 0


def test_a_metrics_file_can_be_read_by_the_collector(tmp_path: Path) -> None:
    """Mode 0644 whatever the umask, a label from the file's name, and nothing else left in the directory."""
    path = tmp_path / "web.prom"
    before = os.umask(0o077)
    try:
        write_metrics(str(path), RUN)
        write_metrics(str(path), RUN)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["web.prom"]
    assert samples(path.read_bytes()).keys() == HELP.keys()


def test_the_collector_never_sees_a_file_half_written(tmp_path: Path) -> None:
    """When the rename fails, what it would have replaced stays, and what was begun is gone and was never a .prom."""
    (tmp_path / "web.prom").mkdir()
    (tmp_path / "web.prom" / "child").touch()

    with pytest.raises(DirectoryError) as raised:
        write_metrics(str(tmp_path / "web.prom"), RUN)

    assert [each.name for each in tmp_path.iterdir()] == ["web.prom"]
    assert "ReadWritePaths=" in raised.value.remedy


# --- etc/prometheus and etc/grafana ---


def expressions() -> Iterator[str]:
    """Yield every expression of the alerts and of the dashboard."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    """An alert on a metric that does not exist would never fire."""
    used = {name for each in expressions() for name in re.findall(r"s32s_agent_(\w+)", each)}
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    queried = {
        name for each in variables for name in re.findall(r"s32s_agent_(\w+)", str(each))
    }

    assert queried
    assert used | queried <= HELP.keys()
    assert used >= HELP.keys() - {"mapping_exit_code", "info"}


def test_the_dashboard_is_one_that_grafana_can_take_over() -> None:
    """Panels have their own numbers and do not overlap, and the data source is a variable."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    assert dashboard["id"] is None
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}


@needs_promtool
def test_promtool_accepts_alerts_and_expressions(tmp_path: Path) -> None:
    """Every expression is PromQL, those of the dashboard too."""
    rules = [
        {"record": f"test:{number}", "expr": each.replace("$__interval", "5m")}
        for number, each in enumerate(expressions())
    ]
    every = tmp_path / "rules.yml"
    every.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    for file in (RULES, every):
        done = promtool("check", "rules", str(file))
        assert done.returncode == 0, done.stderr


@needs_promtool
def test_promtool_fires_the_alerts() -> None:
    """Each alert fires on what it is for, and is silent otherwise, by promtool's own clock."""
    done = promtool("test", "rules", str(Path(__file__).parent / "alert_cases.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_nothing_to_say_of_the_metrics() -> None:
    """The linter for metrics is content."""
    done = promtool("check", "metrics", text=metrics_text(RUN, "web"))

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def promtool(*arguments: str, text: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, check=False)


def test_what_a_killed_run_left_of_the_metrics_does_not_stay(tmp_path: Path) -> None:
    """Its temporary file goes with the next run; that of another agent's metrics is left alone."""
    ours, theirs = tmp_path / ".s32s-tmp.a.prom.x", tmp_path / ".s32s-tmp.b.prom.x"
    ours.touch()
    theirs.touch()

    write_metrics(str(tmp_path / "a.prom"), RUN)

    assert (ours.exists(), theirs.exists()) == (False, True)
