"""The base of the HTTP servers of the tests: on loopback, in a thread, and closed whatever their clients do."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HOST = "127.0.0.1"


class HttpServer(ThreadingHTTPServer):
    """Serves in a separate thread. A context manager.

    Closes its connections, so that it ends while clients keep them open.

    Args:
        handler: answers requests; the server is its `server`.
        tls: the server then speaks https.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
    ) -> None:
        self._connections: set[socket.socket] = set()
        self._scheme = "https" if tls else "http"
        super().__init__((HOST, 0), handler)
        if tls is not None:
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self._close_connections()
        self.server_close()

    @property
    def endpoint_url(self) -> str:
        """The URL at which it listens."""
        return f"{self._scheme}://{HOST}:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def _close_connections(self) -> None:
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client has closed it


class HttpHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; subclasses define `answer`."""

    protocol_version = "HTTP/1.1"
    # Head and body are written separately; without this the body waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    timeout = 120

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server looks these up

    def answer(self) -> None:
        """Answer a request, of whatever method."""
        raise NotImplementedError

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True  # the client has closed the connection

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: stderr belongs to the test."""
