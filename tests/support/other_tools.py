"""Run other tools in the cases of `hostile_cases`, each in a temporary directory with a canary and a time limit.

The tools mirror a prefix into a directory, with deletes on, as the agent does. They are judged by the files that they
leave and by their exit status, not by their output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from support.hostile_answers import AFTER, BEFORE, PAGE, MirroredPrefix
from support.hostile_cases import CASES, LARGE_BYTES, Case
from support.invariants import versions_of
from support.moto_server import find_tool
from support.scripted import ScriptedS3
from support.trees import RESERVED, canary, write

LIMIT_SECONDS = 60.0
LARGEST = LARGE_BYTES
MIRRORED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
"""The time of the server's objects: files of that time were mirrored."""
ABSOLUTE = Path("/tmp/s32s-agent-escaped")
AGENT = "s32s-agent"
VERDICTS = ("lost files", "wrote outside", "wrong files", "hung", "exit 0")
"""The worst first; the last: the only problem is that the tool reports success."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one tool did in one case."""

    tool: str
    case: str
    kind: str
    verdict: str
    """One of `VERDICTS`, or `fine`."""
    exit_code: int | None
    """None: it was still running at the time limit."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Workspace:
    """The directories of one run of a tool."""

    top: Path

    @property
    def target(self) -> Path:
        # Deep enough for keys that contain `..`.
        return self.top / "srv/one/site"

    @property
    def outside(self) -> Path:
        return self.top / "srv/one/outside"


Command = Callable[[_Workspace, str], Sequence[str]]


def _aws(workspace: _Workspace, url: str) -> Sequence[str]:
    # Without `--exact-timestamps` it does not find a change of the same size.
    sync = ("s3", "sync", "--delete", "--exact-timestamps", "--cli-read-timeout", "5")
    return "aws", "--endpoint-url", url, *sync, "s3://bucket/data/", str(workspace.target)


def _rclone(workspace: _Workspace, url: str) -> Sequence[str]:
    # The scripted server lists flat, with ListObjectsV2.
    options = ("--fast-list", "--retries", "1", "--low-level-retries", "2", "--timeout", "5s")
    store = (
        f"provider=Other,list_version=2,list_url_encode=true,env_auth=true,endpoint='{url}'"
    )
    return "rclone", "sync", *options, f":s3,{store}:bucket/data", str(workspace.target)


def _s5cmd(workspace: _Workspace, url: str) -> Sequence[str]:
    options = ("--endpoint-url", url, "--retry-count", "1")
    return "s5cmd", *options, "sync", "--delete", "s3://bucket/data/*", f"{workspace.target}/"


def _agent(workspace: _Workspace, url: str) -> Sequence[str]:
    config = {
        "role": "slave",
        "maps": "bucket/maps/site.json",
        "roots": [str(workspace.top / "srv")],
        "state_dir": str(workspace.top / "state"),
        "s3": {"endpoint_url": url, "addressing_style": "path", "region": "us-east-1"},
    }
    path = workspace.top / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return (
        sys.executable,
        "-m",
        "s32s_agent",
        "--once",
        "--allow-deletes",
        "--config",
        str(path),
    )


TOOLS: Mapping[str, Command] = {AGENT: _agent, "aws": _aws, "rclone": _rclone, "s5cmd": _s5cmd}


def run(tool: str, case: Case) -> Finding:
    """Run one tool in one case and judge the result."""
    directory = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        with ScriptedS3() as server:
            return _run(tool, case, _Workspace(directory), MirroredPrefix(server))
    finally:
        shutil.rmtree(directory)
        ABSOLUTE.unlink(missing_ok=True)


def _run(tool: str, case: Case, workspace: _Workspace, mirrored: MirroredPrefix) -> Finding:
    write(workspace.target, BEFORE)
    write(workspace.outside, {"precious": b"precious"})
    for name in BEFORE:
        when = MIRRORED_AT - 86400 * (name == PAGE)
        os.utime(workspace.target / name, (when, when))
    mirrored.change()
    mapping = {"name": "site", "s3": "bucket/data", "slave": str(workspace.target)}
    mirrored.server.put("maps/site.json", json.dumps([mapping]).encode())
    case.arrange(mirrored)
    published = mirrored.published()
    command = TOOLS[tool](workspace, mirrored.server.endpoint_url)
    before = _around(workspace)
    exit_code, said = _execute(tool, command, workspace)
    verdict, detail = _judge(workspace, before, published, exit_code)
    return Finding(tool, case.name, case.kind, verdict, exit_code, detail or said)


def _execute(
    tool: str, command: Sequence[str], workspace: _Workspace
) -> tuple[int | None, str]:
    environment = {
        "PATH": os.defpath,
        "HOME": str(workspace.top),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RCLONE_CONFIG": os.devnull,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    program = command[0] if tool == AGENT else (find_tool(command[0]) or command[0])
    try:
        done = subprocess.run(
            [program, *command[1:]],
            env=environment,
            cwd=workspace.top,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr.decode(errors="backslashreplace")[-300:]


def _around(workspace: _Workspace) -> tuple[str, frozenset[str]]:
    """Return the state of everything outside the target, which no tool may change."""
    tops = (workspace.top / "srv", workspace.top / "srv/one")
    names = {str(each) for top in tops for each in top.iterdir()}
    return canary(workspace.outside), frozenset(names)


def _judge(
    workspace: _Workspace,
    before: tuple[str, frozenset[str]],
    published: Mapping[str, bytes],
    exit_code: int | None,
) -> tuple[str, str]:
    """Return the worst that happened, and where."""
    files = _files(workspace.target)
    versions = versions_of(BEFORE, AFTER, published)
    lost = [name for name in BEFORE if name in published and name not in files]
    wrong = [name for name, data in files.items() if data not in versions.get(name, set())]
    outside = _around(workspace) != before or ABSOLUTE.exists()
    found = {
        "lost files": ", ".join(lost),
        "wrote outside": "outside the directory" if outside else "",
        "wrong files": ", ".join(wrong),
        "hung": f"{LIMIT_SECONDS:g} s" if exit_code is None else "",
        "exit 0": "not mirrored" if exit_code == 0 and files != dict(published) else "",
    }
    return next(((name, found[name]) for name in VERDICTS if found[name]), ("fine", ""))


def _files(target: Path) -> dict[str, bytes]:
    """Read the files below a directory; a file larger than any published one is wrong without being read."""
    found = {}
    for top, directories, names in os.walk(target):
        if top == str(target):
            directories[:] = [name for name in directories if name != RESERVED]
        for name in names:
            path = Path(top, name)
            large = path.is_symlink() or path.stat().st_size > LARGEST
            key = os.path.relpath(path, target)
            found[key] = b"no published content" if large else path.read_bytes()
    return found


# --- all tools ---


def compare(
    tools: Sequence[str], cases: Sequence[Case], each: Callable[[Finding], None]
) -> list[Finding]:
    """Run every tool in every case, two at a time."""
    pairs = [(tool, case) for case in cases for tool in tools]
    found = []
    with ThreadPoolExecutor(2) as pool:
        for finding in pool.map(lambda pair: run(*pair), pairs):
            each(finding)
            found.append(finding)
    return found


def versions(tools: Iterable[str]) -> dict[str, str]:
    """Ask each tool for its version."""
    asked = {"aws": "--version", "rclone": "version", "s5cmd": "version"}
    found = {}
    for tool in tools:
        path = find_tool(tool) if tool in asked else None
        if path is not None:
            done = subprocess.run(
                [path, asked[tool]], capture_output=True, text=True, check=False
            )
            found[tool] = done.stdout.partition("\n")[0]
    return found


def mirrors(tool: str) -> bool:
    """Return whether a tool, run as here, mirrors an honest server: otherwise its failures would look like caution."""
    honest = run(tool, Case("honest", lambda _world: None, 0))
    return (honest.verdict, honest.exit_code) == ("fine", 0)


def cases_for_any_tool() -> tuple[Case, ...]:
    """Return the cases that apply to any tool."""
    return tuple(case for case in CASES if case.for_any_tool)
