"""A server that takes pings, as healthchecks.io does, or fails at it in a chosen way."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

SECRET = "5f0c1b7e-secret-of-this-check"


class Ping(NamedTuple):
    """A request that came."""

    method: str
    path: str
    body: Any
    """Parsed."""


class PingServer:
    """Answers every request alike, and remembers it. A context manager.

    Args:
        behaviour: `ok`; a status such as `500`; `redirect`; `hang` answers never; `trickle` answers a byte at a time
            and without end; `close` hangs up; `noise` answers what is no HTTP.
        certificate: a PEM file with its key; the server then speaks https.
    """

    def __init__(self, behaviour: str = "ok", certificate: Path | None = None) -> None:
        self.behaviour = behaviour
        self._scheme = "http" if certificate is None else "https"
        self.pings: list[Ping] = []
        self.ended = threading.Event()
        self._turns: tuple[str, int] | None = None
        self._changed = threading.Condition()
        self._http = _Server(self)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        """A ping URL whose path is a secret."""
        return f"{self._scheme}://{self.host}/ping/{SECRET}"

    def turn(self, behaviour: str, after: int) -> None:
        """Behave otherwise after some requests."""
        self._turns = (behaviour, after)

    def take(self, ping: Ping) -> str:
        """Remember a request; give how to answer it."""
        with self._changed:
            self.pings.append(ping)
            self._changed.notify_all()
            if self._turns is not None and len(self.pings) > self._turns[1]:
                self.behaviour = self._turns[0]
            return self.behaviour

    def wait_for(self, count: int, timeout: float = 60.0) -> bool:
        """Wait until that many requests have come; tell whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.pings) >= count, timeout)

    def events(self) -> list[str]:
        """Give what each ping said, in their order: the end of its path."""
        return [ping.path.removeprefix(f"/ping/{SECRET}/") for ping in self.pings]


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, owner: PingServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        behaviour = self.server.owner.take(Ping(self.command, self.path, json.loads(body)))
        answer = getattr(self, f"_{behaviour}", None)
        if answer is not None:
            answer()
            return
        self.send_response(200 if behaviour == "ok" else int(behaviour))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.owner.take(Ping(self.command, self.path, None))
        self.send_response(200)
        self.end_headers()

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/login")
        self.end_headers()

    def _hang(self) -> None:
        self.server.owner.ended.wait(60)

    def _trickle(self) -> None:
        while not self.server.owner.ended.wait(0.05):
            self.wfile.write(b"H")

    def _close(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def _noise(self) -> None:
        self.wfile.write(self.path.encode() + b" is no HTTP\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: stderr is the test's."""
