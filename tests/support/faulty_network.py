"""A TCP proxy that treats connections as bad networks do. Of S3 it knows only how a request begins.

with FaultyNetwork(server.endpoint_url) as network:
    network.on(b"list-type=2", Fault(reset_after=0), times=1)
    slave.configure(s3={"endpoint_url": network.endpoint_url})
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a connection from a request on. Counts are bytes of one direction, heads included."""

    latency: float = 0.0
    """Seconds by which every transfer is delayed."""
    rate: float | None = None
    """Bytes a second, of the answer."""
    upload_rate: float | None = None
    """Bytes a second, of the request."""
    reset_after: int | None = None
    """Bytes until the connection is reset."""
    end_after: int | None = None
    """Bytes until the connection is closed in order."""
    silence_after: int | None = None
    """Bytes until no more are sent; the connection stays open."""
    reset_upload_after: int | None = None
    """Bytes of the request until the connection is reset, on both sides."""
    end_upload_after: int | None = None
    """Bytes of the request until the connection to the server is half-closed; the client gets the answer."""
    silence_upload_after: int | None = None
    """Bytes of the request until no more are read from the client; the connection stays open."""
    swallow: bool = False
    """No byte reaches the server: a black hole."""
    corrupt: int | None = None
    """The position of the byte that is inverted; negative ones count from the end of a received piece."""
    corrupt_upload: int | None = None
    """The same, of the request, its head included."""


@dataclass(slots=True)
class _Rule:
    begins: bytes
    fault: Fault
    left: float


@dataclass(slots=True)
class _Connection:
    """One connection of a client, with one to the server behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    fault: Fault | None = None
    answered: int = 0
    """Bytes of the answer since the fault began."""
    asked: int = 0
    """Bytes of the request, since it began."""


class FaultyNetwork:
    """Forwards to one server. A context manager.

    Attributes:
        matched: how often each of the requests that have a rule was seen.
    """

    def __init__(self, upstream_url: str) -> None:
        parts = urlsplit(upstream_url)
        self._upstream = parts.hostname or "", parts.port or 80
        self._rules: list[_Rule] = []
        self.matched: dict[bytes, int] = {}
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._run(),)
        )
        self._ended = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def on(self, begins: bytes, fault: Fault, times: float = float("inf")) -> None:
        """Apply a fault to a connection with a request whose head contains these bytes, `times` times or always."""
        self._rules.append(_Rule(begins, fault, times))
        self.matched.setdefault(begins, 0)

    def clear_faults(self) -> None:
        """Apply no fault to new requests."""
        self._rules.clear()
        self.matched.clear()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=128)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        from_server, server = await asyncio.open_connection(*self._upstream)
        connection = _Connection(client, server)
        both = self._up(reader, connection), self._down(from_server, connection)
        tasks = [asyncio.ensure_future(each) for each in both]
        try:
            await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            client.transport.abort()
            server.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_PIECE):
                self._match(data, connection)
                fault = connection.fault or Fault()
                connection.asked += len(data)
                start = connection.asked - len(data)
                data = _corrupted(data, start, fault.corrupt_upload)
                limits = (
                    fault.reset_upload_after,
                    fault.end_upload_after,
                    fault.silence_upload_after,
                )
                data, ends = _up_to(data, start, limits)
                await asyncio.sleep(fault.latency)
                if fault.upload_rate:
                    await asyncio.sleep(len(data) / fault.upload_rate)
                if not fault.swallow:
                    connection.server.write(data)
                    await connection.server.drain()
                if ends:
                    await self._end_upload(fault, connection)
        connection.server.transport.abort()

    async def _end_upload(self, fault: Fault, connection: _Connection) -> None:
        """Apply a fault whose limit a request has reached."""
        if fault.reset_upload_after is not None:
            _reset(connection.client)
            raise ConnectionResetError
        if fault.end_upload_after is not None:
            connection.server.write_eof()
        else:
            # Not another event: a connection without a waiting task would be collected as garbage.
            await self._ended.wait()

    def _match(self, data: bytes, connection: _Connection) -> None:
        """Find the rule of a request that begins here; a new request ends the fault of the previous one."""
        head = data.partition(b"\r\n\r\n")[0]
        if b" HTTP/1.1" not in head.partition(b"\r\n")[0]:
            return
        connection.fault = None
        connection.answered = connection.asked = 0
        for rule in self._rules:
            if rule.begins not in head:
                continue
            self.matched[rule.begins] += 1
            if rule.left > 0:
                rule.left -= 1
                connection.fault = rule.fault
            return

    async def _down(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_PIECE):
                if not await self._answer(data, connection):
                    return
            connection.client.close()

    async def _answer(self, data: bytes, connection: _Connection) -> bool:
        """Forward a piece of an answer, as the fault allows; return whether to continue."""
        fault, start = connection.fault or Fault(), connection.answered
        connection.answered += len(data)
        data = _corrupted(data, start, fault.corrupt)
        limits = fault.reset_after, fault.end_after, fault.silence_after
        data, ends = _up_to(data, start, limits)
        if fault.rate:
            await _write_slowly(data, fault.rate, connection.client)
        else:
            connection.client.write(data)
            await connection.client.drain()
        if ends and fault.reset_after is not None:
            _reset(connection.client)
        elif ends and fault.end_after is not None:
            connection.client.write_eof()
        return not ends


def _up_to(data: bytes, start: int, limits: Sequence[int | None]) -> tuple[bytes, bool]:
    """Return the part of a piece before the limit, if there is one, and whether there is more."""
    limit = next((each for each in limits if each is not None), None)
    if limit is None:
        return data, False
    return data[: max(0, limit - start)], start + len(data) > limit


async def _write_slowly(data: bytes, rate: float, writer: asyncio.StreamWriter) -> None:
    """Write at a rate, twenty times a second or a byte at a time."""
    size = max(1, int(rate / 20))
    for offset in range(0, len(data), size):
        piece = data[offset : offset + size]
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(len(piece) / rate)


def _corrupted(data: bytes, start: int, position: int | None) -> bytes:
    if position is None:
        return data
    index = len(data) + position if position < 0 else position - start
    if not 0 <= index < len(data):
        return data
    return data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
