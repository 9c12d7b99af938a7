"""Agents as processes: started again and again, killed, stopped, and with a clock that steps."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.agents import Agent

from tools.soak.tally import Tally

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
STEPS = ("+0", "+1", "-1", "+7", "-240", "+240", "-2d", "+3d", "+30d")
"""Beyond a quarter of an hour the server refuses to talk, and the agent must take it as that."""
HANGS_SECONDS = 180
"""No run over so few files takes this long, however busy the machine is."""
GOOD_STATUSES = frozenset(
    (0, 1, 3, os.EX_DATAERR, os.EX_UNAVAILABLE, os.EX_CANTCREAT, os.EX_TEMPFAIL, os.EX_NOPERM)
)
COMMANDS = (
    *((("--once",),) * 16),
    *((("--once", "--lock-wait", "2"),) * 2),
    *((("--once", "--verify"),) * 2),
    ("--once", "--dry-run"),
    ("--check",),
    ("--status",),
)


def find_faketime() -> Path | None:
    """Find the library that shows a process another time; None where it is not installed."""
    found = [Path(FAKETIME), *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    return next((each for each in found if each.exists()), None)


@dataclass(slots=True)
class Clock:
    """The time that some agents see; it steps while they run."""

    library: Path
    file: Path
    rng: random.Random
    tally: Tally

    def begin(self) -> None:
        """Begin at the real time."""
        self.file.write_text("+0")

    def act(self) -> None:
        """Step."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(self.rng.choice(STEPS))
        temporary.replace(self.file)
        self.tally.add("steps of the clock")

    def settle(self) -> None:
        """Do nothing: the last runs see the real time."""

    def environment(self) -> dict[str, str]:
        """Return the variables of a process that sees this time.

        A step changes what the time is, not the times of files. The clock that never steps does so too, since the
        library breaks every sleep of Python's when told to leave that one alone; so time-outs run out early as well.
        """
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }


@dataclass(slots=True)
class Runs:
    """One agent, run again and again until `stop` is set."""

    name: str
    agent: Agent
    clock: Clock | None
    rng: random.Random
    tally: Tally
    secrets: tuple[bytes, ...]

    def run(self, stop: threading.Event) -> None:
        """Make runs; each meets its own fate."""
        while not stop.is_set():
            self._once()
            stop.wait(self.rng.uniform(0, 0.5))

    def _once(self) -> None:
        rng, log = self.rng, self.agent.directory / f"{self.name}.log"
        faked = self.clock is not None and rng.random() < 0.4
        variables = self.clock.environment() if self.clock and faked else {}
        fate = rng.choices((self._wait, self._kill, self._end, self._pause), (45, 25, 15, 15))[
            0
        ]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                self.agent.command(*rng.choice(COMMANDS)),
                env=self.agent.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                expected = fate(process) | GOOD_STATUSES
                status = process.wait(HANGS_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                self.tally.violate(f"{self.name}: a run hung for {HANGS_SECONDS} seconds")
                return
            finally:
                _clean_up_after_faketime(process.pid)
        self.tally.add("runs")
        self.tally.add(f"status {status}")
        self._judge(status, expected, log.read_bytes())

    def _judge(self, status: int, expected: frozenset[int], log: bytes) -> None:
        if status not in expected or b"run.crashed" in log or b"Traceback" in log:
            text = log[-3000:].decode(errors="replace")
            self.tally.violate(f"{self.name}: a run ended with status {status}:\n{text}")
        if any(secret in log for secret in self.secrets):
            self.tally.violate(f"{self.name}: a run disclosed a secret")

    def _wait(self, process: subprocess.Popen[bytes]) -> frozenset[int]:
        process.wait(HANGS_SECONDS)
        return frozenset()

    def _signal(self, process: subprocess.Popen[bytes], number: int, what: str) -> None:
        time.sleep(self.rng.uniform(0, 5))  # the moment is meant to be random
        if process.poll() is None:
            self.tally.add(what)
        process.send_signal(number)

    def _kill(self, process: subprocess.Popen[bytes]) -> frozenset[int]:
        self._signal(process, signal.SIGKILL, "killed by SIGKILL")
        return frozenset({-signal.SIGKILL})

    def _end(self, process: subprocess.Popen[bytes]) -> frozenset[int]:
        self._signal(process, signal.SIGTERM, "ended by SIGTERM")
        # Before Python has set its handlers up, the signal itself ends the process.
        return frozenset({-signal.SIGTERM, 128 + signal.SIGTERM})

    def _pause(self, process: subprocess.Popen[bytes]) -> frozenset[int]:
        self._signal(process, signal.SIGSTOP, "stopped and continued")
        time.sleep(self.rng.uniform(0.1, 4))
        process.send_signal(signal.SIGCONT)
        return frozenset()


def _clean_up_after_faketime(pid: int) -> None:
    """Remove what the library leaves behind of a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)


def repeat(act: Callable[[], None], pause: Callable[[], float], stop: threading.Event) -> None:
    """Do something again and again, with pauses of some seconds, until `stop` is set."""
    while not stop.wait(pause()):
        act()
