"""What masters and slaves of most tests share: one mapping, one bucket, one root."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.agents import Agent, AgentRun
from support.forked import TIMEOUT_SECONDS

PREFIX = "data"
MAPS = "maps"
NAME = "site"
_UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Put before a command, removes the capabilities of root."""


@dataclass(slots=True)
class Host:
    """An agent, its bucket, and the root of its directories."""

    agent: Agent
    bucket: str
    put: Callable[..., object]
    """Puts an object into the bucket: a key and its bytes."""
    root: Path
    """The one root of the config; it exists."""

    def publish_map(
        self, *mappings: Mapping[str, Any], key: str = f"{MAPS}/site.json"
    ) -> None:
        """Put a map file into the bucket."""
        self.put(key, json.dumps(mappings).encode())

    def once(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> AgentRun:
        """Run the agent once."""
        return self.agent.run("--once", *arguments, env=env)

    def once_unprivileged(self) -> AgentRun:
        """Run the agent once as a user to whom permissions apply, also when root runs the tests."""
        prefix = _UNPRIVILEGED if os.geteuid() == 0 else ()
        self.agent.begin()
        done = subprocess.run(
            [*prefix, *self.agent.command("--once")],
            env=self.agent.environment(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return self.agent.ended((), done.returncode, done.stdout, done.stderr)
