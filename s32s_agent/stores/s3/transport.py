"""What goes over the network, as values: requests, answers, what all of them have in common, and why none came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class TransferError(Exception):
    """No whole answer came. Says nothing about what is in the store.

    Args:
        message: what libcurl says, without the URL's credentials.
        sent: the request may have reached the server, which may have done what it asks for.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ConnectFailed(TransferError):
    """No connection: name resolution, routing, refused, or too slow."""


class ProxyFailed(TransferError):
    """The proxy refused, or cannot be reached."""


class TlsFailed(TransferError):
    """The certificate is not trusted, has expired, or names another host; or TLS broke."""


class TimedOut(TransferError):
    """No byte came for too long, or the whole took too long."""


class AnswerBroken(TransferError):
    """The connection ended before the answer did, or it is not HTTP."""


class AnswerTooLong(TransferError):
    """The answer is longer than the caller allows."""


@dataclass(frozen=True, slots=True)
class Transport:
    """What all requests of a run have in common."""

    user_agent: str = "s32s-agent"
    ca_file: str | None = None
    """Certificates of the authorities that are trusted; None where only `ca_directory` is."""
    ca_directory: str | None = None
    """The same, one file each, named by their hashes: read one by one, which starts faster."""
    proxy: str = ""
    """URL of the proxy, with its login; "" goes directly."""
    no_proxy: str = ""
    """Hosts, suffixes and networks that are reached directly, separated by commas; `*` is all."""
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    """For the next byte, in either direction."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, signed already."""

    method: str
    url: str
    """With path and query encoded; sent exactly like this."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""
    limit: int = 1 << 20
    """Bytes of the longest body of an answer that is read whole."""
    seconds: float | None = None
    """For the whole; None is no limit but that of every byte."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer, or the head of one whose body comes in chunks."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; UTF-8, or Latin-1 where it is not."""
    body: bytes = b""
