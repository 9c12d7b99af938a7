"""Measures one command: time, processor time, memory, and what the server needed meanwhile. Knows no tool."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
TIMEOUT_SECONDS = 3600.0
REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    wall: float
    """Seconds from the start of the process to its end."""
    cpu: float
    """Seconds of user and system time of the process and of all that it waited for."""
    memory: float
    """The most bytes that the process and its descendants had in memory."""
    server_cpu: float
    """Seconds that the server and, where there is one, the proxy computed meanwhile."""
    problem: str = ""
    """Why the run counts for nothing; empty when it went well."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A command as it is to be run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    server: int | None
    """The process id of the server; what runs in this process is always counted."""
    scratch: Path
    """A directory for the launcher's files; exists."""


def measure(what: Measured) -> Run:
    """Run a command to its end. Data that waits to be written is on the disk before it begins."""
    os.sync()
    report, errors = what.scratch / "report.json", what.scratch / "stderr"
    report.unlink(missing_ok=True)
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(report)]
    before = server_seconds(what.server)
    with errors.open("wb") as stderr:
        ended = _run([*launcher, *what.command], what.environment, stderr.fileno())
    server_cpu = server_seconds(what.server) - before
    if not ended or not report.exists():
        reason = f"no end within {TIMEOUT_SECONDS:.0f} s" if not ended else last_line(errors)
        return Run(0.0, 0.0, 0.0, server_cpu, reason)
    figures = json.loads(report.read_text(encoding="utf-8"))
    status = figures.pop("status")
    problem = f"exit status {status}: {last_line(errors)}" if status else ""
    return Run(**figures, server_cpu=server_cpu, problem=problem)


def server_seconds(process: int | None) -> float:
    """Return the processor time of a process, all threads, and of this one, in which the proxy runs."""
    own = time.process_time()
    if process is None:
        return own
    # The name of the program may hold spaces and parentheses; the fields are counted behind it.
    text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = text.split()[11:13]
    return own + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def last_line(file: Path) -> str:
    """Return the end of what a tool said."""
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][-REASON_CHARACTERS:] if lines else "it said nothing"


def _run(command: Sequence[str], environment: Mapping[str, str], stderr: int) -> bool:
    """Run to the end, or end the whole group; say whether it ended by itself."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True
