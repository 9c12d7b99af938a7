"""A server that receives pings as healthchecks.io does, or fails in a chosen way."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, NamedTuple

from support.http_servers import HOST, HttpHandler, HttpServer

SECRET = "5f0c1b7e-secret-of-this-check"


class Ping(NamedTuple):
    """A received request."""

    method: str
    path: str
    body: Any
    """Parsed."""


class PingServer(HttpServer):
    """Answers every request in the same way, and records it. A context manager.

    Args:
        behaviour: `ok`; a status such as `500`; `redirect`; `hang` never answers; `trickle` answers one byte at a
            time without end; `close` closes the connection; `noise` answers with bytes that are not HTTP.
        certificate: a PEM file with its key; the server then speaks https.
    """

    def __init__(self, behaviour: str = "ok", certificate: Path | None = None) -> None:
        tls = None
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
        super().__init__(_Handler, tls)
        self.behaviour = behaviour
        self.pings: list[Ping] = []
        self.ended = threading.Event()
        self._next: tuple[str, int] | None = None
        self._changed = threading.Condition()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        super().__exit__(*raised)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing: the tests are about clients that give up."""

    @property
    def host(self) -> str:
        return f"{HOST}:{self.server_port}"

    @property
    def url(self) -> str:
        """A ping URL whose path is a secret."""
        return f"{self.endpoint_url}/ping/{SECRET}"

    def change(self, behaviour: str, after: int) -> None:
        """Change the behaviour after some requests."""
        self._next = (behaviour, after)

    def take(self, ping: Ping) -> str:
        """Record a request; return how to answer it."""
        with self._changed:
            self.pings.append(ping)
            self._changed.notify_all()
            if self._next is not None and len(self.pings) > self._next[1]:
                self.behaviour = self._next[0]
            return self.behaviour

    def wait_for(self, count: int, timeout: float = 60.0) -> bool:
        """Wait until that many requests have arrived; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.pings) >= count, timeout)

    def events(self) -> list[str]:
        """Return the event of each ping, in their order: the end of its path."""
        return [ping.path.removeprefix(f"/ping/{SECRET}/") for ping in self.pings]


class _Handler(HttpHandler):
    protocol_version = "HTTP/1.0"
    server: PingServer

    def answer(self) -> None:
        if self.command == "GET":
            self._answer_get()
        else:
            self._answer_ping()

    def _answer_ping(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        behaviour = self.server.take(Ping(self.command, self.path, json.loads(body)))
        answer = getattr(self, f"_{behaviour}", None)
        if answer is not None:
            answer()
            return
        self.send_response(200 if behaviour == "ok" else int(behaviour))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer_get(self) -> None:
        self.server.take(Ping(self.command, self.path, None))
        self.send_response(200)
        self.end_headers()

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/login")
        self.end_headers()

    def _hang(self) -> None:
        self.server.ended.wait(60)

    def _trickle(self) -> None:
        while not self.server.ended.wait(0.05):
            self.wfile.write(b"H")

    def _close(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def _noise(self) -> None:
        self.wfile.write(self.path.encode() + b" is no HTTP\r\n\r\n")
