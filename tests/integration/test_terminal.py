"""What a person at a terminal sees of a run, and no program. With a real server and a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from support.programs import needs_terminal
from support.slaves import Slave

pytestmark = pytest.mark.integration

PROGRESS = re.compile(
    r"site  \[[#.]{20}\]  \d/10  [\d.]+ k?B/300 kB  [\d.]+ k?B/s  \d:\d\d left"
)
GREEN = "\x1b[32m"


def run(
    slave: Slave, *arguments: str, at: str, log: Path, env: dict[str, str] | None = None
) -> str:
    """Run the agent with one of its outputs, `stdout` or `stderr`, at a terminal; give what that shows."""
    ours, its = pty.openpty()
    with (
        log.open("wb") as other,
        subprocess.Popen(
            slave.agent.command(*arguments, "--log-format", "json"),
            env=slave.agent.environment({"TERM": "xterm", "COLUMNS": "100", **(env or {})}),
            stdout=its if at == "stdout" else other,
            stderr=its if at == "stderr" else other,
        ) as process,
    ):
        os.close(its)
        text = _read(ours)
        assert process.wait() == 0
    os.close(ours)
    return text


def _read(descriptor: int) -> str:
    data = b""
    while True:
        try:
            chunk = os.read(descriptor, 4096)
        except OSError:  # EIO: nobody holds the other end any more
            break
        data += chunk
    return data.decode()


@pytest.fixture
def slow(slave: Slave) -> Slave:
    """A slave whose run takes some seconds."""
    slave.publish({str(number): b"x" * 30_000 for number in range(10)})
    slave.configure(sync={"max_bandwidth": "120kB"})
    return slave


@needs_terminal
def test_a_long_run_shows_its_progress(slow: Slave, tmp_path: Path) -> None:
    """A line at the bottom of the terminal shows objects, bytes, rate and time left, and is erased at the end."""
    text = run(slow, "--once", at="stderr", log=tmp_path / "log")
    plain = re.sub("\x1b\\[[0-9]*m", "", text)

    assert PROGRESS.search(plain)
    assert GREEN in text
    assert "B/s" not in plain.rpartition("\r\x1b[K")[2]


@needs_terminal
def test_without_colour_the_progress_is_plain(slow: Slave, tmp_path: Path) -> None:
    """NO_COLOR takes the colour and leaves the line."""
    text = run(slow, "--once", at="stderr", log=tmp_path / "log", env={"NO_COLOR": "1"})

    assert PROGRESS.search(text)
    assert "m" not in re.findall("\x1b\\[[0-9;]*([a-zA-Z])", text)


@needs_terminal
def test_quiet_shows_no_progress(slow: Slave, tmp_path: Path) -> None:
    """With --quiet a terminal stays empty."""
    assert run(slow, "--once", "--quiet", at="stderr", log=tmp_path / "log") == ""


def test_elsewhere_there_is_no_progress(slow: Slave, tmp_path: Path) -> None:
    """A log file gets events and nothing else, also while standard output is a terminal."""
    run(slow, "--once", at="stdout", log=tmp_path / "log")

    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("{")] == []


@needs_terminal
@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_the_plan_is_coloured_for_people_only(
    slave: Slave,
    tmp_path: Path,
    env: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """A terminal gets a coloured table, unless NO_COLOR or TERM=dumb says otherwise."""
    slave.publish({"a": b"alpha"})
    text = run(slave, "--once", "--dry-run", at="stdout", log=tmp_path / "log", env=env)

    assert "copy" in text
    assert (f"{GREEN}  copy" in text) is coloured
    assert ("\x1b" in text) is coloured
