"""A master for most tests: one mapping from one directory to `data` in a bucket, run as a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.agents import Agent, AgentRun
from support.hosts import MAPS, NAME, PREFIX, Host
from support.slaves import Slave
from support.trees import write


class Master(Host):
    """An agent in the role master, the bucket that it fills, and the directory that it reads."""

    @property
    def source(self) -> Path:
        """The directory of the default mapping; it exists."""
        return self.root / NAME

    def mapping(self, name: str = NAME, s3: str = PREFIX, **properties: Any) -> dict[str, Any]:
        """Return a mapping from the directory of its name to a prefix of the bucket; a slave can use it too."""
        here, there = str(self.root / name), str(self.root.parent / "slave" / name)
        s3 = f"{self.bucket}/{s3}"
        return {"name": name, "s3": s3, "master": here, "slave": there, **properties}

    def configure(self, maps: str = MAPS, **sections: Any) -> None:
        """Write the config; as `Agent.configure`, with role, maps and roots given."""
        self.agent.configure(
            role="master", maps=f"{self.bucket}/{maps}", roots=[self.root], **sections
        )

    def write(self, files: dict[str, bytes]) -> None:
        """Write files into the source."""
        write(self.source, files)

    def slave(self) -> Slave:
        """Create a slave of the same maps, with its own files and state."""
        directory = self.root.parent / "slave-agent"
        directory.mkdir()
        agent = Agent(directory, self.agent.server)
        root = self.root.parent / "slave"
        root.mkdir()
        slave = Slave(agent, self.bucket, self.put, root)
        slave.configure()
        return slave


def new_master(
    directory: Path, agent: Agent, bucket: str, put: Callable[..., object]
) -> Master:
    """Create a configured master whose map is published and whose source is empty."""
    root = directory / "master"
    master = Master(agent, bucket, put, root)
    master.source.mkdir(parents=True)
    master.publish_map(master.mapping())
    master.configure()
    return master


def copied(run: AgentRun) -> dict[str, str]:
    """Return why each key was copied."""
    return {each["key"]: each["why"] for each in run.named("entry.copied")}
