"""Beside the tools that people already use: what the master wrote is right for them, and what they wrote for a slave.

`aws sync` compares sizes, and moves what is newer locally than in S3; an upload's own time is always later than the
mtime of what was uploaded, so it is content with what the master wrote. A `touch` it would upload, unlike the master;
and with `--exact-timestamps` it would download everything, since it knows no mtime in metadata.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.buckets import Bucket
from support.masters import Master
from support.moto_server import find_tool
from support.slaves import Slave
from support.trees import snapshot, write

pytestmark = pytest.mark.integration

MIB = 1 << 20
LARGE = os.urandom(20 * MIB)
NAMES = [
    "a.txt",
    "sub/b.bin",
    "with space",
    "+",
    "%",
    "&#",
    "é",
    "日本/語",
    "a+b%20c",
    "sub/c",
]
FILES = {name: name.encode() for name in NAMES} | {"zero": b""}
MTIME_NS = 1_700_000_000_123_456_789


class Tool:
    """One of the tools, with the keys of the test's server."""

    def __init__(self, name: str, bucket: Bucket, home: Path) -> None:
        found = find_tool(name)
        if found is None:
            pytest.skip(f"{name} is not installed; it is in the extra `bench`")
        self.path = found
        self.url = bucket.server.endpoint_url
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": bucket.server.access_key,
            "AWS_SECRET_ACCESS_KEY": bucket.server.secret_key,
            "AWS_REGION": bucket.server.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_S3_PROVIDER": "SeaweedFS",
            "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_ENDPOINT": self.url,
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }

    def run(self, *arguments: str) -> str:
        """Run it; gives both its outputs."""
        done = subprocess.run(
            [self.path, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def aws(bucket: Bucket, home: Path, source: Path, target: str) -> None:
    tool = Tool("aws", bucket, home)
    # SeaweedFS leaves now and then an upload without an answer, which is tried again, by default after a minute.
    patience = "--cli-read-timeout", "10"
    tool.run(
        "--endpoint-url", tool.url, *patience, "s3", "sync", str(source), f"s3://{target}"
    )


def rclone(bucket: Bucket, home: Path, source: Path, target: str) -> None:
    tool = Tool("rclone", bucket, home)
    tool.run("sync", str(source), f":s3:{target}", "--s3-upload-cutoff", "5M")


def s5cmd(bucket: Bucket, home: Path, source: Path, target: str) -> None:
    tool = Tool("s5cmd", bucket, home)
    tool.run("--endpoint-url", tool.url, "cp", f"{source}/", f"s3://{target}/")


UPLOADERS: list[tuple[Callable[[Bucket, Path, Path, str], None], int, int]] = [
    (aws, 20 * MIB, 8 * MIB),
    (rclone, 20 * MIB, 5 * MIB),
    (s5cmd, 60 * MIB, 50 * MIB),
]
"""With a size that they cut, and the parts that they cut it into."""


@pytest.fixture
def pushed(master: Master) -> Master:
    """A master whose files are in S3, all of one time."""
    master.write({**FILES, "large": LARGE})
    for path in master.source.rglob("*"):
        os.utime(path, ns=(MTIME_NS, MTIME_NS))
    assert master.once().exit_code == 0
    return master


def test_rclone_has_nothing_to_do(pushed: Master, bucket: Bucket, tmp_path: Path) -> None:
    """`rclone check --download` finds every byte, `lsl` the times, and `sync` nothing to transfer."""
    tool, remote = Tool("rclone", bucket, tmp_path), f":s3:{bucket.name}/data"

    assert "0 differences found" in tool.run("check", "--download", str(pushed.source), remote)
    listed = tool.run("lsl", remote).splitlines()
    assert len(listed) == len(FILES) + 1
    assert all(" 2023-11-14 22:13:20.123456789 " in line for line in listed)
    plan = tool.run("sync", "--dry-run", str(pushed.source), remote)
    assert "Skipped" not in plan, plan


def test_aws_has_nothing_to_do(pushed: Master, bucket: Bucket, tmp_path: Path) -> None:
    """By size and by time `aws sync` has nothing to do either way, nor anything to delete."""
    tool, remote = Tool("aws", bucket, tmp_path), f"s3://{bucket.name}/data"
    sync = ["--endpoint-url", tool.url, "s3", "sync", "--dryrun", "--delete"]
    here = str(pushed.source)

    assert tool.run(*sync, here, remote) == ""
    assert tool.run(*sync, "--size-only", here, remote) == ""
    assert tool.run(*sync, "--size-only", remote, here) == ""
    assert tool.run(*sync, remote, here) == ""


of_each_uploader = pytest.mark.parametrize(
    ("upload", "size", "part"), UPLOADERS, ids=[each[0].__name__ for each in UPLOADERS]
)


@of_each_uploader
def test_a_slave_takes_what_they_uploaded(
    slave: Slave,
    bucket: Bucket,
    tmp_path: Path,
    upload: Callable[[Bucket, Path, Path, str], None],
    size: int,
    part: int,
) -> None:
    """Every byte is proven, in parts too; without an index the slave finds that it has them, and fetches nothing."""
    source = tmp_path / "source"
    write(source, {**FILES, "large": (LARGE * 3)[:size]})
    upload(bucket, tmp_path, source, f"{bucket.name}/data")
    first = slave.once()
    (slave.agent.state_dir / "index.db").unlink()

    runs: list[AgentRun] = [slave.once(), slave.once()]

    assert (first.exit_code, slave.tree()) == (0, snapshot(source))
    verified = {each["key"]: each["verified"] for each in first.named("entry.copied")}
    assert verified == {**dict.fromkeys(FILES, "md5"), "large": "multipart"}
    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [(0, 0)] * 2
    head = bucket.client.head_object(Bucket=bucket.name, Key="data/large")
    assert head["ETag"].endswith(f'-{-(-size // part)}"')


@of_each_uploader
def test_a_master_adopts_what_they_uploaded(
    master: Master,
    bucket: Bucket,
    tmp_path: Path,
    upload: Callable[[Bucket, Path, Path, str], None],
    size: int,
    part: int,
) -> None:
    """A bucket that another tool has filled is not filled again."""
    del part
    master.write({**FILES, "large": (LARGE * 3)[:size]})
    upload(bucket, tmp_path, master.source, f"{bucket.name}/data")

    run = master.once()

    assert (run.exit_code, run.finished["copied"], run.finished["deleted"]) == (0, 0, 0)
    assert run.finished["unchanged"] == len(FILES) + 1
