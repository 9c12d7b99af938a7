"""Agents as processes without the half second of imports: forked from one process that has imported everything.

Each is a separate process with its own arguments, environment, streams and exit status; only the start of the
interpreter is left out. Many may run at once. `Agent.run` starts its runs here.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import s32s_agent
from s32s_agent import cli
from s32s_agent.stores.s3.timeouts import Timeouts
from support import small_ranges

if TYPE_CHECKING:
    from support.agents import Agent, AgentRun

LIBRARIES = ("boto3", "pycurl")
"""What the agent imports only when it needs it."""
TIMEOUT_SECONDS = 300.0
TESTS = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Running:
    """An agent that was started."""

    agent: Agent
    arguments: tuple[str, ...]
    directory: Path
    """The directory for its output and exit status."""

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> AgentRun:
        """Wait for its end; one that takes longer than `timeout` seconds is killed.

        Raises:
            AssertionError: it did not end in time, or as for `Agent.ended`.
        """
        code = self.directory / "exit-status"
        end = time.monotonic() + timeout
        while not code.exists():
            if time.monotonic() > end:
                os.kill(int((self.directory / "pid").read_text()), signal.SIGKILL)
                raise AssertionError(f"no end after {timeout} seconds")
            time.sleep(0.01)
        streams = [(self.directory / name).read_bytes() for name in ("stdout", "stderr")]
        status = int(code.read_text())
        shutil.rmtree(self.directory)
        return self.agent.ended(self.arguments, status, *streams)


class Forks(AbstractContextManager["Forks"]):
    """Runs agents. A context manager."""

    def __init__(self) -> None:
        # Not below the directories of the agents, in which tests look for what a run has changed.
        self._notes = tempfile.mkdtemp(prefix="forks-")
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.forked", self._notes],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            stdin=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Start no further agents, and wait for those that run."""
        self._process.communicate()

    def start(
        self,
        agent: Agent,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        timeouts: Mapping[str, float] | None = None,
    ) -> Running:
        """Start a run.

        Args:
            agent: its config and directory.
            arguments: after `--once`.
            env: as for `Agent.run`.
            timeouts: fields of `Timeouts` that differ from the defaults.
        """
        return self.begin(agent, "--once", *arguments, env=env, timeouts=timeouts)

    def begin(
        self,
        agent: Agent,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        timeouts: Mapping[str, float] | None = None,
    ) -> Running:
        """Start an agent with exactly these arguments; otherwise as `start`."""
        notes = Path(self._notes, str(next(self._numbers)))
        notes.mkdir()
        if "--once" in arguments:
            agent.begin()
        request = {
            "arguments": agent.command(*arguments)[3:],
            "environment": agent.environment(env),
            "directory": str(agent.directory),
            "umask": _umask(),
            "notes": str(notes),
            "timeouts": dict(timeouts or {}),
            "small_ranges": agent.small_ranges,
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Running(agent, arguments, notes)

    def once(
        self,
        agent: Agent,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        timeouts: Mapping[str, float] | None = None,
    ) -> AgentRun:
        """Run the agent once."""
        return self.start(agent, *arguments, env=env, timeouts=timeouts).wait()


@functools.cache
def shared_forks() -> Forks:
    """Return the one that all tests of this process share."""
    forks = Forks()
    atexit.register(forks.end)
    return forks


def forked_once(agent: Agent, *arguments: str) -> AgentRun:
    """Run an agent once, with the defaults of users."""
    return shared_forks().once(agent, *arguments)


def _umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _import_everything() -> None:
    """Import all that an agent may import, and spare its garbage collector from looking at that."""
    for module in pkgutil.walk_packages(s32s_agent.__path__, "s32s_agent."):
        if "demo" not in module.name and module.name != "s32s_agent.__main__":
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    # Otherwise the end of each agent copies and walks all of these objects: 0.15 s of a processor.
    gc.collect()
    gc.freeze()


def _serve() -> None:
    """Fork an agent for every line of standard input, with a parent that records its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _import_everything()
    for line in sys.stdin:
        if os.fork() == 0:
            _keep(json.loads(line))
            os._exit(0)
    # Here, since the process that started this one may have been killed.
    shutil.rmtree(sys.argv[1], ignore_errors=True)


def _keep(request: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    notes = Path(request["notes"])
    pid = os.fork()
    if pid == 0:
        _become(request)
        if request["small_ranges"]:
            small_ranges.shrink()
        sys.exit(cli.main(request["arguments"], Timeouts(**request["timeouts"])))
    (notes / "pid").write_text(str(pid))
    _, ended = os.waitpid(pid, 0)
    written = notes / "exit-status.new"
    written.write_text(str(os.waitstatus_to_exitcode(ended)))
    written.rename(notes / "exit-status")


def _become(request: Mapping[str, Any]) -> None:
    """Give this process the directory, umask, environment and streams of a new one."""
    os.chdir(request["directory"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    for number, name in enumerate(("stdout", "stderr"), 1):
        place = Path(request["notes"], name)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    _serve()
