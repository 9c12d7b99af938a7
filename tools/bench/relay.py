"""A proxy on loopback that adds a delay to what clients send, and notes when bytes come back. It reads no HTTP.

Everything on a connection is held up alike, as a longer cable would do: requests of one client still run side by
side, and each waits its time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from typing import Self

HOST = "127.0.0.1"
SLOT_SECONDS = 0.1
FULL_SLOT_BYTES = 1 << 16
"""A tenth of a second with fewer bytes belongs to the talk before and after a transfer."""


class Relay:
    """Forwards to a port of this computer. A context manager; it runs in a thread of its own.

    Args:
        port: where the server listens.
        delay: seconds between a client's bytes and their arrival at the server.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self.upstream = port
        self.delay = delay
        self.slots: Counter[int] = Counter()
        self.open: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        starting = self._loop.create_server(lambda: _Client(self), HOST, 0, backlog=512)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for transport in tuple(self.open):
            transport.abort()
        await asyncio.sleep(0)  # closed connections learn of it in the next round of the loop
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "the relay was not entered"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which everything happens."""
        return self._loop

    def note(self, size: int) -> None:
        """Note bytes on their way to a client."""
        self.slots[int(self._loop.time() / SLOT_SECONDS)] += size

    def forget(self) -> None:
        """Start a new record."""
        self.slots.clear()

    def rate(self) -> float:
        """Return bytes a second from the first to the last time at which much came back."""
        return rate(self.slots)


def rate(slots: Counter[int]) -> float:
    """Return bytes a second over the slots from the first full one to the last."""
    full = [slot for slot, size in slots.items() if size >= FULL_SLOT_BYTES]
    if not full:
        return 0.0
    first, last = min(full), max(full)
    moved = sum(size for slot, size in slots.items() if first <= slot <= last)
    return moved / ((last - first + 1) * SLOT_SECONDS)


class _End(asyncio.Protocol):
    """One end of a connection; what one end gets, the other sends."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.relay.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.transport is not None:
            self.relay.open.discard(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Client(_End):
    """The end towards a client. What it gets waits for its time, and for the server to be reached."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self.waiting: deque[bytes] = deque()
        self.due = 0
        self.connecting: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connecting = self.relay.loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            await self.relay.loop.create_connection(
                lambda: _Upstream(self.relay, self), HOST, self.relay.upstream
            )
        except OSError:
            self.transport.close()  # the client sees what it would see without a relay
        else:
            self._send()

    def data_received(self, data: bytes) -> None:
        self.waiting.append(data)
        self.relay.loop.call_later(self.relay.delay, self._ripen)

    def _ripen(self) -> None:
        self.due += 1
        self._send()

    def _send(self) -> None:
        if self.other is None or self.other.transport is None:
            return
        while self.due:
            self.due -= 1
            self.other.transport.write(self.waiting.popleft())


class _Upstream(_End):
    """The end towards the server."""

    def __init__(self, relay: Relay, client: _Client) -> None:
        super().__init__(relay)
        self.other = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.other is not None
        self.other.other = self

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        self.relay.note(len(data))
        self.other.transport.write(data)
