"""A server whose answer never ends costs a bounded amount of memory, and causes no delete."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forked import Forks
from support.s3_messages import HTTP_WHEN, Reply, Request
from support.scripted import ScriptedS3
from support.slaves import TEMPORARY, Slave

from s32s_agent.stores.s3.client import MAX_ANSWER

pytestmark = pytest.mark.hostile

PARTIAL = 1
IMPATIENT = {"connect_seconds": 4, "read_seconds": 4, "attempts": 2, "pause_seconds": 0.05}
MIB = 1 << 20
POURED = 160 * MIB
"""What the server sends before it takes the client for lost; nothing that was listed is so large."""
BUFFERS = sum(
    int(Path("/proc/sys/net/ipv4", name).read_text().split()[-1])
    for name in ("tcp_rmem", "tcp_wmem")
)
"""What the kernel takes from the server at most, and keeps for a client that does not read any more."""
LISTING = b"<ListBucketResult><Name>bucket</Name>" + b"<!-- and so on -->" * 4000


@contextlib.contextmanager
def endless(status: bytes) -> Iterator[tuple[str, list[int]]]:
    """Answer every request with the beginning of a listing, and continue as long as the client reads.

    Yields the URL, and how much of each answer's body was read.
    """
    taken: list[int] = []

    def answer(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 %s\r\nConnection: close\r\n\r\n" % status)
            while taken[number] < POURED:
                connection.sendall(LISTING)
                taken[number] += len(LISTING)

    def serve() -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                connection, _ = listener.accept()
                taken.append(0)
                threading.Thread(target=answer, args=(connection, number), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# --- an object ---

PIECE = b"x" * 65536
SIZES = {"small": 1000, "medium": 5 * MIB, "large": 33 * MIB, "odd\nname": 1000}
"""Whole in one piece, in a stream, in ranges, and by another library."""
LENGTH = b"content-length: %d\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
HEADS = {
    "no length": (b"200 OK", b""),
    "chunked": (b"200 OK", CHUNKED),
    "chunked, and the right length": (b"200 OK", CHUNKED + LENGTH),
    "the right length, and more": (b"200 OK", LENGTH),
    "a huge length": (b"200 OK", b"content-length: %d\r\n" % (1 << 40)),
    "a part": (b"206 Partial Content", CHUNKED + b"content-range: bytes 0-9/10\r\n"),
    "the right part": (b"206 Partial Content", CHUNKED + LENGTH + b"content-range: %s\r\n"),
}
ERRORS = {
    "not found": (b"404 Not Found", CHUNKED),
    "an error": (b"500 Internal Server Error", CHUNKED),
    "denied": (b"403 Forbidden", b""),
}


class Pour:
    """Answers every GET of an object with a valid head, or one that looks valid, and a body without end."""

    def __init__(self, head: str) -> None:
        self._status, self._fields = {**HEADS, **ERRORS}[head]
        self.sent: dict[str, list[int]] = {}
        """By key, how much of each answer's body was taken."""

    def __call__(self, request: Request) -> Reply | None:
        key = request.key.removeprefix("data/")
        if request.method != "GET" or key not in SIZES:
            return None
        counts = self.sent.setdefault(key, [])
        counts.append(0)
        return Reply(raw=self._pieces(request, SIZES[key], counts, len(counts) - 1))

    def _pieces(
        self, request: Request, size: int, counts: list[int], number: int
    ) -> Iterator[bytes]:
        asked = request.headers.get("range", f"bytes=0-{size - 1}").removeprefix("bytes=")
        first, last = map(int, asked.split("-"))
        fields = self._fields.replace(b"%s", f"bytes {first}-{last}/{size}".encode())
        fields = fields.replace(b"%d", b"%d" % (last - first + 1))
        etag = request.headers.get("if-match", '""').encode()
        common = b"etag: %s\r\nlast-modified: %s\r\nconnection: close\r\n" % (
            etag,
            HTTP_WHEN.encode(),
        )
        yield b"HTTP/1.1 %s\r\n%s%s\r\n" % (self._status, common, fields)
        piece = b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if CHUNKED in fields else PIECE
        while counts[number] < POURED:
            yield piece
            counts[number] += len(PIECE)


@pytest.mark.parametrize("head", HEADS)
def test_an_endless_object_fills_neither_memory_nor_disk(
    scripted_slave: Slave, scripted: ScriptedS3, forks: Forks, head: str
) -> None:
    """Of an answer no more is read than was listed, and what is in buffers; nothing of it is installed."""
    scripted_slave.publish({"kept": b"kept"})
    assert scripted_slave.once().exit_code == 0
    del scripted.objects["data/kept"]
    for key, size in SIZES.items():
        scripted.put(f"data/{key}", bytes(size))
    pour = Pour(head)
    scripted.on(lambda request: request.method == "GET", pour)

    run = forks.once(scripted_slave.agent, "--allow-deletes", timeouts=IMPATIENT)

    assert run.exit_code in {PARTIAL, os.EX_UNAVAILABLE, os.EX_NOPERM}, run.stderr
    tree = scripted_slave.tree()
    begun = [len(tree.pop(key) or b"") for key in list(tree) if key.startswith(TEMPORARY)]
    assert tree == {"kept": b"kept"}
    assert sum(begun) <= SIZES["large"]  # a later run resumes it
    assert pour.sent.keys() == SIZES.keys()
    assert len(run.named("entry.failed")) == len(SIZES)
    for key, counts in pour.sent.items():
        assert max(counts) <= SIZES[key] + BUFFERS, (key, counts)


@pytest.mark.parametrize("head", ERRORS)
def test_an_endless_error_for_an_unusual_key_is_cut(
    scripted_slave: Slave, scripted: ScriptedS3, forks: Forks, head: str
) -> None:
    """Requests of boto3 have a limit for errors as well."""
    scripted.put("data/odd\nname", b"odd")
    pour = Pour(head)
    scripted.on(lambda request: request.method == "GET", pour)

    run = forks.once(scripted_slave.agent, timeouts=IMPATIENT)

    assert run.exit_code in {PARTIAL, os.EX_UNAVAILABLE, os.EX_NOPERM}, run.stderr
    assert scripted_slave.tree() == {}
    assert max(pour.sent["odd\nname"]) <= MAX_ANSWER + BUFFERS


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
@pytest.mark.parametrize("maps", ["maps", "maps/site.json"], ids=["a listing", "a map"])
def test_an_endless_answer_does_not_fill_the_memory(
    slave: Slave, status: bytes, maps: str
) -> None:
    """It is cut when it is longer than any of S3: status 69, and the local files stay."""
    slave.publish({"a": b"alpha"})
    assert slave.once().exit_code == 0
    with endless(status) as (url, taken):
        slave.configure(maps, s3={"endpoint_url": url})

        run = slave.once()

    assert (run.exit_code, slave.tree()) == (os.EX_UNAVAILABLE, {"a": b"alpha"})
    (event,) = run.named("run.failed")
    assert event["cause"] == "unavailable"
    assert 0 < max(taken) <= MAX_ANSWER + BUFFERS, taken
