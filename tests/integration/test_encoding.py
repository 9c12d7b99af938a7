"""What the locale says about characters: keys are UTF-8, whatever a terminal can show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.agents import Agent
from support.buckets import Bucket

pytestmark = pytest.mark.integration

KEY = "grüße.txt"


def configure(agent: Agent, bucket: Bucket, tmp_path: Path) -> Path:
    """Have one mapping with one object whose name is not ASCII; give the slave's directory."""
    top = tmp_path / "top"
    mapping = {"name": "one", "s3": f"{bucket.name}/data", "slave": str(top / "data")}
    top.mkdir()
    bucket.put("maps/one.json", json.dumps([mapping]).encode())
    bucket.put(f"data/{KEY}", b"hello\n")
    agent.configure(maps=f"{bucket.name}/maps", roots=[top])
    return top / "data"


def test_a_plan_shows_on_any_terminal(agent: Agent, bucket: Bucket, tmp_path: Path) -> None:
    """A character that standard output cannot carry is written as its escape."""
    configure(agent, bucket, tmp_path)
    run = agent.run("--once", "--dry-run", env={"PYTHONIOENCODING": "ascii"})

    assert run.exit_code == 0
    assert r"gr\xfc\xdfe.txt" in run.stdout


def test_file_names_that_are_not_utf8_are_refused(
    agent: Agent, bucket: Bucket, tmp_path: Path
) -> None:
    """In a locale with other file names every key would name another file, so no pass begins."""
    directory = configure(agent, bucket, tmp_path)
    other = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = agent.run("--once", "--log-format", "json", env=other)

    assert run.exit_code == 78
    assert "set PYTHONUTF8=1" in run.stderr
    assert not directory.exists()


def test_the_locale_of_cron_is_fine(agent: Agent, bucket: Bucket, tmp_path: Path) -> None:
    """Without any locale, as cron and systemd start it, names are what they are in S3."""
    directory = configure(agent, bucket, tmp_path)
    run = agent.run("--once", env={"LANG": None, "LC_ALL": None})

    assert run.exit_code == 0
    assert [path.name for path in directory.iterdir()] == [KEY]
