"""Ask S3: sign, send, repeat what may pass, follow the bucket to its region, and translate what the store says.

Every request of a run goes through here, so that proxies, certificates, headers, limits, repetitions and messages are
decided once. A request is made again when the cause may pass: no connection, a broken answer, a status of
`_PASSING_STATUSES`, or a code such as SlowDown; with full jitter, and never past the time that its caller allows.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import AccessDenied, AgentError, StoreUnavailable
from s32s_agent.stores.s3.addresses import Address
from s32s_agent.stores.s3.answers import (
    PROXY_REMEDY,
    NotModified,
    StoreError,
    error_in,
    meaning_of,
    tls_remedy,
)
from s32s_agent.stores.s3.http import Http
from s32s_agent.stores.s3.signing import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Unsigned,
    quoted_query,
    sign,
)
from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS, Timeouts
from s32s_agent.stores.s3.transport import (
    AnswerTooLong,
    HttpAnswer,
    HttpRequest,
    ProxyFailed,
    TlsFailed,
    TransferError,
)

R = TypeVar("R")

MAX_ANSWER = 32 << 20
"""Bytes of an answer that is read whole. A page of 1000 keys of 1024 bytes, every byte written as %XX, is 4 MB."""
_ERROR_BYTES = 64 << 10
_DELETED = b"<DeleteResult"
_NOT_FOUND = 404
_NOT_IMPLEMENTED = 501
_LONGEST_PAUSE = 20.0
_PARTING_SECONDS = 2.0
"""How long a request of a stopped run may take, which waits five seconds for its workers."""
_PASSING_CODES = frozenset(
    [
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestThrottled",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "TransactionInProgress",
        "SlowDownRead",
        "SlowDownWrite",
        "XMinioServerNotInitialized",
    ]
)
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 509})
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_LARGEST_DRIFT = 300.0
"""Seconds by which the clocks may differ before the server's is believed; S3 allows 900."""
_ANONYMOUS = (
    "requests are not signed, as s3.anonymous says: have the bucket's policy let everybody list and read it, or remove"
    " the option"
)
_ELSEWHERE = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)


class Access(Protocol):
    """Where S3 is, and who asks."""

    def address(self, bucket: str, region: str = "") -> Address:
        """Return where a bucket is.

        Args:
            bucket: its name, or an access point's ARN.
            region: what the store has said about it; "" before it was asked.
        """

    def credentials(self) -> Credentials | None:
        """Return the credentials of this moment, renewed where they are temporary; None asks anonymously.

        Raises:
            AccessDenied: there are none, or they could not be renewed, for whatever reason.
        """

    @property
    def follows_regions(self) -> bool:
        """Whether a bucket may be in another region, as at AWS."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to S3, before it has an address and a signature."""

    method: str
    bucket: str
    subject: str
    """What it is about; messages begin with it."""
    key: str = ""
    """Whole, prefix included; "" is the bucket."""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""
    limit: int = MAX_ANSWER
    is_trial: bool = False
    """Whether a refusal is what the caller wants to know, so that the request is not made again."""

    @property
    def may_be_repeated(self) -> bool:
        """Whether to send it again though the store may have carried it out.

        Not an object that is written in one request: another writer may have replaced it meanwhile, and a store that
        ignores conditions would not notice. Its entry is compared again, and then sent again.
        """
        return self.method != "PUT" or bool(self.query)

    @property
    def payload(self) -> str:
        """What the signature says of the body; Content-MD5, a header, proves the bytes."""
        return UNSIGNED_PAYLOAD if self.body else EMPTY_SHA256


class S3Client:
    """Sends requests to S3; thread-safe.

    Args:
        access: where S3 is, and who asks.
        http: sends the requests.
        common: headers of every request.
        timeouts: how often a request is made, and how long it may take.
        cancel_token: ends every wait.
    """

    def __init__(
        self,
        access: Access,
        http: Http,
        common: Mapping[str, str] | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        cancel_token: CancelToken | None = None,
    ) -> None:
        self._access = access
        self._http = http
        self._common = dict(common or {})
        self._timeouts = timeouts
        self._cancel_token = cancel_token or CancelToken()
        self._regions: dict[str, str] = {}
        """Of buckets that turned out to be elsewhere."""
        self._clock_offset = timedelta()
        """The server's clock less this computer's, where they differ too much."""

    def for_a_stopped_run(self) -> S3Client:
        """Return a client for what a stopped run still removes: it does not end with the run, but soon."""
        timeouts = replace(
            self._timeouts, attempts=1, request_seconds=_PARTING_SECONDS, connect_seconds=1
        )
        return S3Client(self._access, Http(self._http.transport), self._common, timeouts)

    def call(self, call: Call) -> HttpAnswer:
        """Make a request and return its answer, whose status is 2xx.

        Raises:
            NotModified: 304.
            SourceChanged: the store answered that there is no such key, or another version.
            AccessDenied: the store refused, or there are no credentials.
            EntryError: the store does not take this request.
            StoreUnavailable: no answer came, or none of S3.
            Cancelled: the run is to end.
        """

        def attempt(request: HttpRequest) -> HttpAnswer:
            answer = self._http.send(request)
            _demand_success(call, answer)
            return answer

        return self._repeat(call, attempt, self._timeouts.request_seconds)

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[tuple[HttpAnswer, Iterator[bytes]]]:
        """Make a request; yield the head of its answer, whose status is 2xx, and its body in chunks.

        Only what fails before the head has come is repeated.

        Raises:
            AgentError: as `call`; the chunks raise `StoreUnavailable` where the body breaks off.
        """
        with contextlib.ExitStack() as opened:

            def attempt(request: HttpRequest) -> tuple[HttpAnswer, Iterator[bytes]]:
                with contextlib.ExitStack() as trying:
                    head, chunks = trying.enter_context(self._http.stream(request))
                    if not _is_success(head.status):
                        body = _beginning(chunks)
                        _demand_success(call, HttpAnswer(head.status, head.headers, body))
                    opened.push(trying.pop_all())
                    return head, chunks

            head, chunks = self._repeat(call, attempt, None)
            yield head, self._translated(call, chunks)

    def _translated(self, call: Call, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except TransferError as error:
            raise unavailable(call.subject, error) from error

    def _repeat(
        self, call: Call, attempt: Callable[[HttpRequest], R], seconds: float | None
    ) -> R:
        """Make a request until it succeeds, cannot succeed, or time or attempts are used up."""
        started, timeouts = time.monotonic(), self._timeouts
        corrected = False
        for number in range(1, timeouts.attempts + 1):
            left = (
                None if seconds is None else max(0.001, started + seconds - time.monotonic())
            )
            try:
                return attempt(self._signed(call, left))
            except _Refused as refused:
                if not corrected and self._correct(call, refused):
                    corrected = True
                    continue
                is_final = call.is_trial or not may_pass(refused.error)
                if number == timeouts.attempts or is_final:
                    raise self._meaning(call, refused) from refused
            except TransferError as error:
                final = isinstance(error, (AnswerTooLong, TlsFailed)) or (
                    error.sent and not call.may_be_repeated
                )
                if final or number == timeouts.attempts:
                    raise unavailable(call.subject, error) from error
            longest = min(_LONGEST_PAUSE, timeouts.pause_seconds * 2 ** (number - 1))
            pause = random.uniform(0, longest)  # noqa: S311 (jitter, no secret)
            if seconds is not None and time.monotonic() + pause > started + seconds:
                raise StoreUnavailable(
                    f"{call.subject}: no whole answer within {seconds:g} seconds"
                )
            self._cancel_token.sleep(pause)
        raise AssertionError

    def _signed(self, call: Call, seconds: float | None) -> HttpRequest:
        address = self._access.address(call.bucket, self._regions.get(call.bucket, ""))
        query = quoted_query(call.query)
        headers = {**self._common, **call.headers}
        credentials = self._access.credentials()
        path = address.path_of(call.key)
        if credentials is not None:
            unsigned = Unsigned(call.method, address.host, path, query, headers, call.payload)
            now = datetime.now(UTC) + self._clock_offset
            headers = sign(unsigned, credentials, address.scope, now)
        url = f"{address.origin}{path}{'?' if query else ''}{query}"
        return HttpRequest(call.method, url, headers, call.body, call.limit, seconds)

    def _correct(self, call: Call, refused: _Refused) -> bool:
        """Learn from a refusal what the next attempt does otherwise; tell whether there is anything."""
        error = refused.error
        if error.code in _SKEWED:
            offset = _offset(refused.answer.headers.get("date", ""))
            if (
                offset is not None
                and abs((offset - self._clock_offset).total_seconds()) > _LARGEST_DRIFT
            ):
                self._clock_offset = offset
                return True
        known = self._regions.get(call.bucket)
        elsewhere = error.code in _ELSEWHERE or error.status in (301, 307)
        if (
            elsewhere
            and error.region
            and error.region != known
            and self._access.follows_regions
        ):
            self._regions[call.bucket] = error.region
            return True
        return False

    def _meaning(self, call: Call, refused: _Refused) -> AgentError:
        if refused.error.status == 304:  # noqa: PLR2004
            return NotModified(call.subject)
        address = self._access.address(call.bucket, self._regions.get(call.bucket, ""))
        meaning = meaning_of(refused.error, call.subject, address.url)
        if isinstance(meaning, AccessDenied) and self._access.credentials() is None:
            meaning.remedy = _ANONYMOUS
        return meaning


class _Refused(Exception):
    """The store did not carry a request out."""

    def __init__(self, answer: HttpAnswer, error: StoreError) -> None:
        super().__init__(f"{error.status} {error.code}")
        self.answer = answer
        self.error = error


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _demand_success(call: Call, answer: HttpAnswer) -> None:
    # CompleteMultipartUpload sends its head first, and may fail later: then the error is in a body of status 200. Of a
    # bucket an error is never the answer either; an object may hold one.
    may_fail_late = call.method == "POST" or not call.key
    beginning = answer.body[:1024]
    # The answer to a delete of many objects names those that it did not delete.
    failed_late = may_fail_late and b"<Error" in beginning and _DELETED not in beginning
    if not _is_success(answer.status) or failed_late:
        raise _Refused(answer, error_in(answer, bodiless=call.method == "HEAD"))


def _beginning(chunks: Iterator[bytes]) -> bytes:
    """Return as much of a body as an error message needs."""
    body = b""
    for chunk in chunks:
        body += chunk
        if len(body) > _ERROR_BYTES:
            break
    return body


def is_not_implemented(error: AgentError) -> bool:
    """Return whether a store does not know a condition: 501, as B2 answers."""
    refused = error.__cause__
    return isinstance(refused, _Refused) and refused.error.status == _NOT_IMPLEMENTED


def is_refusal(error: AgentError) -> bool:
    """Return whether a store does not take a request, as 400 and 501 say; not that it cannot take any now."""
    refused = error.__cause__
    if not isinstance(refused, _Refused) or not refused.error.is_from_s3:
        return False
    return refused.error.status in (400, 405, 411, 501)


def is_page_of_status_404(error: AgentError) -> bool:
    """Return whether something answered 404 that does not look like a store."""
    refused = error.__cause__
    if not isinstance(refused, _Refused):
        return False
    return refused.error.status == _NOT_FOUND and not refused.error.is_from_s3


def may_pass(error: StoreError) -> bool:
    """Tell whether the same request may succeed in a moment."""
    return error.code in _PASSING_CODES or error.status in _PASSING_STATUSES


def _offset(date: str) -> timedelta | None:
    """Return how far the server's clock is ahead of this computer's."""
    try:
        return parsedate_to_datetime(date) - datetime.now(UTC)
    except (TypeError, ValueError):
        return None


def unavailable(subject: str, error: TransferError) -> AgentError:
    """Return the error of the agent for a request that got no whole answer."""
    message = f"{subject}: {error}"
    if isinstance(error, TlsFailed):
        return StoreUnavailable(message, remedy=tls_remedy(str(error)))
    if isinstance(error, ProxyFailed):
        return StoreUnavailable(message, remedy=PROXY_REMEDY)
    return StoreUnavailable(message)
