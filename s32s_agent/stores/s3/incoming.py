"""Collect what comes of an answer, read its head, and say why no whole answer came."""

from __future__ import annotations

import re
import time

import pycurl

from s32s_agent.stores.s3.transport import (
    AnswerBroken,
    AnswerTooLong,
    ConnectFailed,
    HttpAnswer,
    ProxyFailed,
    TimedOut,
    TlsFailed,
    TransferError,
)

MAX_HEADER_BYTES = 64 << 10
"""Of all headers of an answer. S3 allows 2 KB of user metadata; stores and proxies add some of theirs."""
_E_PROXY = 97
_E_TOO_LARGE = 100
"""Numbers of curl.h that pycurl 7.49 has no names for."""

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
    _E_TOO_LARGE: AnswerTooLong,
}
_LOGIN = re.compile(r"//\S*@")
_UNSENT = frozenset({ConnectFailed, ProxyFailed, TlsFailed})


class Incoming:
    """What came of an answer so far.

    libcurl calls for each line of the head, in every thread, and all threads share one interpreter. So a line is only
    kept, by a method of the interpreter itself, and the head is read when it is complete.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._moved = 0
        self._since = time.monotonic()
        self._head: tuple[int, dict[str, str]] | None = None
        self.lines: list[bytes] = []
        """Of the head, as they came; heads of status 1xx before it, and what may come after the body."""
        self.chunks: list[bytes] = []
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
        """A number that grows with whatever comes."""
        return len(self.lines) + self._size

    def resume(self) -> None:
        """Count no time in which the reader did something else."""
        self._since = time.monotonic()

    @property
    def head_is_complete(self) -> bool:
        """Whether status and headers are there."""
        if self._head is None and self.lines and not self.lines[-1].strip():
            status, headers = _read_head(self.lines)
            if status >= 200:  # noqa: PLR2004 (1xx is no answer yet)
                self._head = status, headers
        return self._head is not None

    def take_chunk(self, chunk: bytes) -> int:
        """Take bytes of the body; any other result than their number ends the transfer."""
        self._size += len(chunk)
        if self._size > self._limit:
            self._problem = AnswerTooLong(f"the answer is longer than {self._limit} bytes")
            return -1
        self.chunks.append(chunk)
        return len(chunk)

    def answer(self, body: bytes = b"") -> HttpAnswer:
        """Return what has come.

        Raises:
            AnswerTooLong: the head is longer than any that a store sends.
        """
        if sum(map(len, self.lines)) > MAX_HEADER_BYTES:
            raise AnswerTooLong(f"over {MAX_HEADER_BYTES} bytes of headers")
        status, headers = self._head or _read_head(self.lines)
        return HttpAnswer(status, headers, body)

    def failure(self, code: int, message: str) -> TransferError:
        """Return the error that says why no whole answer came."""
        if self._problem is not None:
            return self._problem
        kind = _KINDS.get(code, AnswerBroken)
        if "CONNECT" in message or "proxy" in message.lower():
            kind = ProxyFailed
            message = _LOGIN.sub("//", message)  # libcurl repeats a URL that it cannot parse
        return kind(message or f"error {code} of libcurl", sent=kind not in _UNSENT)


def _read_head(lines: list[bytes]) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of the last head."""
    status = 0
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            # Another head came before it: 100 Continue, for one.
            headers = {}
            words = line.split(None, 2)
            status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        elif line.strip():
            name, _, value = _text(line).partition(":")
            headers[name.strip().lower()] = value.strip()
    return status, headers


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
