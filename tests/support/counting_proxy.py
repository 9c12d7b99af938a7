"""A proxy before a real S3 server that counts requests and can delay them. It changes nothing.

with CountingProxy(server.endpoint_url) as proxy:
    slave.configure(s3={"endpoint_url": proxy.endpoint_url})
    slave.once()
    proxy.counts()      # Counter({"LIST": 2, "GET map": 1})
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from support.http_servers import HttpHandler, HttpServer

_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class AnsweredRequest(NamedTuple):
    """A request that was answered."""

    kind: str
    """`LIST`, `GET map`, `GET` for the bytes of an object, otherwise the method."""
    path: str
    """As it was sent, with the query."""
    status: int
    size: int
    """Bytes of the answer."""


class CountingProxy(HttpServer):
    """Forwards to one server and records every request. A context manager.

    Attributes:
        answered: every request, in the order of the answers.
    """

    def __init__(self, upstream_url: str) -> None:
        super().__init__(_Handler)
        self.upstream = urlsplit(upstream_url).netloc
        self.answered: list[AnsweredRequest] = []
        self._arrived = 0
        self._free: float = float("inf")
        self._before: float = float("inf")
        self._released = False
        self._changed = threading.Condition()

    def __exit__(self, *raised: object) -> None:
        self.release()
        super().__exit__(*raised)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing: the clients of these tests are killed in the middle of an answer."""

    def counts(self) -> Counter[str]:
        """Count the requests by their kind."""
        return Counter(each.kind for each in self.answered)

    def forget(self) -> None:
        """Reset the counts."""
        with self._changed:
            self.answered.clear()
            self._arrived = 0
            self._free = self._before = float("inf")
            self._released = False

    def hold_after(self, count: int) -> None:
        """Forward that many requests for the bytes of objects; the later ones wait for `release`."""
        with self._changed:
            self._free = count

    def hold_from(self, position: int) -> None:
        """Forward requests for ranges that begin before this byte; the others wait for `release`."""
        with self._changed:
            self._before = position

    def release(self) -> None:
        """Forward every waiting request."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_for(self, count: int, timeout: float = 60.0) -> bool:
        """Wait until that many requests for the bytes of objects have arrived; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._arrived >= count, timeout)

    def wait_until_answered(self, timeout: float = 60.0) -> bool:
        """Wait until every request for bytes that has arrived is answered, also those of clients that were killed."""
        until = time.monotonic() + timeout
        while self.counts()["GET"] < self._arrived and time.monotonic() < until:
            time.sleep(0.01)
        return self.counts()["GET"] >= self._arrived

    def admit(self, kind: str, begin: int) -> None:
        """Count a request for bytes from `begin` on, and return when it may be forwarded."""
        if kind != "GET":
            return
        with self._changed:
            self._arrived += 1
            number = self._arrived
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._released or (number <= self._free and begin < self._before)
            )


def _kind(method: str, path: str) -> str:
    parts = urlsplit(path)
    if method != "GET":
        return method
    if "list-type" in parse_qs(parts.query):
        return "LIST"
    return "GET map" if parts.path.endswith((".json", ".yaml", ".yml")) else "GET"


def _begin(asked: str) -> int:
    """Return the first byte of a `Range` header."""
    return int(asked.removeprefix("bytes=").partition("-")[0] or 0)


class _Handler(HttpHandler):
    """One connection of a client, with one to the server behind it."""

    server: CountingProxy

    def setup(self) -> None:
        super().setup()
        self.upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def answer(self) -> None:
        proxy, kind = self.server, _kind(self.command, self.path)
        proxy.admit(kind, _begin(self.headers.get("range", "")))
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        # The Host header stays, since the signature covers it.
        self.upstream.putrequest(
            self.command, self.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            self.upstream.putheader(name, value)
        self.upstream.endheaders(body or None)
        answer = self.upstream.getresponse()
        data = answer.read()
        proxy.answered.append(AnsweredRequest(kind, self.path, answer.status, len(data)))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if answer.status not in {204, 304}:
            length = answer.headers.get("content-length", "0")
            self.send_header("Content-Length", length if kind == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data)
