"""Run the programs of a store for a test: on free ports of 127.0.0.1, ended with their block."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from s32s_agent.demo.seaweedfs import ADMIN, Identity, S3Server
from support.moto_server import find_tool

HOST = "127.0.0.1"
KEYS = ("storeskey0123456789", "stores-secret-key-0123456789")
_START_SECONDS = 90.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


@contextmanager
def process_of(
    command: Sequence[str | Path],
    log: Path,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that writes to a log; wait until it listens on a port, where it has one."""
    program, *arguments = map(str, command)
    found = find_tool(program) or program
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        ) as process,
    ):
        try:
            if port:
                _wait_for(port, process, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < end, f"{process.args!r} does not listen on port {port}"
        with socket.socket() as tried:
            if tried.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)


def server_at(directory: Path, port: int, keys: tuple[str, str] = KEYS) -> S3Server:
    """Return a server by its port, with the keys of its only user."""
    admin = Identity(*keys, ("Admin", "Read", "Write", "List"))
    return S3Server(f"http://{HOST}:{port}", *keys, os.getpid(), directory, {ADMIN: admin})


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; return what it printed."""
    program, *arguments = map(str, command)
    done = subprocess.run(
        [find_tool(program) or program, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr[-2000:]}"
    return done.stdout
