"""A server that answers each request with bytes that a test has written, whatever they are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class RawServer:
    """Answers requests in their order with raw bytes, the last one again and again. A context manager.

    Args:
        answers: whole answers; b"" closes the connection instead, None leaves the client waiting.
    """

    answers: Sequence[bytes | None]
    requests: list[bytes] = field(default_factory=list)
    """Heads, as they came."""
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    _socket: socket.socket = field(init=False)
    _url: str = ""
    _threads: list[threading.Thread] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._url

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            while self._answer(connection):
                pass
        except OSError:
            return
        finally:
            connection.close()

    def _answer(self, connection: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return False
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        if b"expect: 100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < length:
            body += connection.recv(65536)
        with self._lock:
            number = len(self.requests)
            self.requests.append(head)
            self.bodies.append(body)
        answer = self.answers[min(number, len(self.answers) - 1)]
        if answer is None:
            return bool(connection.recv(1))  # until the client or the test ends it
        if not answer:
            return False
        connection.sendall(answer)
        return True


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; the names of headers have `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str, message: str = "told", extra: str = "") -> bytes:
    """Return an answer of S3 that refuses."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return answer(status, xml.encode(), Content_Type="application/xml", x_amz_request_id="1")
