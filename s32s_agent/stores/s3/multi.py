"""Read the body of an answer when its reader wants it, with a multi handle of libcurl for one transfer at a time."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Iterator

import pycurl

from s32s_agent.stores.s3.incoming import Incoming
from s32s_agent.stores.s3.transport import HttpAnswer, TransferError

POLL_SECONDS = 0.2
"""How long a wait for the network may last before the cancel token is looked at."""


class Multi:
    """A multi handle for one transfer at a time, so that its bytes can be taken when their reader wants them."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._sockets: dict[int, int] = {}
        """What libcurl waits for, by descriptor."""
        self._deadline: float | None = None
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def add(self, curl: pycurl.Curl) -> None:
        """Begin the transfer of a handle."""
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        """End the transfer of a handle."""
        self._multi.remove_handle(curl)

    def step(self) -> bool:
        """Wait for the network for a moment, and let libcurl work; tell whether the transfer is still under way."""
        running = 1
        for descriptor, ready in _wait(self._sockets, self._seconds_left()):
            _, running = self._multi.socket_action(descriptor, ready)
        if running and self._seconds_left() == 0:
            _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return bool(running)

    def outcome(self) -> tuple[int, str]:
        """Return libcurl's code and message of the transfer that has ended; 0 is success."""
        _, _, failed = self._multi.info_read()
        return (int(failed[0][1]), str(failed[0][2])) if failed else (0, "")

    def _seconds_left(self) -> float:
        if self._deadline is None:
            return POLL_SECONDS
        return max(0.0, min(POLL_SECONDS, self._deadline - time.monotonic()))

    def _watch(self, event: int, descriptor: int, _multi: object, _data: object) -> None:
        if event == pycurl.POLL_REMOVE:
            self._sockets.pop(descriptor, None)
        else:
            self._sockets[descriptor] = event

    def _set_timer(self, milliseconds: int) -> None:
        seconds = milliseconds / 1000
        self._deadline = None if milliseconds < 0 else time.monotonic() + seconds


def _wait(sockets: dict[int, int], seconds: float) -> list[tuple[int, int]]:
    """Wait until one of the sockets is ready; return those that are, with the flags that libcurl takes.

    Args:
        sockets: descriptors, each with `POLL_IN`, `POLL_OUT` or both.
        seconds: how long at most.
    """
    if sockets:
        return _ready(sockets, seconds)
    if seconds:
        time.sleep(seconds)
    return []


if sys.platform == "win32":

    def _ready(sockets: dict[int, int], seconds: float) -> list[tuple[int, int]]:
        reads = [each for each, event in sockets.items() if event & pycurl.POLL_IN]
        writes = [each for each, event in sockets.items() if event & pycurl.POLL_OUT]
        readable, writable, broken = map(set, select.select(reads, writes, sockets, seconds))
        return [
            (
                each,
                (pycurl.CSELECT_IN if each in readable else 0)
                | (pycurl.CSELECT_OUT if each in writable else 0)
                | (pycurl.CSELECT_ERR if each in broken else 0),
            )
            for each in readable | writable | broken
        ]

else:

    def _ready(sockets: dict[int, int], seconds: float) -> list[tuple[int, int]]:
        # Not select, which takes no descriptor over 1023, and not epoll, which takes a descriptor itself.
        poll = select.poll()
        for descriptor, event in sockets.items():
            reads = select.POLLIN if event & pycurl.POLL_IN else 0
            poll.register(
                descriptor, reads | (select.POLLOUT if event & pycurl.POLL_OUT else 0)
            )
        return [
            (
                each,
                (pycurl.CSELECT_IN if event & (select.POLLIN | select.POLLHUP) else 0)
                | (pycurl.CSELECT_OUT if event & select.POLLOUT else 0)
                | (pycurl.CSELECT_ERR if event & (select.POLLERR | select.POLLNVAL) else 0),
            )
            for each, event in poll.poll(seconds * 1000)
        ]


class Transfer:
    """A request under way, read by the thread that began it."""

    def __init__(
        self,
        multi: Multi,
        curl: pycurl.Curl,
        incoming: Incoming,
        check: Callable[[Incoming], None],
    ) -> None:
        self._multi = multi
        self._curl = curl
        self._incoming = incoming
        self._check = check
        self._running = True
        self._failure: TransferError | None = None
        multi.add(curl)

    def head(self) -> HttpAnswer:
        """Wait for status and headers."""
        while self._running and not self._incoming.head_is_complete:
            self._step()
        if self._failure is not None and not self._incoming.head_is_complete:
            raise self._failure
        return self._incoming.answer()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes; what came before a failure, too."""
        while True:
            while self._incoming.chunks:
                yield self._incoming.chunks.pop(0)
                self._incoming.resume()
            if self._failure is not None:
                raise self._failure
            if not self._running:
                return
            self._step()

    def _step(self) -> None:
        self._check(self._incoming)
        self._running = self._multi.step()
        if not self._running:
            code, message = self._multi.outcome()
            self._failure = self._incoming.failure(code, message) if code else None

    def close(self) -> None:
        """End the transfer; one that is not complete takes its connection with it."""
        self._multi.remove(self._curl)
