"""The messages of S3 over HTTP as values: requests, replies, pages of listings, and matchers of requests."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


XML = {"content-type": "application/xml"}


WHEN = "2026-01-02T03:04:05.000Z"


HTTP_WHEN = "Fri, 02 Jan 2026 03:04:05 GMT"


MAX_KEYS = 1000


TOKEN_MARK = "after:"


class BadTokenError(ValueError):
    """A continuation token that this server did not send."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client."""

    method: str
    path: str
    """Percent-decoded, without the query: `/bucket/key`."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = field(default=b"", repr=False)

    @property
    def bucket(self) -> str:
        return self.path[1:].partition("/")[0]

    @property
    def key(self) -> str:
        return self.path[1:].partition("/")[2]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: bool = True
    """Send Content-Length; without it the connection ends with the body."""
    chunked: bool = False
    """Send the body in chunks of its halves instead of with a length."""
    close_early: int | None = None
    """Send only that many bytes of the body, then close the connection."""
    delay: float = 0.0
    """Seconds to wait first."""
    drip: float = 0.0
    """Seconds between one byte of the body and the next."""
    raw: Iterable[bytes] | None = None
    """Send these bytes and close the connection: no HTTP at all, or what no server of this library would write."""


Match = Callable[[Request], bool]


Replier = Callable[[Request], Reply | None]
"""Returns the reply; None leaves the request to the next rules, and at last to the normal answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object in a listing, as text: a broken server can send anything."""

    key: str | None
    size: str
    etag: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, to be changed with `dataclasses.replace` before it is written."""

    name: str
    prefix: str
    rows: tuple[Row, ...]
    is_truncated: str | None
    token: str | None
    key_count: int
    encoded: bool
    """Keys are percent-encoded, and the page declares it."""
    doctype: str = ""

    def reply(self) -> Reply:
        """Return it as XML. Keys that are not encoded are sent unchanged, with their control characters."""
        fields = [
            ("Name", self.name),
            ("Prefix", self._text(self.prefix)),
            ("KeyCount", str(self.key_count)),
            ("MaxKeys", str(MAX_KEYS)),
            ("EncodingType", "url" if self.encoded else None),
            ("IsTruncated", self.is_truncated),
            ("NextContinuationToken", self.token),
        ]
        parts = [element(tag, text) for tag, text in fields if text is not None]
        parts += [self._row(row) for row in self.rows]
        root = f'<ListBucketResult xmlns="{NAMESPACE}">{"".join(parts)}</ListBucketResult>'
        return xml_reply(self.doctype + root)

    def _text(self, key: str) -> str:
        return quote(key, safe="/") if self.encoded else key

    def _row(self, row: Row) -> str:
        key = "" if row.key is None else self._key(row.key)
        rest = (("LastModified", WHEN), ("ETag", row.etag), ("Size", row.size))
        inner = key + "".join(
            itertools.starmap(element, (*rest, ("StorageClass", "STANDARD")))
        )
        return f"<Contents>{inner}</Contents>"

    def _key(self, key: str) -> str:
        # With a DOCTYPE, the test wants its entities to be expanded.
        return f"<Key>{key}</Key>" if self.doctype else element("Key", self._text(key))


def is_list(request: Request) -> bool:
    """Match a ListObjectsV2 request."""
    return request.method == "GET" and request.query.get("list-type") == "2"


def is_get(key: str) -> Match:
    """Match GetObject of one key; some clients name the operation in the query."""
    return lambda request: (
        request.method == "GET" and request.key == key and not request.query.keys() - {"x-id"}
    )


def is_head(key: str) -> Match:
    """Match HeadObject of one key."""
    return lambda request: request.method == "HEAD" and request.key == key


def is_put(key: str) -> Match:
    """Match PutObject of one key."""
    return lambda request: request.method == "PUT" and request.key == key and not request.query


def is_delete(key: str) -> Match:
    """Match DeleteObject of one key."""
    return lambda request: request.method == "DELETE" and request.key == key


def error(status: int, code: str, message: str = "") -> Reply:
    """Return an error of S3."""
    inner = element("Code", code) + element("Message", message or code)
    return replace(xml_reply(f"<Error>{inner}</Error>"), status=status)


def multipart_etag(pieces: list[bytes]) -> str:
    """Return the ETag that AWS computes from these parts, in quotes."""
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(pieces)}"'


def xml_reply(text: str) -> Reply:
    return Reply(
        body=('<?xml version="1.0" encoding="UTF-8"?>\n' + text).encode(), headers=XML
    )


def element(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def result_reply(tag: str, *fields: tuple[str, str]) -> Reply:
    return xml_reply(
        f'<{tag} xmlns="{NAMESPACE}">{"".join(itertools.starmap(element, fields))}</{tag}>'
    )


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def token_after(key: str) -> str:
    """Return the token with which a listing continues after a key."""
    return TOKEN_MARK + base64.urlsafe_b64encode(key.encode()).decode()


def key_of(token: str) -> str:
    if not token.startswith(TOKEN_MARK):
        raise BadTokenError
    return base64.urlsafe_b64decode(token.removeprefix(TOKEN_MARK)).decode()
