"""One handle of libcurl: set it up for a request, run it, and collect what comes.

Whatever is the same for all requests of a run is decided once, in `Transport`: which proxy, which certificates, how
long to wait. Only HTTP/1.1 is spoken: every store knows it, and the limits are those of one transfer on a connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pycurl

from s32s_agent.cancellation import CancelToken
from s32s_agent.stores.s3.incoming import Incoming
from s32s_agent.stores.s3.multi import POLL_SECONDS, Multi, Transfer
from s32s_agent.stores.s3.transport import (
    HttpAnswer,
    HttpRequest,
    Transport,
)

READ_BYTES = 256 << 10
"""Bytes that libcurl takes from a socket at once, and so the size of a chunk of a large body."""
_WITH_BODY = frozenset({"PUT", "POST"})
_SUPPRESS_CONNECT_HEADERS = 265
"""A number of curl.h that pycurl 7.49 has no name for."""


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
        self._multi: Multi | None = None
        self._shape: tuple[str, bool] | None = None
        """Method, and whether the body comes in chunks: what the options are set up for."""

    def exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and read its answer whole."""
        incoming = Incoming(request.limit)
        self._set_up(request, incoming, streams=False)
        # Called some times a second at least, whatever the network does.
        self._curl.setopt(pycurl.XFERINFOFUNCTION, self._interrupts(incoming))
        try:
            self._curl.perform()
        except pycurl.error as error:
            self._cancel_token.check()
            raise incoming.failure(*error.args[:2]) from None
        self._cancel_token.check()
        return incoming.answer(b"".join(incoming.chunks))

    def _interrupts(self, incoming: Incoming) -> Callable[[int, int, int, int], int]:
        """Return what tells libcurl whether to end the transfer; it asks ten times in a short one, so it is quick."""
        cancel_token, seconds = self._cancel_token, self._transport.read_seconds
        stalls, now = incoming.stalls, time.monotonic
        next_look = now() + POLL_SECONDS

        def interrupts(_download: int, received: int, _upload: int, sent: int) -> int:
            nonlocal next_look
            if (moment := now()) < next_look:
                return 0
            next_look = moment + POLL_SECONDS
            return int(stalls(received + sent, seconds) or cancel_token.cancelled)

        return interrupts

    def _progress(self, incoming: Incoming) -> None:
        """Raise what ends a transfer whose bytes are taken one by one."""
        self._cancel_token.check()
        if incoming.stalls(incoming.received, self._transport.read_seconds):
            raise incoming.failure(0, "")

    def transfer(self, request: HttpRequest) -> Transfer:
        """Begin a request whose body comes in chunks."""
        incoming = Incoming(request.limit)
        self._set_up(request, incoming, streams=True)
        if self._multi is None:
            self._multi = Multi()
        return Transfer(self._multi, self._curl, incoming, self._progress)

    @property
    def went_through_proxy(self) -> bool:
        """Whether the last request did."""
        return bool(self._curl.getinfo(pycurl.USED_PROXY))

    def _set_up(self, request: HttpRequest, incoming: Incoming, *, streams: bool) -> None:
        """Set all options that differ from those of the request before."""
        curl, shape = self._curl, (request.method, streams)
        if shape != self._shape:
            self._shape = None  # what an exception leaves behind is no shape
            curl.reset()  # options only: connections and the share stay
            for option, value in self._options:
                curl.setopt(option, value)
            curl.setopt(pycurl.NOPROGRESS, int(streams))
            _set_method(curl, request.method)
            self._shape = shape
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, _header_lines(request))
        seconds = request.seconds
        curl.setopt(pycurl.TIMEOUT_MS, 0 if seconds is None else max(1, int(seconds * 1000)))
        if request.method in _WITH_BODY:
            _set_body(curl, request.body)
        curl.setopt(pycurl.HEADERFUNCTION, incoming.lines.append)
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


def _set_method(curl: pycurl.Curl, method: str) -> None:
    if method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif method in _WITH_BODY:
        curl.setopt(pycurl.UPLOAD, 1)
    if method not in ("GET", "HEAD"):
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def _set_body(curl: pycurl.Curl, body: bytes | bytearray | memoryview) -> None:
    outgoing = _Outgoing(body)
    curl.setopt(pycurl.INFILESIZE_LARGE, len(body))
    curl.setopt(pycurl.READFUNCTION, outgoing.read)
    curl.setopt(pycurl.SEEKFUNCTION, outgoing.seek)


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
