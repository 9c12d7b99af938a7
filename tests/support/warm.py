"""Passes without the half second that imports take: each a process of its own, forked from one that has imported all.

Where it matters what a user's process does, use `Agent.run`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from support.agents import TIMEOUT_SECONDS, Agent, AgentRun, parse_events

_IMPORTED = [
    "boto3",
    "obstore",
    "s32s_agent.agent",
    "s32s_agent.cli",
    "s32s_agent.stores.local",
]


def warm_once(agent: Agent) -> AgentRun:
    """Make a pass."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    streams = agent.directory / "stdout", agent.directory / "stderr"
    arguments = agent.command("--once")[3:]
    process = context.Process(
        target=_become_agent, args=(arguments, agent.environment(), streams)
    )
    process.start()
    process.join(TIMEOUT_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    stdout, stderr = (
        each.read_bytes().decode("utf-8", errors="backslashreplace") for each in streams
    )
    return AgentRun(process.exitcode or 0, parse_events(stderr), stdout, stderr)


def _become_agent(
    arguments: list[str], environment: Mapping[str, str], streams: tuple[Path, Path]
) -> None:
    from s32s_agent import cli  # noqa: PLC0415 (in the process that is forked)

    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    sys.exit(cli.main(arguments))
