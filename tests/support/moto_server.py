"""Two S3 servers besides SeaweedFS: moto in this process, and `rclone serve s3`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 30


@contextmanager
def moto() -> Iterator[str]:
    """Run moto's server in a thread; yields its URL. It checks every condition but If-Match on a completion."""
    # Imported late: it takes seconds.
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def find_tool(name: str) -> str | None:
    """Return the path of a program: beside this Python, or on the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@contextmanager
def rclone_server(directory: Path) -> Iterator[str]:
    """Serve the buckets that are subdirectories; yields the URL. It ignores every condition."""
    rclone = find_tool("rclone")
    assert rclone is not None, "rclone is in the extra `test`"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(directory)]
    command += ["--config", "/dev/null", "--quiet", "--vfs-cache-mode", "off"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "rclone serve s3 ended"
        assert time.monotonic() < deadline, "rclone serve s3 does not answer"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
