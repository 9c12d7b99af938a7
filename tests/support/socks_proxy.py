"""A SOCKS 5 proxy (RFC 1928, with the login of RFC 1929) for one request after the other."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

_NO_LOGIN, _LOGIN = b"\x00", b"\x02"


@dataclass(slots=True)
class SocksProxy:
    """Connects where its clients want, and notes where that was. A context manager.

    Args:
        login: `user:password` that it demands; none when it is empty.
    """

    login: str = ""
    asked: list[str] = field(default_factory=list)
    """The hosts, as the clients named them."""
    logins: list[str] = field(default_factory=list)
    _socket: socket.socket = field(init=False)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def address(self) -> str:
        """Where it listens: host and port."""
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, IndexError):
            stream = connection.makefile("rb")
            _, count = stream.read(2)
            stream.read(count)
            connection.sendall(b"\x05" + (_LOGIN if self.login else _NO_LOGIN))
            if self.login:
                user = stream.read(stream.read(2)[1]).decode()
                password = stream.read(stream.read(1)[0]).decode()
                self.logins.append(f"{user}:{password}")
                is_right = self.logins[-1] == self.login
                connection.sendall(b"\x01\x00" if is_right else b"\x01\x01")
                if not is_right:
                    return
            kind = stream.read(4)[3]
            raw = stream.read(4 if kind == 1 else stream.read(1)[0])
            host = socket.inet_ntoa(raw) if kind == 1 else raw.decode()
            port = int.from_bytes(stream.read(2), "big")
            self.asked.append(host)
            with socket.create_connection(("127.0.0.1", port)) as there:
                connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
                threading.Thread(target=_pipe, args=(there, connection), daemon=True).start()
                while data := connection.recv(65536):
                    there.sendall(data)


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
