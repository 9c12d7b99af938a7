"""A small S3 server over a dict that answers as a test scripts, for what a real server would never do.

Signatures are not checked, and no SDK is used: every byte is written here, so that it can be wrong on purpose. Broken
listings are in `broken_listings`.

    with ScriptedS3() as server:
        server.put("img/x.png", b"...")
        server.on(is_get("img/x.png"), Reply(503), times=2)
"""

from __future__ import annotations

import itertools
import re
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from s32s_agent.plan.keys import PROBES
from support.http_servers import HttpServer
from support.s3_handler import S3Handler
from support.s3_messages import (
    HTTP_WHEN,
    MAX_KEYS,
    WHEN,
    BadTokenError,
    Match,
    Page,
    Replier,
    Reply,
    Request,
    Row,
    element,
    error,
    etag_of,
    is_list,
    key_of,
    multipart_etag,
    result_reply,
    token_after,
    xml_reply,
)

KEPT_HEADERS = ("content-type", "cache-control", "content-encoding", "content-disposition")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object and its headers."""

    data: bytes
    etag: str
    """In quotes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Content type and user metadata, by lower-case name."""


class ScriptedS3(HttpServer):
    """One bucket on 127.0.0.1 that answers correctly where no rule of `on` matches. A context manager.

    Attributes:
        objects: the content of the bucket, by key.
        uploads: the parts of each unfinished multipart upload: (key, number -> bytes) by upload id.
        requests: every request, in order of arrival.
        page_size: the maximum of keys on a page, whatever the client requests.
        in_trials: rules are also for the requests with which a master tries out the server.
    """

    def __init__(self, bucket: str = "bucket", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(S3Handler, tls)
        self.bucket = bucket
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.requests: list[Request] = []
        self.page_size = MAX_KEYS
        self._upload_headers: dict[str, Mapping[str, str]] = {}
        self._rules: list[_Rule] = []
        self.in_trials = False
        self._lock = threading.RLock()
        self._counter = itertools.count(1)
        self._faults: list[BaseException] = []

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        if self._faults and not any(raised):
            raise self._faults[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # To the client an error in a script looks like a broken connection, so it is raised at the end.
        del request, client_address
        fault = sys.exception()
        if fault is not None:
            self._faults.append(fault)

    def put(
        self, key: str, data: bytes, *, etag: str | None = None, **headers: str
    ) -> StoredObject:
        """Store an object without a request; underscores in header names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        stored = StoredObject(data, etag or etag_of(data), named)
        with self._lock:
            self.objects[key] = stored
        return stored

    def on(self, match: Match, reply: Reply | Replier, *, times: int | None = None) -> None:
        """Answer matching requests with this, `times` times or always; the first rule that matches wins."""
        with self._lock:
            self._rules.append(_Rule(match, reply, times))

    def forget_rules(self) -> None:
        """Remove every rule."""
        with self._lock:
            self._rules.clear()
            self.page_size = MAX_KEYS

    def asked(self, method: str) -> list[str]:
        """Return the keys of the requests of one method, in order."""
        return [request.key for request in self.requests if request.method == method]

    def answer(self, request: Request) -> Reply:
        """Record a request and answer it by the first rule that matches, or correctly.

        What a master tries out the server with is not recorded, and no rule is for it unless `in_trials` says so.
        """
        is_trial = PROBES in request.path
        with self._lock:
            if not is_trial:
                self.requests.append(request)
            rules = () if is_trial and not self.in_trials else tuple(self._rules)
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
        return self.answer_correctly(request)

    def _by_rule(self, rule: _Rule, request: Request) -> Reply | None:
        with self._lock:
            if not rule.take(request):
                return None
        if isinstance(rule.reply, Reply):
            return rule.reply
        # Without the lock: a test may delay one request until another has arrived.
        reply = rule.reply(request)
        if reply is None and rule.left is not None:
            with self._lock:
                rule.left += 1
        return reply

    def answer_correctly(self, request: Request) -> Reply:
        """Answer as S3 does."""
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
        """Return the page of the listing that a correct server would send.

        Raises:
            BadTokenError: the token is not one of this server; uncaught, the answer is status 400.
        """
        query = request.query
        prefix = query.get("prefix", "")
        token = query.get("continuation-token")
        after = query.get("start-after", "") if token is None else key_of(token)
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

    def _refusal(self, request: Request) -> Reply | None:
        """Return the answer to a write whose condition does not hold."""
        present = self.objects.get(request.key)
        if request.headers.get("if-none-match") == "*" and present is not None:
            return error(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted is not None and present is None:
            return error(404, "NoSuchKey")
        if wanted is not None and present is not None and not _names(wanted, present.etag):
            return error(412, "PreconditionFailed")
        return None

    def _put(self, request: Request) -> Reply:
        if refusal := self._refusal(request):
            return refusal
        etag = etag_of(request.body)
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
            return Reply(headers={"etag": etag_of(request.body)})
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
        return result_reply("InitiateMultipartUploadResult", *fields)

    def _complete_upload(self, request: Request, upload_id: str) -> Reply:
        if refusal := self._refusal(request):
            return refusal
        key, parts = self.uploads[upload_id]
        named = [
            (int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
            for part in ET.fromstring(request.body).findall("{*}Part")
        ]
        if not named or any(
            number not in parts or not _names(etag, etag_of(parts[number]))
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
        return result_reply("CompleteMultipartUploadResult", *fields)

    def _list_uploads(self) -> Reply:
        rows = "".join(
            f"<Upload>{element('Key', key)}{element('UploadId', upload_id)}"
            f"{element('Initiated', WHEN)}</Upload>"
            for upload_id, (key, _) in self.uploads.items()
        )
        head = element("Bucket", self.bucket) + element("IsTruncated", "false")
        return xml_reply(
            f"<ListMultipartUploadsResult>{head}{rows}</ListMultipartUploadsResult>"
        )


@dataclass(slots=True)
class _Rule:
    match: Match
    reply: Reply | Replier
    left: int | None

    def take(self, request: Request) -> bool:
        """Return whether the rule applies to a request, and count it; called with the lock held."""
        if self.left == 0 or not self.match(request):
            return False
        if self.left is not None:
            self.left -= 1
        return True


def _list_buckets(name: str) -> Reply:
    bucket = element("Name", name) + element("CreationDate", WHEN)
    return xml_reply(
        f"<ListAllMyBucketsResult><Buckets><Bucket>{bucket}</Bucket></Buckets></ListAllMyBucketsResult>"
    )


def _names(condition: str, etag: str) -> bool:
    """Return whether an ETag in a request equals this one; quotes are optional, as at AWS."""
    return condition == "*" or condition.strip().strip('"') == etag.strip('"')


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
    }


def _ranged(asked: str | None, data: bytes, headers: dict[str, str]) -> Reply:
    """Answer with the whole object, or with the requested range."""
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
