"""A small S3 over a dict that does exactly what a test scripts, where a real server would behave.

Signatures are not looked at, and no SDK is used: what goes over the wire is written here, so that it can be wrong
on purpose. Broken listings are ready-made in `broken_listings`.

    with ScriptedS3() as server:
        server.put("img/x.png", b"...")
        server.on(is_get("img/x.png"), Reply(503), times=2)
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from support.http_servers import HttpHandler, HttpServer

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XML = {"content-type": "application/xml"}
KEPT_HEADERS = ("content-type", "cache-control", "content-encoding", "content-disposition")
WHEN = "2026-01-02T03:04:05.000Z"
HTTP_WHEN = "Fri, 02 Jan 2026 03:04:05 GMT"
MAX_KEYS = 1000
TOKEN_MARK = "after:"


class BadTokenError(ValueError):
    """A continuation token that this server never gave."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for."""

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
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: bool = True
    """Send Content-Length; without it the connection ends with the body."""
    chunked: bool = False
    """Send the body in chunks of its halves instead of with a length."""
    close_early: int | None = None
    """Send only that many bytes of the body, then hang up."""
    delay: float = 0.0
    """Seconds to wait first."""
    drip: float = 0.0
    """Seconds between one byte of the body and the next."""
    raw: Iterable[bytes] | None = None
    """Send these pieces and hang up: no HTTP at all, or what no server of this library would write."""


Match = Callable[[Request], bool]
Replier = Callable[[Request], Reply | None]
"""Makes the reply; None leaves the request to the rules after it, and in the end to good behaviour."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object and what is sent with it."""

    data: bytes
    etag: str
    """In quotes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Content type and user metadata, by lower-case name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object in a listing, as text: a broken server can write anything."""

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
    """Keys are percent-encoded, and the page says so."""
    doctype: str = ""

    def reply(self) -> Reply:
        """Write it as XML. Keys that are not encoded go out as they are, control characters too."""
        fields = [
            ("Name", self.name),
            ("Prefix", self._text(self.prefix)),
            ("KeyCount", str(self.key_count)),
            ("MaxKeys", str(MAX_KEYS)),
            ("EncodingType", "url" if self.encoded else None),
            ("IsTruncated", self.is_truncated),
            ("NextContinuationToken", self.token),
        ]
        parts = [_element(tag, text) for tag, text in fields if text is not None]
        parts += [self._row(row) for row in self.rows]
        root = f'<ListBucketResult xmlns="{NAMESPACE}">{"".join(parts)}</ListBucketResult>'
        return _xml(self.doctype + root)

    def _text(self, key: str) -> str:
        return quote(key, safe="/") if self.encoded else key

    def _row(self, row: Row) -> str:
        key = "" if row.key is None else self._key(row.key)
        rest = (("LastModified", WHEN), ("ETag", row.etag), ("Size", row.size))
        inner = key + "".join(
            itertools.starmap(_element, (*rest, ("StorageClass", "STANDARD")))
        )
        return f"<Contents>{inner}</Contents>"

    def _key(self, key: str) -> str:
        # With a DOCTYPE, the test wants its entities to be seen.
        return f"<Key>{key}</Key>" if self.doctype else _element("Key", self._text(key))


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
    """Make an S3 error."""
    inner = _element("Code", code) + _element("Message", message or code)
    return replace(_xml(f"<Error>{inner}</Error>"), status=status)


class ScriptedS3(HttpServer):
    """One bucket on 127.0.0.1 that behaves, until `on` says otherwise. A context manager.

    Attributes:
        objects: what is in the bucket, by key.
        uploads: the parts of each unfinished multipart upload: (key, number -> bytes) by upload id.
        requests: everything that was asked, in order of arrival.
        page_size: the most keys on a page, whatever the client asks for.
    """

    def __init__(self, bucket: str = "bucket", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Handler, tls)
        self.bucket = bucket
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.requests: list[Request] = []
        self.page_size = MAX_KEYS
        self._upload_headers: dict[str, Mapping[str, str]] = {}
        self._rules: list[_Rule] = []
        self._lock = threading.RLock()
        self._counter = itertools.count(1)
        self._faults: list[BaseException] = []

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        if self._faults and not any(raised):
            raise self._faults[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A mistake in a script looks like a broken connection to the client, so it is raised at the end.
        del request, client_address
        fault = sys.exception()
        if fault is not None:
            self._faults.append(fault)

    def put(
        self, key: str, data: bytes, *, etag: str | None = None, **headers: str
    ) -> StoredObject:
        """Put an object there without a request; underscores in header names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        stored = StoredObject(data, etag or _etag_of(data), named)
        with self._lock:
            self.objects[key] = stored
        return stored

    def on(self, match: Match, reply: Reply | Replier, *, times: int | None = None) -> None:
        """Answer matching requests otherwise, `times` times or always; the first rule that matches wins."""
        with self._lock:
            self._rules.append(_Rule(match, reply, times))

    def forget_rules(self) -> None:
        """Behave again."""
        with self._lock:
            self._rules.clear()
            self.page_size = MAX_KEYS

    def asked(self, method: str) -> list[str]:
        """Give the keys of the requests of one method, in order."""
        return [request.key for request in self.requests if request.method == method]

    def answer(self, request: Request) -> Reply:
        """Record a request and answer it by the first rule that wants it, or well."""
        with self._lock:
            self.requests.append(request)
            rules = tuple(self._rules)
        try:
            return self._by_rules(rules, request)
        except BadTokenError:
            return error(
                400, "InvalidArgument", "The continuation token provided is incorrect"
            )

    def _by_rules(self, rules: tuple[_Rule, ...], request: Request) -> Reply:
        for rule in rules:
            reply = self._by_rule(rule, request)
            if reply is not None:
                return reply
        return self.behave(request)

    def _by_rule(self, rule: _Rule, request: Request) -> Reply | None:
        with self._lock:
            if not rule.take(request):
                return None
        if isinstance(rule.reply, Reply):
            return rule.reply
        # Without the lock: a test may hold one request up until another has come.
        reply = rule.reply(request)
        if reply is None and rule.left is not None:
            with self._lock:
                rule.left += 1
        return reply

    def behave(self, request: Request) -> Reply:
        """Answer as S3 would."""
        with self._lock:
            if request.path == "/":
                return _list_buckets(self.bucket)
            if request.bucket != self.bucket:
                return error(404, "NoSuchBucket", "The specified bucket does not exist")
            if not request.key:
                return self._on_bucket(request)
            if {"uploads", "uploadId"} & request.query.keys():
                return self._on_upload(request)
            return self._on_object(request)

    def page(self, request: Request) -> Page:
        """Give the page of the listing that a good server would answer with.

        Raises:
            BadTokenError: the token is not ours; whoever does not catch it answers with status 400.
        """
        query = request.query
        prefix = query.get("prefix", "")
        token = query.get("continuation-token")
        after = query.get("start-after", "") if token is None else _key_of(token)
        limit = min(int(query.get("max-keys", MAX_KEYS)), self.page_size)
        # The order of S3 is that of the bytes, which differs from that of UTF-16.
        keys = sorted((key for key in self.objects if key.startswith(prefix)), key=str.encode)
        rest = [key for key in keys if key.encode() > after.encode()]
        shown = rest[:limit]
        more = len(rest) > len(shown) > 0
        rows = ((key, self.objects[key]) for key in shown)
        return Page(
            name=self.bucket,
            prefix=prefix,
            rows=tuple(Row(key, str(len(one.data)), one.etag) for key, one in rows),
            is_truncated="true" if more else "false",
            token=token_after(shown[-1]) if more else None,
            key_count=len(shown),
            encoded=query.get("encoding-type") == "url",
        )

    def _list_directory(self, request: Request) -> Reply:
        """Answer a listing with a delimiter: one page, and only what is directly below the prefix."""
        prefix = request.query.get("prefix", "")
        inner = [key[len(prefix) :] for key in sorted(self.objects) if key.startswith(prefix)]
        prefixes = sorted({f"{prefix}{key.partition('/')[0]}/" for key in inner if "/" in key})
        page = self.page(request)
        rows = tuple(row for row in page.rows if "/" not in (row.key or "")[len(prefix) :])
        written = "".join(
            f"<CommonPrefixes><Prefix>{quote(each)}</Prefix></CommonPrefixes>"
            for each in prefixes
        )
        reply = replace(page, rows=rows, key_count=len(rows) + len(prefixes)).reply()
        end = b"</ListBucketResult>"
        return replace(reply, body=reply.body.replace(end, written.encode() + end))

    def _on_bucket(self, request: Request) -> Reply:
        if is_list(request):
            if "delimiter" in request.query:
                return self._list_directory(request)
            return self.page(request).reply()
        if request.method == "GET" and "uploads" in request.query:
            return self._list_uploads()
        if request.method == "HEAD":
            return Reply(headers={"x-amz-bucket-region": "us-east-1"})
        return error(501, "NotImplemented")

    def _on_object(self, request: Request) -> Reply:
        if request.query and "partNumber" not in request.query and request.method != "GET":
            return error(501, "NotImplemented")
        if request.method == "PUT":
            return self._put(request)
        if request.method in {"GET", "HEAD"}:
            return self._get(request)
        if request.method == "DELETE":
            self.objects.pop(request.key, None)
            return Reply(204)
        return error(501, "NotImplemented")

    def _put(self, request: Request) -> Reply:
        present = self.objects.get(request.key)
        if request.headers.get("if-none-match") == "*" and present is not None:
            return error(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted is not None and present is None:
            return error(404, "NoSuchKey")
        if wanted is not None and present is not None and not _names(wanted, present.etag):
            return error(412, "PreconditionFailed")
        etag = _etag_of(request.body)
        self.objects[request.key] = StoredObject(request.body, etag, _kept(request.headers))
        return Reply(headers={"etag": etag})

    def _get(self, request: Request) -> Reply:
        stored = self.objects.get(request.key)
        if stored is None:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"etag": stored.etag, "last-modified": HTTP_WHEN, "accept-ranges": "bytes"}
        headers |= stored.headers
        wanted = request.headers.get("if-match")
        if wanted is not None and not _names(wanted, stored.etag):
            return error(412, "PreconditionFailed")
        known = request.headers.get("if-none-match")
        if known is not None and _names(known, stored.etag):
            return Reply(304, headers=headers)
        return _ranged(request.headers.get("range"), stored.data, headers)

    def _on_upload(self, request: Request) -> Reply:
        if request.method == "POST" and "uploads" in request.query:
            return self._create_upload(request)
        upload_id = request.query.get("uploadId", "")
        if self.uploads.get(upload_id, ("", {}))[0] != request.key:
            return error(404, "NoSuchUpload")
        if request.method == "PUT":
            self.uploads[upload_id][1][int(request.query["partNumber"])] = request.body
            return Reply(headers={"etag": _etag_of(request.body)})
        if request.method == "POST":
            return self._complete_upload(request, upload_id)
        if request.method == "DELETE":
            del self.uploads[upload_id]
            return Reply(204)
        return error(501, "NotImplemented")

    def _create_upload(self, request: Request) -> Reply:
        upload_id = f"upload-{next(self._counter)}"
        self.uploads[upload_id] = (request.key, {})
        self._upload_headers[upload_id] = _kept(request.headers)
        fields = (("Bucket", self.bucket), ("Key", request.key), ("UploadId", upload_id))
        return _result("InitiateMultipartUploadResult", *fields)

    def _complete_upload(self, request: Request, upload_id: str) -> Reply:
        key, parts = self.uploads[upload_id]
        named = [
            (int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
            for part in ET.fromstring(request.body).findall("{*}Part")
        ]
        if not named or any(
            number not in parts or not _names(etag, _etag_of(parts[number]))
            for number, etag in named
        ):
            return error(400, "InvalidPart")
        pieces = [parts[number] for number, _ in named]
        etag = multipart_etag(pieces)
        self.objects[key] = StoredObject(
            b"".join(pieces), etag, self._upload_headers[upload_id]
        )
        del self.uploads[upload_id]
        fields = (("Bucket", self.bucket), ("Key", key), ("ETag", etag))
        return _result("CompleteMultipartUploadResult", *fields)

    def _list_uploads(self) -> Reply:
        rows = "".join(
            f"<Upload>{_element('Key', key)}{_element('UploadId', upload_id)}"
            f"{_element('Initiated', WHEN)}</Upload>"
            for upload_id, (key, _) in self.uploads.items()
        )
        head = _element("Bucket", self.bucket) + _element("IsTruncated", "false")
        return _xml(f"<ListMultipartUploadsResult>{head}{rows}</ListMultipartUploadsResult>")


def multipart_etag(pieces: list[bytes]) -> str:
    """Give the ETag that AWS makes of these parts, in quotes."""
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(pieces)}"'


@dataclass(slots=True)
class _Rule:
    match: Match
    reply: Reply | Replier
    left: int | None

    def take(self, request: Request) -> bool:
        """Say whether the request is this rule's, and count it; called with the lock held."""
        if self.left == 0 or not self.match(request):
            return False
        if self.left is not None:
            self.left -= 1
        return True


def _xml(text: str) -> Reply:
    return Reply(
        body=('<?xml version="1.0" encoding="UTF-8"?>\n' + text).encode(), headers=XML
    )


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def _result(tag: str, *fields: tuple[str, str]) -> Reply:
    return _xml(
        f'<{tag} xmlns="{NAMESPACE}">{"".join(itertools.starmap(_element, fields))}</{tag}>'
    )


def _list_buckets(name: str) -> Reply:
    bucket = _element("Name", name) + _element("CreationDate", WHEN)
    return _xml(
        f"<ListAllMyBucketsResult><Buckets><Bucket>{bucket}</Bucket></Buckets></ListAllMyBucketsResult>"
    )


def _etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _names(condition: str, etag: str) -> bool:
    """Say whether an ETag in a request means this one; quotes are optional, as at AWS."""
    return condition == "*" or condition.strip().strip('"') == etag.strip('"')


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
    }


def _ranged(asked: str | None, data: bytes, headers: dict[str, str]) -> Reply:
    """Answer with the whole, or with the one range that was asked for."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if found is None or found.groups() == ("", ""):
        return Reply(body=data, headers=headers)
    first, last = found.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return error(416, "InvalidRange")
    headers["content-range"] = f"bytes {start}-{end}/{len(data)}"
    return Reply(206, data[start : end + 1], headers)


INCOMPLETE = replace(error(400, "IncompleteBody"), close_early=1000)
"""To a body that is shorter than was said; the connection has ended by then, and is not used again."""


def token_after(key: str) -> str:
    """Give the token with which a listing goes on after a key."""
    return TOKEN_MARK + base64.urlsafe_b64encode(key.encode()).decode()


def _key_of(token: str) -> str:
    if not token.startswith(TOKEN_MARK):
        raise BadTokenError
    return base64.urlsafe_b64decode(token.removeprefix(TOKEN_MARK)).decode()


class _Handler(HttpHandler):
    """Turns bytes into a `Request`, and a `Reply` into bytes."""

    timeout = 60
    server: ScriptedS3

    def answer(self) -> None:
        request = self._request()
        whole = len(request.body) >= int(request.headers.get("content-length", "0"))
        self._send(self.server.answer(request) if whole else INCOMPLETE)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=self._read_body(headers),
        )

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self.rfile.read(int(headers.get("content-length", "0")))

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _send(self, reply: Reply) -> None:
        time.sleep(reply.delay)
        if reply.raw is not None:
            self.close_connection = True
            for piece in reply.raw:
                self.wfile.write(piece)
            return
        body = reply.body
        self.send_response_only(reply.status, _phrase(reply.status))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        bodiless = reply.status in {204, 304}
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = _in_chunks(body)
        elif reply.length and not bodiless:
            self.send_header("Content-Length", str(len(body)))
        if not bodiless and (
            reply.close_early is not None or not (reply.length or reply.chunked)
        ):
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self._write(body[: reply.close_early], reply.drip)

    def _write(self, body: bytes, pause: float) -> None:
        if not pause:
            self.wfile.write(body)
            return
        for byte in body:
            time.sleep(pause)
            self.wfile.write(bytes([byte]))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"


def _in_chunks(body: bytes) -> bytes:
    middle = len(body) // 2
    chunks = [chunk for chunk in (body[:middle], body[middle:]) if chunk]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
