"""Other tools restore what a master wrote: bytes, times and modes, as far as each of them can."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.masters import Master
from support.moto_server import find_tool

pytestmark = [pytest.mark.machine, pytest.mark.usefixtures("pushed")]

MODES = {"private": 0o600, "shared": 0o664, "tool": 0o755, "plain": 0o644}
MTIME_NS = 1_600_000_000_050_000_000
"""A fraction with a zero in front: s3fs reads the digits behind the point as a whole number of nanoseconds."""


@pytest.fixture
def pushed(master: Master) -> Master:
    """A master whose files are in S3, each with a mode of its own."""
    master.write({name: name.encode() for name in MODES})
    for name, mode in MODES.items():
        (master.source / name).chmod(mode)
        os.utime(master.source / name, ns=(MTIME_NS, MTIME_NS))
    assert master.once().exit_code == 0
    return master


def program(name: str) -> str:
    """Return the path of a program; skip the test where it is missing."""
    found = find_tool(name) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return str(found)


def run(bucket: Bucket, home: Path, *command: str) -> None:
    """Run a tool with the keys of the test's server."""
    server = bucket.server
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_PROVIDER": "SeaweedFS",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": server.endpoint_url,
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def attributes(directory: Path) -> dict[str, tuple[int, int]]:
    """Return the mode and the mtime of each file."""
    found = {each.name: each.stat() for each in directory.iterdir() if each.is_file()}
    return {name: (stat.S_IMODE(it.st_mode), it.st_mtime_ns) for name, it in found.items()}


def test_rclone_restores_modes_and_times(bucket: Bucket, tmp_path: Path) -> None:
    """With --metadata a private file stays private."""
    copy = tmp_path / "copy"
    remote = f":s3:{bucket.name}/data"

    run(bucket, tmp_path, program("rclone"), "copy", "--metadata", remote, str(copy))

    assert attributes(copy) == {name: (mode, MTIME_NS) for name, mode in MODES.items()}


def test_s3cmd_restores_bytes_only(bucket: Bucket, tmp_path: Path) -> None:
    """It knows modes and times only in a form of its own."""
    copy, address = tmp_path / "copy", bucket.server.endpoint_url.removeprefix("http://")
    copy.mkdir()
    keys = (
        f"--access_key={bucket.server.access_key}",
        f"--secret_key={bucket.server.secret_key}",
    )
    hosts = f"--host={address}", f"--host-bucket={address}", "--no-ssl"
    source = f"s3://{bucket.name}/data/"

    run(bucket, tmp_path, program("s3cmd"), *keys, *hosts, "sync", source, f"{copy}/")

    assert {each.name: each.read_bytes() for each in copy.iterdir()} == {
        name: name.encode() for name in MODES
    }
    assert attributes(copy)["private"][0] != MODES["private"]
    assert MTIME_NS not in {mtime_ns for _, mtime_ns in attributes(copy).values()}


def test_s3fs_shows_modes_and_times(bucket: Bucket, tmp_path: Path) -> None:
    """The leading zero of a mode and the nine digits of a fraction make it read both right."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    options = f"url={bucket.server.endpoint_url},use_path_request_style"
    run(bucket, tmp_path, program("s3fs"), f"{bucket.name}:/data", str(mounted), "-o", options)
    try:
        assert attributes(mounted) == {name: (mode, MTIME_NS) for name, mode in MODES.items()}
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)
