"""What a master and a slave have in common, as most tests want them: one mapping, one bucket, one root."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.agents import Agent, AgentRun

PREFIX = "data"
MAPS = "maps"
NAME = "site"


@dataclass(slots=True)
class Computer:
    """An agent, the bucket that it works with, and the root of its directories."""

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
        """Make a pass."""
        return self.agent.run("--once", *arguments, env=env)
