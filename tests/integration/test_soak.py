"""A short storm on every change, and proof that its watchers would see what they watch for."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.soak.contents import Library, make
from tools.soak.runs import Clock, find_faketime
from tools.soak.tally import Tally
from tools.soak.watchers import TreeWatcher

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "tools.soak", "--minutes", "0.4", "--seed", "5")
STRUCK = ("killed by SIGKILL", "ended by SIGTERM", "stopped and continued")
THREE_DAYS = 3 * 24 * 60 * 60
TELL_THE_TIME = """
import time
print(time.time(), flush=True)
input()
print(time.time())
"""


def test_nothing_is_lost_in_a_storm() -> None:
    """After changes, signals and clock steps one pass of each agent converges, and nothing unpublished ever showed."""
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(re.findall(r"^([a-z A-Z]+): +(.*)$", done.stdout, re.MULTILINE))
    assert said["losses"] == "0"
    assert int(said["runs"].split()[0]) > 5
    assert int(said["contents checked"].split()[0]) > 100
    assert sum(int(said[name]) for name in STRUCK) > 0
    assert find_faketime() is None or int(said["steps of the clock"]) > 0


def test_the_clock_steps(tmp_path: Path) -> None:
    """A process that runs is told another time when the clock steps."""
    library, tally = find_faketime(), Tally()
    if library is None:
        pytest.skip(
            "libfaketime is not installed: the storm went on without steps of the clock"
        )
    clock = Clock(library, tmp_path / "clock", random.Random(1), tally)
    clock.begin()
    with subprocess.Popen(
        (sys.executable, "-c", TELL_THE_TIME),
        env={**os.environ, **clock.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = float(process.stdout.readline())
        while clock.file.read_text() != "+3d":
            clock.act()
        after = float(process.communicate("go on\n")[0])

    assert after - before >= THREE_DAYS
    assert tally.counts["steps of the clock"] > 0


@pytest.mark.parametrize(
    ("spoil", "objection"),
    [
        (lambda old, new: new[:50] + old[50:], "checksum"),
        (lambda _old, new: new[:-1], "checksum"),
        (lambda _old, new: new + b"\n", "checksum"),
        (lambda _old, _new: b"", "checksum"),
        (lambda _old, _new: make("d/b", 1, 100), "the bytes of 'd/b'"),
        (lambda _old, _new: make("d/a", 9, 100), "version 9, which never was"),
    ],
    ids=["a mixture", "cut short", "grown", "empty", "of another file", "never published"],
)
def test_a_spoilt_file_is_told(
    tmp_path: Path, spoil: Callable[[bytes, bytes], bytes], objection: str
) -> None:
    """Whatever was not given out as a version of this key is a violation; what was, is none."""
    library, tally = Library(), Tally()
    old, new = library.new("d/a", 100), library.new("d/a", 100)
    path = tmp_path / "d" / "a"
    path.parent.mkdir()
    watcher = TreeWatcher(tmp_path, library, tally)
    path.write_bytes(new)
    watcher.act()
    assert tally.violations == []
    path.write_bytes(spoil(old, new))

    watcher.act()

    (violation,) = tally.violations
    assert objection in violation


def test_a_lost_file_is_told(tmp_path: Path) -> None:
    """A file that nobody removes is missed when it is gone."""
    library, tally = Library(), Tally()
    path = tmp_path / "anchor" / "0"
    path.parent.mkdir()
    path.write_bytes(library.new("anchor/0", 5))
    watcher = TreeWatcher(tmp_path, library, tally)
    watcher.act()
    path.unlink()

    watcher.act()

    assert tally.violations == [f'"{path}" was deleted']
