"""The commands that feed slaves from another tool, as docs/understand/feeding.md has them, on a real server."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.moto_server import find_tool
from support.pages import PAGES, blocks
from support.slaves import Slave
from support.trees import write

pytestmark = pytest.mark.integration

MIB = 1 << 20
COMMANDS = blocks(PAGES["docs/understand/feeding.md"])[0].splitlines()
PREFIX, SOURCE, BUCKET = "backup/dir1", "/srv/site", "bucketname"

FILES = {
    "index.html": b"<h1>",
    "css/a.css": b"h1 {}",
    "grüne soße.txt": b"sorrel",
    "zero": b"",
}
MTIME_NS = 1_700_000_000_123_456_789
LARGE = {"aws": (12 * MIB, 2), "rclone": (11 * MIB, 3), "s5cmd": (51 * MIB, 2)}
"""Sizes that a tool uploads in parts, and how many parts they are."""
MORE = {"rclone": ("--s3-upload-cutoff", "5M"), "aws": ("--cli-read-timeout", "10")}
"""So that rclone needs no 200 MiB, and aws not the minute after which it tries an upload again that got no answer."""


def run(command: str, source: Path, bucket: Bucket, *more: str) -> None:
    """Run a command that users are told, with another source and bucket."""
    words = command.replace(SOURCE, str(source)).replace(BUCKET, bucket.name)
    program, *arguments = shlex.split(words)
    tool = find_tool(program)
    if tool is None:
        pytest.skip(f"{program} is not installed; it is in the extra `bench`")
    server = bucket.server
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(source.parent),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "S3_ENDPOINT_URL": server.endpoint_url,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_REMOTE_TYPE": "s3",
        "RCLONE_CONFIG_REMOTE_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_REMOTE_ENV_AUTH": "true",
        "RCLONE_CONFIG_REMOTE_ENDPOINT": server.endpoint_url,
    }
    line = [tool, *arguments, *MORE.get(program, ()), *more]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a large file still to come, a mode, a time, a link that leads out, and an empty directory."""
    source = tmp_path / "site"
    write(source, FILES)
    (source / "empty").mkdir()
    (source / "css/a.css").chmod(0o640)
    os.utime(source / "index.html", ns=(MTIME_NS, MTIME_NS))
    write(tmp_path, {"outside": b"secret"})
    return source


@pytest.fixture
def fed(slave: Slave) -> Slave:
    """A slave of the prefix that the commands name."""
    slave.publish_map(slave.mapping(s3=PREFIX))
    return slave


@pytest.mark.parametrize("command", COMMANDS)
def test_a_slave_gets_what_the_command_sent(
    command: str, source: Path, fed: Slave, bucket: Bucket
) -> None:
    """Every file arrives with the proof that the table promises; the command again is nothing new to a slave."""
    tool = command.split(maxsplit=1)[0]
    size, parts = LARGE[tool]
    (source / "large").write_bytes(os.urandom(size))
    if "--no-follow-symlinks" in command or tool == "rclone":
        (source / "link").symlink_to("../outside")
    run(command, source, bucket)

    first = fed.once()
    run(command, source, bucket)
    second = fed.once()

    verified = {each["key"]: each["verified"] for each in first.named("entry.copied")}
    assert [first.exit_code, second.exit_code, second.finished["copied"]] == [0, 0, 0]
    assert {key for key in verified if not key.endswith("/")} == {*FILES, "large"}
    assert {verified[key] for key in FILES} == {"md5"}
    assert verified["large"] == "multipart"
    head = bucket.client.head_object(Bucket=bucket.name, Key=f"{PREFIX}/large")
    assert head["ETag"].strip('"').endswith(f"-{parts}")
    assert (fed.target / "large").read_bytes() == (source / "large").read_bytes()
    assert (fed.target / "empty").is_dir() is (tool == "rclone")


@pytest.mark.parametrize("command", COMMANDS)
def test_times_modes_changes_and_deletions(
    command: str, source: Path, fed: Slave, bucket: Bucket
) -> None:
    """Only rclone sends times and modes; a change reaches the slave, and a deletion too, but for `aws s3 cp`."""
    run(command, source, bucket)
    assert fed.once().exit_code == 0
    is_rclone = command.startswith("rclone")
    vitals = (fed.target / "index.html").stat(), (fed.target / "css/a.css").stat()
    assert (vitals[0].st_mtime_ns == MTIME_NS) is is_rclone
    assert (vitals[1].st_mode & 0o777) == (0o640 if is_rclone else 0o644)
    write(source, {"index.html": b"<h2>"})
    (source / "zero").unlink()

    run(command, source, bucket)

    assert fed.once().exit_code == 0
    assert (fed.target / "index.html").read_bytes() == b"<h2>"
    assert (fed.target / "zero").exists() is (" cp " in command)


def test_a_new_prefix_costs_what_is_new(source: Path, fed: Slave, bucket: Bucket) -> None:
    """A map that names another prefix has a slave fetch only what that has and the old one had not."""
    command = next(each for each in COMMANDS if each.startswith("aws s3 cp"))
    run(command, source, bucket)
    assert fed.once().exit_code == 0
    write(source, {"new": b"new"})
    run(command.replace(PREFIX, f"{PREFIX}-42"), source, bucket)
    fed.publish_map(fed.mapping(s3=f"{PREFIX}-42"))

    run_of_it = fed.once()

    assert [each["key"] for each in run_of_it.named("entry.copied")] == ["new"]
    assert (run_of_it.exit_code, run_of_it.finished["deleted"]) == (0, 0)


def test_rclone_with_checksum_sends_what_neither_size_nor_time_shows(
    source: Path, fed: Slave, bucket: Bucket
) -> None:
    """Without `--checksum` rclone leaves new content of the same size and time."""
    command = next(each for each in COMMANDS if each.startswith("rclone"))
    run(command, source, bucket)
    write(source, {"index.html": b"<h3>"})
    os.utime(source / "index.html", ns=(MTIME_NS, MTIME_NS))
    key = f"{PREFIX}/index.html"

    run(command, source, bucket)
    assert bucket.get(key) == FILES["index.html"]
    run(command, source, bucket, "--checksum")
    assert bucket.get(key) == b"<h3>"
    assert fed.once().exit_code == 0
