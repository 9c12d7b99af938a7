"""Set up and use what the story needs: computers, which are folders here, and the bucket between them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from s32s_agent.demo.narration import check, command, in_words, quote
from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.plan.keys import TRASH

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, PREFIX = "demo", "website/"
SNAPSHOTS = "snapshots/website"
"""Where the snapshots of the website are, in the bucket."""


class Computer(NamedTuple):
    """A computer of the story: its config file, and the directory that it pushes or mirrors."""

    name: str
    config: Path
    directory: Path


class Stage(NamedTuple):
    """The directory, server and client of the story."""

    directory: Path
    server: S3Server
    client: S3Client


class Computers(NamedTuple):
    """The computers of the story."""

    master: Computer
    web1: Computer
    web2: Computer

    @property
    def slaves(self) -> tuple[Computer, Computer]:
        """The computers that pull."""
        return self.web1, self.web2


def new_computer(stage: Stage, name: str, role: str, maps: str) -> Computer:
    """Create a computer: a folder with its config file, in which its directory will be."""
    home = stage.directory / name
    home.mkdir()
    settings: dict[str, object] = {"role": role, "maps": f"{BUCKET}/{maps}"}
    settings |= {"roots": [str(home)], "state_dir": f"{home}/state"}
    settings["s3"] = {"endpoint_url": stage.server.endpoint_url}
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    config = home / "config.yaml"
    config.write_text("".join(lines), encoding="utf-8")
    return Computer(name, config, home / "www")


def set_channel(computer: Computer, channel: str) -> None:
    """Change the config of a computer, so that it publishes to a channel or follows it."""
    lines = computer.config.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("sync:")]
    text = "".join([*kept, f"sync: {json.dumps({'channel': channel})}\n"])
    computer.config.write_text(text, encoding="utf-8")


def publish_map(stage: Stage, directory: str, mapping: Mapping[str, str]) -> str:
    """Write a map file with one mapping to the bucket, and return its text."""
    document = json.dumps([mapping], indent=2)
    key = f"{directory}/website.json"
    stage.client.put_object(Bucket=BUCKET, Key=key, Body=document.encode())
    return document


def run_agent(computer: Computer, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run the agent, show the command and what it wrote, and return its last event and its standard output.

    Raises:
        ClaimFailed: its exit status is another one.
    """
    words = [*arguments, "--config", str(computer.config)]
    command("s32s-agent", *words)
    program = [sys.executable, "-m", "s32s_agent", *words, "--log-format", "json"]
    done = subprocess.run(program, capture_output=True, encoding="utf-8", check=False)  # noqa: S603 - no shell
    is_log = done.stderr.startswith("{")
    events = [json.loads(line) for line in done.stderr.splitlines()] if is_log else []
    shown = "\n".join(line for event in events for line in in_words(event))
    quote(done.stdout or shown or done.stderr)
    check(f"exit status {done.returncode}", holds=done.returncode == status)
    return {"output": done.stdout, **(events[-1] if events else {})}


def write_tree(top: Path, entries: Mapping[str, bytes]) -> None:
    """Write files into a directory; a key with a slash at its end is an empty directory."""
    for key, data in entries.items():
        path = top / key
        (path if key.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not key.endswith("/"):
            path.write_bytes(data)


def read_tree(top: Path) -> dict[str, bytes]:
    """Read a directory in the form that `write_tree` takes, without the agent's own folder in it."""
    found = {}
    for path in sorted(top.rglob("*")):
        key = path.relative_to(top).as_posix()
        if path.is_file() and not key.startswith(TRASH):
            found[key] = path.read_bytes()
        elif path.is_dir() and not any(path.iterdir()):
            found[f"{key}/"] = b""
    return found


def read_objects(stage: Stage) -> dict[str, bytes]:
    """Read the objects below the prefix, in the same form."""
    client = stage.client
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", [])
    bodies = {
        each["Key"]: client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"]
        for each in listed
    }
    return {key.removeprefix(PREFIX): body.read() for key, body in bodies.items()}


def modes_and_times(top: Path) -> dict[str, tuple[int, int]]:
    """Read mode and time of every file, without the agent's own folder."""
    found = {path.relative_to(top).as_posix(): path.stat() for path in top.rglob("*.*")}
    return {
        key: (status.st_mode, status.st_mtime_ns)
        for key, status in found.items()
        if not key.startswith(TRASH)
    }
