"""What both roles do on one store: push, change, delete, pull, be quiet; and pull what other tools have filled."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s32s_agent.demo.seaweedfs import S3Server
from support.agents import Agent
from support.buckets import Bucket, open_client_as
from support.counting_proxy import CountingProxy
from support.masters import Master, new_master
from support.moto_server import find_tool
from support.slaves import Slave
from support.trees import snapshot, write

MIB = 1 << 20
FILES = {
    "a b.txt": b"blank",
    "plus+.txt": b"plus",
    "per%cent": b"percent",
    "\u00fcn\u00ef/\u65e5\u672c.txt": b"unicode",
    "empty": b"",
    "d-x": b"beside d",
    "d/e/f.txt": b"deep",
    "in parts": os.urandom(17 * MIB),
}
CHANGES = {
    "a b.txt": b"BLANK",  # of the same size
    "plus+.txt": b"another size",
    "in parts": os.urandom(17 * MIB),
    "new": b"new",
}
DELETED = ("per%cent", "d/e/f.txt")
FILLERS = ("rclone", "aws", "s5cmd")
ROUTINE = ("GET map", "LIST")


@dataclass(slots=True)
class Result:
    """What the suite found on one store."""

    store: str
    version: str
    traits: dict[str, object] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """By step, what was not as it should be."""
    steps: list[str] = field(default_factory=list)
    """Those that were tried."""
    skipped: dict[str, str] = field(default_factory=dict)
    """By step, why it could not be tried."""
    quiet_requests: dict[str, dict[str, int]] = field(default_factory=dict)
    """By role, the requests of a run in which nothing is new."""


class Suite:
    """One store, a master and a slave of it.

    Args:
        server: the store.
        directory: an empty one.
        result: takes what is found.
    """

    def __init__(self, server: S3Server, directory: Path, result: Result) -> None:
        self._server = server
        self._directory = directory
        self._result = result

    def run(self) -> None:
        """Try everything; what goes wrong is in the result, and ends nothing else."""
        with (
            open_client_as(self._server) as client,
            CountingProxy(self._server.endpoint_url) as proxy,
        ):
            client.create_bucket(Bucket="suite")
            bucket = Bucket("suite", client, self._server)
            master, slave = self._hosts(bucket, proxy)
            self._both_roles(master, slave, proxy)
            for tool in FILLERS:
                self._after(tool, bucket, slave)

    def _hosts(self, bucket: Bucket, proxy: CountingProxy) -> tuple[Master, Slave]:
        directory = self._directory / "agent"
        directory.mkdir()
        agent = Agent(directory, self._server)
        master = new_master(self._directory, agent, bucket.name, bucket.put)
        slave = master.slave()
        for host in (master, slave):
            host.configure(s3={"endpoint_url": proxy.endpoint_url})
        return master, slave

    def _both_roles(self, master: Master, slave: Slave, proxy: CountingProxy) -> None:
        write(master.source, FILES)
        (master.source / "nothing").mkdir()
        self._try("check", lambda: self._check(master))
        self._try("push", lambda: _demand_copied(master, len(FILES)))
        self._try("push again", lambda: self._quiet("master", master, proxy))
        self._try("pull", lambda: self._equal(master, slave))
        self._try("pull again", lambda: self._quiet("slave", slave, proxy))
        write(master.source, CHANGES)
        for key in DELETED:
            (master.source / key).unlink()
        self._try("push changes", lambda: _demand_copied(master, len(CHANGES)))
        self._try("push changes again", lambda: self._quiet("", master, proxy))
        self._try("pull changes", lambda: self._equal(master, slave))
        self._try("pull changes again", lambda: self._quiet("", slave, proxy))

    def _after(self, tool: str, bucket: Bucket, slave: Slave) -> None:
        """Fill a prefix with another tool, and pull it."""
        step, program = f"pull what {tool} filled", find_tool(tool)
        if program is None:
            self._result.skipped[step] = f"{tool} is not installed"
            return
        source = self._directory / f"by-{tool}"
        write(source, FILES)
        mapping = slave.mapping(name=tool, s3=f"by-{tool}")
        slave.publish_map(mapping)

        def tried() -> None:
            _fill(tool, program, self._server, f"{bucket.name}/by-{tool}", source)
            runs = [slave.once(), slave.once()]
            assert [run.exit_code for run in runs] == [0, 0], runs[0].stderr[-800:]
            assert _files(Path(mapping["slave"])) == FILES
            assert runs[1].finished["copied"] == 0

        self._try(step, tried)

    def _equal(self, master: Master, slave: Slave) -> None:
        directories = bool(self._result.traits.get("keeps_directories"))
        _demand_equal(master, slave, directories=directories)

    def _check(self, master: Master) -> None:
        run = master.agent.run("--check", "--json")
        assert run.exit_code == 0, run.stdout[-800:]
        self._result.traits = json.loads(run.stdout)["stores"]["suite"]

    def _quiet(self, role: str, host: Master | Slave, proxy: CountingProxy) -> None:
        proxy.answered.clear()
        run = host.once()
        assert (run.exit_code, run.finished["copied"], run.finished["deleted"]) == (0, 0, 0)
        counts = proxy.counts()
        assert set(counts) <= set(ROUTINE), counts
        if role:
            self._result.quiet_requests[role] = dict(sorted(counts.items()))

    def _try(self, step: str, action: Callable[[], None]) -> None:
        self._result.steps.append(step)
        try:
            action()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self._result.problems[step] = " ".join(str(error).split())[:400] or "not so"


def _files(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in snapshot(directory).items() if data is not None}


def _demand_copied(master: Master, files: int) -> None:
    run = master.once("--allow-deletes")
    assert run.exit_code == 0, run.stderr[-800:]
    copied = [each["key"] for each in run.named("entry.copied")]
    assert len([key for key in copied if not key.endswith("/")]) == files, copied


def _demand_equal(master: Master, slave: Slave, *, directories: bool) -> None:
    run = slave.once("--allow-deletes")
    assert run.exit_code == 0, run.stderr[-800:]
    assert _files(slave.target) == _files(master.source)
    if directories:
        assert snapshot(slave.target).keys() == snapshot(master.source).keys()


def _fill(tool: str, program: str, server: S3Server, place: str, source: Path) -> None:
    url, key, secret = server.endpoint_url, server.access_key, server.secret_key
    commands: Mapping[str, Sequence[str]] = {
        "rclone": (
            "sync", "--config", "/dev/null", "--s3-provider", "Other", "--s3-endpoint", url,
            "--s3-access-key-id", key, "--s3-secret-access-key", secret, "--s3-force-path-style",
            "--s3-region", "us-east-1", str(source), f":s3:{place}",
        ),
        # One of its requests has no answer on SeaweedFS and JuiceFS until it has timed out.
        "aws": (
            "s3", "sync", "--quiet", "--cli-read-timeout", "5", "--endpoint-url", url, str(source),
            f"s3://{place}",
        ),
        "s5cmd": ("--endpoint-url", url, "sync", f"{source}/", f"s3://{place}/"),
    }  # fmt: skip
    env = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }
    done = subprocess.run(
        [program, *commands[tool]],
        env={**os.environ, **env},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{tool} itself failed: {done.stderr[-300:]}"
