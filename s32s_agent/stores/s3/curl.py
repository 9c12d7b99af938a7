"""One handle of libcurl: set it up for a request, run it, and collect what comes.

Whatever is the same for all requests of a run is decided once, in `Transport`: which proxy, which certificates, how
long to wait. Only HTTP/1.1 is spoken: every store knows it, and the limits are those of one transfer on a connection.
"""

from __future__ import annotations

import contextlib
import functools
import re
import selectors
import time
from collections.abc import Callable, Iterator
from typing import Any

import pycurl

from s32s_agent.cancellation import CancelToken
from s32s_agent.stores.s3.transport import (
    AnswerBroken,
    AnswerTooLong,
    ConnectFailed,
    HttpAnswer,
    HttpRequest,
    ProxyFailed,
    TimedOut,
    TlsFailed,
    TransferError,
    Transport,
)

MAX_HEADER_BYTES = 64 << 10
"""Of all headers of an answer. S3 allows 2 KB of user metadata; stores and proxies add some of theirs."""
READ_BYTES = 256 << 10
"""Bytes that libcurl takes from a socket at once, and so the size of a chunk of a large body."""
_E_PROXY = 97
_SUPPRESS_CONNECT_HEADERS = 265
"""Numbers of curl.h that pycurl 7.49 has no names for."""
_POLL_SECONDS = 0.2
"""How long a wait for the network may last before the cancel token is looked at."""


_KINDS: dict[int, type[TransferError]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: ConnectFailed,
    pycurl.E_COULDNT_CONNECT: ConnectFailed,
    pycurl.E_INTERFACE_FAILED: ConnectFailed,
    pycurl.E_COULDNT_RESOLVE_PROXY: ProxyFailed,
    _E_PROXY: ProxyFailed,
    pycurl.E_SSL_CONNECT_ERROR: TlsFailed,
    pycurl.E_PEER_FAILED_VERIFICATION: TlsFailed,
    pycurl.E_SSL_CACERT_BADFILE: TlsFailed,
    pycurl.E_SSL_CIPHER: TlsFailed,
    pycurl.E_SSL_CERTPROBLEM: TlsFailed,
    pycurl.E_SSL_ISSUER_ERROR: TlsFailed,
    pycurl.E_OPERATION_TIMEDOUT: TimedOut,
}
_LOGIN = re.compile(r"//\S*@")
_UNSENT = frozenset({ConnectFailed, ProxyFailed, TlsFailed})


class Handle:
    """A handle of libcurl, and the connections that it keeps."""

    def __init__(
        self, transport: Transport, share: pycurl.CurlShare, cancel_token: CancelToken
    ) -> None:
        self._transport = transport
        self._options = tuple(_common_options(transport))
        self._cancel_token = cancel_token
        self._curl = pycurl.Curl()
        self._curl.setopt(pycurl.SHARE, share)
        self._multi: _Multi | None = None

    def exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and read its answer whole."""
        incoming = _Incoming(request.limit)
        self._set_up(request, incoming)
        curl = self._curl
        # Called some times a second at least, whatever the network does.
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, functools.partial(self._interrupts, incoming))
        try:
            curl.perform()
        except pycurl.error as error:
            self._cancel_token.check()
            raise incoming.failure(*error.args[:2]) from None
        self._cancel_token.check()
        return incoming.answer(b"".join(incoming.chunks))

    def _interrupts(self, incoming: _Incoming, *moved: float) -> int:
        """Return whether libcurl is to end the transfer; it asks some times a second."""
        stalled = incoming.stalls(int(moved[1] + moved[3]), self._transport.read_seconds)
        return int(stalled or self._cancel_token.cancelled)

    def _progress(self, incoming: _Incoming) -> None:
        """Raise what ends a transfer whose bytes are taken one by one."""
        self._cancel_token.check()
        if incoming.stalls(incoming.received, self._transport.read_seconds):
            raise incoming.failure(0, "")

    def transfer(self, request: HttpRequest) -> Transfer:
        """Begin a request whose body comes in chunks."""
        incoming = _Incoming(request.limit)
        self._set_up(request, incoming)
        if self._multi is None:
            self._multi = _Multi()
        return Transfer(self._multi, self._curl, incoming, self._progress)

    @property
    def went_through_proxy(self) -> bool:
        """Whether the last request did."""
        return bool(self._curl.getinfo(pycurl.USED_PROXY))

    def _set_up(self, request: HttpRequest, incoming: _Incoming) -> None:
        curl = self._curl
        curl.reset()  # options only: connections and the share stay
        for option, value in self._options:
            curl.setopt(option, value)
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, _header_lines(request))
        if request.seconds is not None:
            curl.setopt(pycurl.TIMEOUT_MS, max(1, int(request.seconds * 1000)))
        _set_method(curl, request)
        curl.setopt(pycurl.HEADERFUNCTION, incoming.take_header)
        curl.setopt(pycurl.WRITEFUNCTION, incoming.take_chunk)


def _common_options(transport: Transport) -> Iterator[tuple[int, Any]]:
    yield pycurl.NOSIGNAL, 1
    yield pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    yield pycurl.FOLLOWLOCATION, 0
    yield pycurl.PATH_AS_IS, 1
    yield pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1
    yield pycurl.SSL_ENABLE_ALPN, 0
    yield pycurl.USERAGENT, transport.user_agent
    yield pycurl.BUFFERSIZE, READ_BYTES
    yield pycurl.UPLOAD_BUFFERSIZE, READ_BYTES
    yield pycurl.TCP_KEEPALIVE, 1
    yield _SUPPRESS_CONNECT_HEADERS, 1
    yield pycurl.CONNECTTIMEOUT_MS, max(1, int(transport.connect_seconds * 1000))
    # Set even when it is empty: otherwise libcurl would read the environment and decide for itself.
    yield pycurl.PROXY, transport.proxy
    yield pycurl.NOPROXY, transport.no_proxy
    for option, value in (
        (pycurl.CAINFO, transport.ca_file),
        (pycurl.CAPATH, transport.ca_directory),
        (pycurl.PROXY_CAINFO, transport.ca_file),
        (pycurl.PROXY_CAPATH, transport.ca_directory),
    ):
        if value is not None:
            yield option, value


def _header_lines(request: HttpRequest) -> list[bytes]:
    lines = [
        f"{name}: {value}" if value else f"{name};" for name, value in request.headers.items()
    ]
    lines.append("Accept:")
    if request.method == "POST":
        lines.append("Expect:")  # the body of a POST is short
    return [line.encode() for line in lines]


def _set_method(curl: pycurl.Curl, request: HttpRequest) -> None:
    if request.method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif request.method in ("PUT", "POST"):
        outgoing = _Outgoing(request.body)
        curl.setopt(pycurl.UPLOAD, 1)
        curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        curl.setopt(pycurl.INFILESIZE_LARGE, len(request.body))
        curl.setopt(pycurl.READFUNCTION, outgoing.read)
        curl.setopt(pycurl.SEEKFUNCTION, outgoing.seek)
    elif request.method != "GET":
        curl.setopt(pycurl.CUSTOMREQUEST, request.method)


class _Outgoing:
    """A body as libcurl reads it; it begins again when a connection that was kept turns out to be dead."""

    def __init__(self, body: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(body)
        self._position = 0

    def read(self, size: int) -> bytes:
        taken = self._view[self._position : self._position + size]
        self._position += len(taken)
        return bytes(taken)

    def seek(self, offset: int, _origin: int = 0) -> int:
        self._position = offset
        return int(pycurl.SEEKFUNC_OK)


class _Incoming:
    """What came of an answer so far."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._header_bytes = 0
        self._moved = 0
        self._since = time.monotonic()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.head_is_complete = False
        self._problem: TransferError | None = None

    def stalls(self, moved: int, seconds: float) -> bool:
        """Return whether no byte has moved for too long.

        libcurl's own limit on a low speed looks at the mean of several seconds, and so takes that much longer.

        Args:
            moved: bytes so far, in both directions.
            seconds: how long none may move.
        """
        now = time.monotonic()
        if moved != self._moved:
            self._moved, self._since = moved, now
        if now - self._since > seconds:
            self._problem = TimedOut(f"no data was transferred for {seconds:g} seconds")
        return self._problem is not None

    @property
    def received(self) -> int:
        """Bytes so far, headers included."""
        return self._header_bytes + self._size

    def resume(self) -> None:
        """Count no time in which the reader did something else."""
        self._since = time.monotonic()

    def take_header(self, line: bytes) -> int:
        """Take a header line; any other result than its length ends the transfer."""
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._problem = AnswerTooLong(f"over {MAX_HEADER_BYTES} bytes of headers")
            return -1
        if line.startswith(b"HTTP/"):
            # Another head came before it: 100 Continue, for one.
            self.headers.clear()
            words = line.split(None, 2)
            self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        elif line.strip():
            name, _, value = line.partition(b":")
            self.headers[_text(name).strip().lower()] = _text(value).strip()
        else:
            self.head_is_complete = self.status >= 200  # noqa: PLR2004 (1xx is no answer yet)
        return len(line)

    def take_chunk(self, chunk: bytes) -> int:
        """Take bytes of the body; any other result than their number ends the transfer."""
        self._size += len(chunk)
        if self._size > self._limit:
            self._problem = AnswerTooLong(f"the answer is longer than {self._limit} bytes")
            return -1
        self.chunks.append(chunk)
        return len(chunk)

    def answer(self, body: bytes = b"") -> HttpAnswer:
        """Return what has come."""
        return HttpAnswer(self.status, self.headers, body)

    def failure(self, code: int, message: str) -> TransferError:
        """Return the error that says why no whole answer came."""
        if self._problem is not None:
            return self._problem
        kind = _KINDS.get(code, AnswerBroken)
        if "CONNECT" in message or "proxy" in message.lower():
            kind = ProxyFailed
            message = _LOGIN.sub("//", message)  # libcurl repeats a URL that it cannot parse
        return kind(message or f"error {code} of libcurl", sent=kind not in _UNSENT)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)
"""Not epoll, which would take a descriptor for each handle."""


class _Multi:
    """A multi handle for one transfer at a time, so that its bytes can be taken when their reader wants them."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._sockets = _Selector()
        self._deadline: float | None = None
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def add(self, curl: pycurl.Curl) -> None:
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        self._multi.remove_handle(curl)

    def step(self) -> bool:
        """Wait for the network for a moment, and let libcurl work; tell whether the transfer is still under way."""
        running = 1
        for key, event in self._sockets.select(self._seconds_left()):
            mask = pycurl.CSELECT_IN if event & selectors.EVENT_READ else 0
            mask |= pycurl.CSELECT_OUT if event & selectors.EVENT_WRITE else 0
            _, running = self._multi.socket_action(key.fd, mask)
        if running and self._seconds_left() == 0:
            _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return bool(running)

    def outcome(self) -> tuple[int, str]:
        """Return libcurl's code and message of the transfer that has ended; 0 is success."""
        _, _, failed = self._multi.info_read()
        return (int(failed[0][1]), str(failed[0][2])) if failed else (0, "")

    def _seconds_left(self) -> float:
        if self._deadline is None:
            return _POLL_SECONDS
        return max(0.0, min(_POLL_SECONDS, self._deadline - time.monotonic()))

    def _watch(self, event: int, descriptor: int, _multi: object, _data: object) -> None:
        with contextlib.suppress(KeyError):
            self._sockets.unregister(descriptor)
        mask = selectors.EVENT_READ if event & pycurl.POLL_IN else 0
        mask |= selectors.EVENT_WRITE if event & pycurl.POLL_OUT else 0
        if event != pycurl.POLL_REMOVE and mask:
            self._sockets.register(descriptor, mask)

    def _set_timer(self, milliseconds: int) -> None:
        seconds = milliseconds / 1000
        self._deadline = None if milliseconds < 0 else time.monotonic() + seconds


class Transfer:
    """A request under way, read by the thread that began it."""

    def __init__(
        self,
        multi: _Multi,
        curl: pycurl.Curl,
        incoming: _Incoming,
        check: Callable[[_Incoming], None],
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
