"""A server that answers each request with bytes that a test has written, whatever they are."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class RawServer:
    """Answers requests in their order with raw bytes, the last one again and again. A context manager.

    Args:
        answers: whole answers; b"" closes the connection instead, None leaves the client waiting.
        host: the address to listen on.
        continues: what is sent to a client that waits for `100 Continue`: at once, "late", "never" or "refused".
        closes: end each connection behind its first answer, without a word in the answer.
        refuses_early: answer when the head is there, and read no body.
    """

    answers: Sequence[bytes | None]
    host: str = "127.0.0.1"
    continues: str = "at once"
    closes: bool = False
    refuses_early: bool = False
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
        is_v6 = ":" in self.host
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        self._socket = socket.create_server((self.host, 0), family=family)
        name = f"[{self.host}]" if is_v6 else self.host
        self._url = f"http://{name}:{self._socket.getsockname()[1]}"
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
        if b"expect: 100-continue" in head.lower() and not self._continue(connection, head):
            return True
        if self.refuses_early:
            return self._refuse(connection, head)
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
        return not self.closes

    def _continue(self, connection: socket.socket, head: bytes) -> bool:
        """Answer a client that waits before it sends its body; return whether the body comes now."""
        if self.continues == "refused":
            self.requests.append(head)
            connection.sendall(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
            return False
        if self.continues == "late":
            time.sleep(0.3)
        if self.continues != "never":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _refuse(self, connection: socket.socket, head: bytes) -> bool:
        self.requests.append(head)
        connection.sendall(self.answers[0] or b"")
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while connection.recv(65536):  # or the kernel would throw the answer away
                pass
        return False


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; the names of headers have `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str, message: str = "told", extra: str = "") -> bytes:
    """Return an answer of S3 that refuses."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return answer(status, xml.encode(), Content_Type="application/xml", x_amz_request_id="1")
