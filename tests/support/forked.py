"""Agents as processes without the half second of imports: forked from one process that has imported everything.

Each is a process of its own all the same, with its own arguments, environment, streams and exit status; only the
interpreter's start is left out. `python -m support.forked` is that one process; it reads a request a line.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from s32s_agent import cli
from s32s_agent.stores.connection import Patience
from support.agents import TIMEOUT_SECONDS, Agent, AgentRun, parse_events

TESTS = Path(__file__).parent.parent


class Forks(AbstractContextManager["Forks"]):
    """Runs agents, one at a time. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.forked"],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def once(
        self,
        agent: Agent,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        patience: Mapping[str, float] | None = None,
    ) -> AgentRun:
        """Make a pass.

        Args:
            agent: whose config and directory.
            arguments: after `--once`.
            env: as for `Agent.run`.
            patience: fields of `Patience` that differ from what users have.
        """
        out, err = agent.directory / "stdout", agent.directory / "stderr"
        request = {
            "arguments": agent.command("--once", *arguments)[3:],
            "environment": agent.environment(env),
            "directory": str(agent.directory),
            "streams": [str(out), str(err)],
            "patience": dict(patience or {}),
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        code = self._wait(int(self._line()))
        stderr = err.read_bytes().decode("utf-8", errors="backslashreplace")
        stdout = out.read_bytes().decode("utf-8", errors="backslashreplace")
        return AgentRun(code, parse_events(stderr), stdout, stderr)

    def _wait(self, pid: int) -> int:
        timer = threading.Timer(TIMEOUT_SECONDS, os.kill, (pid, signal.SIGKILL))
        timer.start()
        try:
            return int(self._line())
        finally:
            timer.cancel()
            timer.join()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _serve() -> None:
    """Fork an agent for every request; answer with its process, then with its exit status."""
    for name in (
        "boto3",
        "obstore",
        "s32s_agent.agent",
        "s32s_agent.logs",
        "s32s_agent.progress",
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
            sys.exit(cli.main(request["arguments"], Patience(**request["patience"])))
        _answer(pid)
        _, ended = os.waitpid(pid, 0)
        _answer(os.waitstatus_to_exitcode(ended))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(request: Mapping[str, Any]) -> None:
    """Make this process what a new one would be."""
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate(request["streams"], 1):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    _serve()
