"""An S3 server without a store: it lists a data set by its rule, with any number of objects, quickly and truthfully.

It answers ListObjectsV2, GET and HEAD, and takes the few objects that are put into it. It checks no signature.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.http_servers import HttpHandler, HttpServer

from .data import DataSet

MAX_KEYS = 1000
WHEN = "2026-01-02T03:04:05.000Z"
TIME = 1767323045.0
"""`WHEN` as a number."""
HTTP_WHEN = "Fri, 02 Jan 2026 03:04:05 GMT"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing."""

    rows: list[str]
    """The `Contents` elements."""
    last: str
    """The key of the last one."""
    more: bool


class _Numbers(Sequence[str]):
    """The keys of a data set in order, as a sequence that is never made."""

    def __init__(self, data: DataSet, prefix: str) -> None:
        self.data = data
        self.prefix = prefix

    def __len__(self) -> int:
        return self.data.count

    def __getitem__(self, number: Any) -> Any:
        return self.prefix + self.data.key(number)


class ListingServer(HttpServer):
    """One bucket with a data set below a prefix. A context manager.

    Args:
        data: the objects.
        bucket: its name.
        prefix: of the data set's keys, with a slash at its end.
    """

    def __init__(self, data: DataSet, bucket: str, prefix: str) -> None:
        super().__init__(_Handler)
        self.data = data
        self.bucket = bucket
        self.prefix = prefix
        self.others: dict[str, bytes] = {}
        self.versions: dict[int, int] = {}
        """Of the objects that are not in their first version, by number."""
        self._keys = _Numbers(data, prefix)

    def put(self, key: str, body: bytes) -> None:
        """Put an object there that is not of the data set."""
        self.others[key] = body

    def content(self, key: str) -> bytes | None:
        """Return the bytes of an object; None where there is none."""
        digits = key.rpartition("/")[2].removesuffix(".dat")
        if not digits.isdecimal() or int(digits) >= self.data.count:
            return self.others.get(key)
        number = int(digits)
        return (
            self.data.content(number, self.versions.get(number, 0))
            if key == self._keys[number]
            else None
        )

    def page(self, prefix: str, after: str, limit: int) -> Page:
        """List what is below a prefix and behind a key."""
        limit = min(limit, MAX_KEYS)
        rows: list[str] = []
        last = ""
        for key, size, etag in self._below(prefix, after):
            if len(rows) == limit:
                return Page(rows, last, more=True)
            rows.append(
                f"<Contents><Key>{key}</Key><LastModified>{WHEN}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
                f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
            last = key
        return Page(rows, last, more=False)

    def _below(self, prefix: str, after: str) -> Iterator[tuple[str, int, str]]:
        named = sorted(key for key in self.others if key.startswith(prefix) and key > after)
        others = ((key, len(self.others[key]), _md5(self.others[key])) for key in named)
        return heapq.merge(others, self._of_the_data(prefix, after))

    def _of_the_data(self, prefix: str, after: str) -> Iterator[tuple[str, int, str]]:
        keys = self._keys
        start = max(bisect_left(keys, prefix), bisect_right(keys, after))
        for number in range(start, len(keys)):
            if not keys[number].startswith(prefix):
                return
            file = self.data.file(number, self.versions.get(number, 0))
            yield keys[number], file.size, file.md5


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class _Handler(HttpHandler):
    """Turns requests into pages and objects."""

    server: ListingServer

    def answer(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, _, key = unquote(parts.path)[1:].partition("/")
        if self.command not in {"GET", "HEAD"}:
            self.close_connection = True
            self._send(501, _error("NotImplemented"))
        elif bucket != self.server.bucket:
            self._send(404, _error("NoSuchBucket"))
        elif not key:
            self._list(query)
        else:
            self._object(key)

    def _list(self, query: dict[str, str]) -> None:
        if query.get("list-type") != "2" or query.get("delimiter"):
            self._send(501, _error("NotImplemented"))
            return
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        page = self.server.page(prefix, after, int(query.get("max-keys") or MAX_KEYS))
        # All keys here are letters, digits, dots and slashes, so their encoded form is the same.
        encoding = "<EncodingType>url</EncodingType>" if "encoding-type" in query else ""
        token = f"<NextContinuationToken>{page.last}</NextContinuationToken>"
        self._send(
            200,
            f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{NAMESPACE}">'
            f"<Name>{self.server.bucket}</Name><Prefix>{prefix}</Prefix>{encoding}"
            f"<KeyCount>{len(page.rows)}</KeyCount><MaxKeys>{MAX_KEYS}</MaxKeys>"
            f"<IsTruncated>{str(page.more).lower()}</IsTruncated>{token if page.more else ''}"
            f"{''.join(page.rows)}</ListBucketResult>".encode(),
        )

    def _object(self, key: str) -> None:
        body = self.server.content(key)
        if body is None:
            self._send(404, _error("NoSuchKey"))
            return
        etag = f'"{_md5(body)}"'
        same = self.headers.get("if-none-match") == etag
        self._send(304 if same else 200, b"" if same else body, etag)

    def _send(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response_only(status)
        if etag:
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", HTTP_WHEN)
        else:
            self.send_header("Content-Type", "application/xml")
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
