"""Send one HTTP request with libcurl and receive its answer: the only way to the store.

One call is one attempt; `client.py` signs, repeats and translates. A small answer comes whole, a large one as chunks,
and no answer may be longer than its caller allows.

Why libcurl: it costs half of the processor time of the clients that were measured beside it, its headers, error bodies,
limits and paths are in the caller's hands, and it matches networks in `NO_PROXY`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pycurl

from s32s_agent.cancellation import CancelToken
from s32s_agent.stores.s3.curl import Handle
from s32s_agent.stores.s3.transport import HttpAnswer, HttpRequest, Transport


class Http:
    """Sends requests over connections that are kept open; thread-safe.

    A thread borrows a handle for the time of a request, so there are as many connections as requests at once.

    Args:
        transport: what all requests have in common.
        cancel_token: ends every wait within a second.
    """

    def __init__(self, transport: Transport, cancel_token: CancelToken | None = None) -> None:
        self.transport = transport
        self._cancel_token = cancel_token or CancelToken()
        self._free: list[Handle] = []
        self._lock = threading.Lock()
        self._share = pycurl.CurlShare()
        self._share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        self._share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)

    @property
    def through_proxy(self) -> bool:
        """Whether a request of a connection that is free now went through a proxy."""
        with self._lock:
            return any(each.went_through_proxy for each in self._free)

    def send(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and read its answer whole.

        Raises:
            TransferError: no whole answer came.
            Cancelled: the run is to end.
        """
        with self._handle() as handle:
            return handle.exchange(request)

    @contextlib.contextmanager
    def stream(self, request: HttpRequest) -> Iterator[tuple[HttpAnswer, Iterator[bytes]]]:
        """Send a request; yield the head of its answer and its body in chunks, which are read at most once.

        Leaving the context early closes the connection, since what is left of the body would block it.

        Raises:
            TransferError: no answer came; the chunks raise it where the body breaks off.
            Cancelled: the run is to end.
        """
        with self._handle() as handle:
            transfer = handle.transfer(request)
            try:
                yield transfer.head(), transfer.chunks()
            finally:
                transfer.close()

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Handle]:
        with self._lock:
            handle = self._free.pop() if self._free else None
        handle = handle or Handle(self.transport, self._share, self._cancel_token)
        try:
            yield handle
        finally:
            with self._lock:
                self._free.append(handle)
