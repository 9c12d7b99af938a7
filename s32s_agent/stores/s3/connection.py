"""Read S3: list, fetch, head, get. What writes is in `write_requests`; both ask through one client.

Answers are checked here for what every answer has; what they mean for an entry is the caller's part.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AgentError, IntegrityError, StoreUnavailable
from s32s_agent.plan.etags import normal
from s32s_agent.plan.proofs import Verdict, judge
from s32s_agent.stores.s3.access import Resolved
from s32s_agent.stores.s3.answers import NotModified, TornAnswer, as_damage, damage_told
from s32s_agent.stores.s3.client import Call, S3Client, is_page_of_status_404
from s32s_agent.stores.s3.http import Http
from s32s_agent.stores.s3.listing import NotAListing, parse_page
from s32s_agent.stores.s3.objects import Body, Head, ListedPage, ObjectName
from s32s_agent.stores.s3.ranges import Range
from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS, Timeouts
from s32s_agent.stores.s3.transport import AnswerTooLong, HttpAnswer

_OK = 200
_TRIES = 3
"""How often a page, or a small object, is requested when it comes torn or is none."""
_ONE_PIECE = 4 << 20
"""Bytes up to which an object is read whole: fewer calls for each of many small ones."""
_TOLERATED = 64 << 10
"""Bytes by which an answer may exceed what was listed before it is cut off; it is refused all the same."""
_QUERY = {
    "Prefix": "prefix",
    "Delimiter": "delimiter",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
}
"""The parameters of a listing that are used, and their names in the query."""
_META = "x-amz-meta-"
_SPAN = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_VERSIONED = re.compile(rb"<Status>\s*Enabled\s*</Status>")


class Connection:
    """A way to read S3; thread-safe. Nothing here can write or delete.

    Args:
        settings: the `s3` section of the config.
        cancel_token: ends every wait.
        timeouts: how long S3 is waited for.
        answered: called in the thread that reads listings and maps, for every answer.

    Raises:
        AccessDenied: there are no credentials, or they cannot be used.
        ConfigError: the profile or the endpoint cannot be used.
        StoreUnavailable: what issues the credentials does not answer.
    """

    def __init__(
        self,
        settings: S3Settings,
        cancel_token: CancelToken | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self.cancel_token = cancel_token or CancelToken()
        self.answered = answered
        self.access = Resolved(
            settings, os.environ, self.cancel_token, timeouts.request_seconds
        )
        """Where S3 is, and who asks."""
        self.http = Http(
            self.access.transport(timeouts.connect_seconds, timeouts.read_seconds),
            self.cancel_token,
        )
        self.client = S3Client(
            self.access,
            self.http,
            _common(settings),
            timeouts,
            self.cancel_token,
        )
        """Sends every request."""
        self.endpoint = self.access.endpoint
        """The endpoint's URL."""
        self.custom_endpoint = self.access.custom_endpoint
        """Whether it is none of AWS."""

    def route(self, bucket: str) -> str:
        """Return how requests for a bucket went, for people: endpoint, style, credentials, proxy, certificates."""
        style = self.access.address(bucket).style_of(bucket)
        parts = [self.endpoint, f"{style} addresses", f"credentials from {self.access.source}"]
        parts.append("through a proxy" if self.http.through_proxy else "no proxy")
        if self.endpoint.startswith("https:"):
            trusted = self.http.transport.ca_file or self.http.transport.ca_directory
            parts.append(f"certificates in {trusted}")
        return ", ".join(parts)

    # --- listings ---

    def page(self, bucket: str, **parameters: str | int) -> ListedPage:
        """Fetch one page of a listing.

        Args:
            bucket: that is listed.
            **parameters: `Prefix`, `StartAfter`, `ContinuationToken`, `MaxKeys`, as S3 calls them.

        Raises:
            StoreUnavailable: no listing came, not even after some tries.
            ListingInconsistent: its entries lack what every entry has.
        """
        asked = {_QUERY[name]: str(value) for name, value in parameters.items()}
        query = {"list-type": "2", "encoding-type": "url", **asked}
        call = Call("GET", bucket, f'listing "{bucket}"', query=tuple(query.items()))
        for attempt in range(_TRIES):
            answer = self.client.call(call)
            try:
                if answer.status != _OK or not answer.body.strip():
                    status = answer.status
                    raise NotAListing(f"{call.subject}: status {status}, but not a listing")
                page = parse_page(answer.body)
            except NotAListing as error:
                self._pause(attempt, error)
                continue
            return ListedPage(page, answer.headers.get("server", ""))
        raise AssertionError

    def _pause(self, attempt: int, error: AgentError) -> None:
        """Wait before a request is repeated; after the last attempt, raise what went wrong."""
        if attempt + 1 == _TRIES:
            raise error
        longest = self.timeouts.pause_seconds * 2 ** (attempt + 1)
        self.cancel_token.sleep(random.uniform(0, longest))  # noqa: S311 (jitter, no secret)

    # --- small objects ---

    def fetch(
        self,
        bucket: str,
        key: str,
        limit: int,
        known_etag: str = "",
        *,
        in_worker: bool = False,
    ) -> tuple[bytes, str] | None:
        """Fetch a small object whole, of at most `limit` bytes; None when it still has the known ETag.

        Args:
            bucket: of the object.
            key: the object's, whole.
            limit: bytes.
            known_etag: as the store wrote it.
            in_worker: the caller is not the thread that `answered` is for.

        Returns:
            Its bytes, and its ETag as the store wrote it.

        Raises:
            SourceChanged: it is not there.
            StoreUnavailable: what came is not whole.
        """
        subject = f'"{bucket}/{key}"'
        condition = {"If-None-Match": known_etag} if known_etag else {}
        call = Call("GET", bucket, subject, key, headers=condition, limit=limit)
        for attempt in range(_TRIES):
            try:
                return _whole(self.client.call(call), subject)
            except NotModified:
                return None
            except TornAnswer as error:
                self._pause(attempt, error)
            except StoreUnavailable as error:
                if isinstance(error.__cause__, AnswerTooLong):
                    message = f"{subject}: over {limit} bytes, expected a small file"
                    raise StoreUnavailable(message) from error
                raise
            finally:
                if not in_worker:
                    self.answered()
        raise AssertionError

    # --- objects ---

    def head(self, name: ObjectName, part_number: int | None = None) -> Head:
        """Ask what an object is, or one of its parts.

        Raises:
            SourceChanged: it is not there.
        """
        part = () if part_number is None else (("partNumber", str(part_number)),)
        query = (*name.query, *part)
        call = Call("HEAD", name.bucket, name.label, name.key, query)
        try:
            headers = self.client.call(call).headers
        except StoreUnavailable as error:
            if not is_page_of_status_404(error):
                raise
            # No body says whether a store answered, or another server: the answer to GET has one.
            self.client.call(replace(call, method="GET", headers={"Range": "bytes=0-0"}))
            raise
        size = _length(headers, name.label)
        parts = headers.get("x-amz-mp-parts-count", "")
        count = int(parts) if parts.isascii() and parts.isdigit() else 0
        version = headers.get("x-amz-version-id", "")
        return Head(headers.get("etag", ""), size, is_encrypted(headers), count, version)

    def get(self, name: ObjectName, condition: str | None, size: int) -> Body:
        """Request the bytes of one version of an object.

        Args:
            name: the object.
            condition: the version, as the store wrote its ETag; None is any.
            size: its bytes.

        Raises:
            SourceChanged: there is another version, or none.
            IntegrityError: the answer is much longer than that version.
        """
        if size > _ONE_PIECE:
            call = self._get(name, condition, None, size + _TOLERATED)
            return self._resumed(name, condition, self._streamed(call, None))
        try:
            answer = self.client.call(self._get(name, condition, None, size + _TOLERATED))
        except StoreUnavailable as error:
            raise as_damage(error) from error
        return _body(answer.headers, name.label, lambda: iter((answer.body,)))

    def describe(self, name: ObjectName, condition: str | None) -> Body:
        """Request what `get` gives, but without the bytes."""
        given = _if_match(condition)
        call = Call("HEAD", name.bucket, name.label, name.key, name.query, given)
        headers = self.client.call(call).headers
        return _body(headers, name.label, lambda: iter(()))

    def get_range(self, name: ObjectName, condition: str | None, wanted: Range) -> Body:
        """Request a range of one version, as `get` the whole.

        Raises:
            IntegrityError: the answer is another range, or none.
        """
        return self._resumed(name, condition, self._range(name, condition, wanted))

    def _range(self, name: ObjectName, condition: str | None, wanted: Range) -> Body:
        limit = wanted.end - wanted.start + _TOLERATED
        return self._streamed(self._get(name, condition, wanted, limit), wanted)

    def _get(
        self, name: ObjectName, condition: str | None, wanted: Range | None, limit: int
    ) -> Call:
        headers = _if_match(condition)
        if wanted is not None:
            headers["Range"] = f"bytes={wanted.start}-{wanted.end - 1}"
        return Call("GET", name.bucket, name.label, name.key, name.query, headers, limit=limit)

    def _streamed(self, call: Call, wanted: Range | None) -> Body:
        """Begin a request whose bytes are read later; closing the body frees its connection."""
        opened = contextlib.ExitStack()
        try:
            head, chunks = opened.enter_context(self.client.stream(call))
        except StoreUnavailable as error:
            raise as_damage(error) from error
        try:
            body = _body(head.headers, call.subject, lambda: damage_told(chunks), wanted)
        except BaseException:
            opened.close()
            raise
        return replace(body, close=opened.close)

    def _resumed(self, name: ObjectName, condition: str | None, first: Body) -> Body:
        """Return a body whose missing bytes are requested again, of the same version, where its answer breaks off."""
        current = [first]

        def chunks() -> Iterator[bytes]:
            position, end = first.span
            for left in range(self.timeouts.attempts - 1, -1, -1):
                try:
                    for chunk in current[0].chunks():
                        position += len(chunk)
                        yield chunk
                except StoreUnavailable:
                    if condition is None or not left or position >= end:
                        raise
                    current[0].close()
                    rest = Range(position, end)
                    current[0] = self._range(name, condition, rest)
                    if current[0].span != tuple(rest) or current[0].raw_etag != first.raw_etag:
                        message = (
                            f"{name.label}: what follows its first {position} bytes is not"
                        )
                        raise IntegrityError(f"{message} of the same version") from None
                else:
                    return

        def close() -> None:
            current[0].close()

        return replace(first, chunks=chunks, close=close)

    # --- buckets ---

    def is_versioned(self, bucket: str, *, unknown: bool = True) -> bool:
        """Return whether a bucket keeps old versions; `unknown` where the store does not say."""
        call = Call("GET", bucket, f'"{bucket}"', query=(("versioning", ""),))
        try:
            return _VERSIONED.search(self.client.call(call).body) is not None
        except AgentError:
            return unknown


def _common(settings: S3Settings) -> dict[str, str]:
    """Return the headers of every request."""
    headers = {}
    if settings.requester_pays:
        headers["x-amz-request-payer"] = "requester"
    if settings.expected_bucket_owner:
        headers["x-amz-expected-bucket-owner"] = settings.expected_bucket_owner
    return headers


def _if_match(condition: str | None) -> dict[str, str]:
    return {"If-Match": condition} if condition else {}


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Return whether encryption makes the ETag of an answer something else than an MD5."""
    kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return kms or "x-amz-server-side-encryption-customer-algorithm" in headers


def _whole(answer: HttpAnswer, subject: str) -> tuple[bytes, str]:
    """Return the bytes and the ETag of a small object, proven where its ETag is an MD5."""
    length, etag = _length(answer.headers, subject), answer.headers.get("etag", "")
    if len(answer.body) != length:
        raise TornAnswer(f"{subject}: got {len(answer.body)} of {length} bytes")
    computed = hashlib.md5(answer.body, usedforsecurity=False).hexdigest()
    expected = normal(etag)
    if judge(expected, computed) is Verdict.OTHER_MD5 and not is_encrypted(answer.headers):
        raise TornAnswer(f"{subject}: got MD5 {computed}, expected {expected}")
    return answer.body, etag


def _length(headers: Mapping[str, str], subject: str) -> int:
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 20):  # noqa: PLR2004 (digits of 2**64)
        raise TornAnswer(f"{subject}: the answer lacks its Content-Length")
    return int(length)


_date = functools.lru_cache(maxsize=256)(parsedate_to_datetime)
"""Objects that were written together share their seconds, and parsing one takes as long as verifying a small object."""


def _modified(headers: Mapping[str, str], subject: str) -> datetime:
    try:
        return _date(headers.get("last-modified", ""))
    except (TypeError, ValueError) as error:
        raise TornAnswer(f"{subject}: the answer lacks its Last-Modified") from error


def _body(
    headers: Mapping[str, str],
    subject: str,
    chunks: Callable[[], Iterator[bytes]],
    wanted: Range | None = None,
) -> Body:
    """Return what an answer to GET or HEAD says.

    Args:
        headers: of the answer.
        subject: begins every message.
        chunks: reads the bytes.
        wanted: the range that was asked for.
    """
    size = _length(headers, subject)
    span = (0, size)
    if found := _SPAN.fullmatch(headers.get("content-range", "")):
        span, size = (int(found[1]), int(found[2]) + 1), int(found[3])
    elif wanted is not None:
        message = f"{subject}: asked for bytes {wanted.start} to {wanted.end}, got no range"
        raise IntegrityError(message)
    metadata = {
        name.removeprefix(_META): value
        for name, value in headers.items()
        if name.startswith(_META)
    }
    etag = headers.get("etag", "")
    return Body(etag, size, span, _modified(headers, subject), metadata, chunks)
