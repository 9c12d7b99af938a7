"""A server whose answer never ends: it costs a bounded amount of memory, and deletes nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from support.slaves import Slave

LISTING = b"<ListBucketResult><Name>bucket</Name>" + b"<!-- and so on -->" * 4000


@contextlib.contextmanager
def endless(status: bytes) -> Iterator[str]:
    """Answer every request with the beginning of a listing, and go on as long as anybody reads."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 %s\r\nConnection: close\r\n\r\n" % status)
            while True:
                connection.sendall(LISTING)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=answer, args=listener.accept()[:1], daemon=True
                ).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
@pytest.mark.parametrize("maps", ["maps", "maps/site.json"], ids=["a listing", "a map"])
def test_an_endless_answer_does_not_fill_the_memory(
    slave: Slave, status: bytes, maps: str
) -> None:
    """It is given up: status 69, and the files that are there stay."""
    slave.publish({"a": b"alpha"})
    assert slave.once().exit_code == 0
    with endless(status) as url:
        slave.configure(maps, s3={"endpoint_url": url})

        run = slave.once()

    assert (run.exit_code, slave.tree()) == (os.EX_UNAVAILABLE, {"a": b"alpha"})
    (event,) = run.named("run.failed")
    assert event["cause"] == "unavailable"
