"""How S3 is reached: what a pass asks for by itself, and the clients for the rest.

Pages of listings and small objects are asked for plainly, and of boto3 when anything but a plain answer comes.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AgentError, StoreUnavailable
from s32s_agent.plan.etags import is_md5, normal
from s32s_agent.stores.s3.clients import DEFAULT_TIMEOUTS, Clients, Timeouts
from s32s_agent.stores.s3.direct_get import DirectAnswer
from s32s_agent.stores.s3.listing import NotAListing, Page, parse_page
from s32s_agent.stores.s3.response_limits import MAX_ANSWER
from s32s_agent.stores.s3.translate import (
    NotModified,
    TornAnswer,
    is_encrypted,
    required,
    translate_errors,
)
from s32s_agent.workers import in_background

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

R = TypeVar("R")

_TRIES = 3
"""How often a page, or a map file, is asked for that comes torn or is none."""
_OK = 200
_TOLD = ("x-amz-bucket-region", "server")
_QUERY = {
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
}
"""The parameters of a listing that are used, and their names in the query."""


class Connection:
    """How S3 is reached: plain requests where they will do, and a client of boto3.

    Thread-safe, as boto3 clients are.

    Args:
        settings: the `s3` section of the config.
        workers: how many requests may run at once.
        cancel_token: ends the waiting for every request that a pass itself waits for. Those are made in a thread, since
            botocore takes an exception of a signal for trouble of the network, and asks again.
        timeouts: how long S3 is waited for.
        answered: called in the thread that reads listings and maps, for every answer.

    Raises:
        AgentError: as for `Clients`.
    """

    def __init__(
        self,
        settings: S3Settings,
        workers: int,
        cancel_token: CancelToken | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self.timeouts = timeouts
        self.cancel_token = cancel_token or CancelToken()
        self.answered = answered
        self._for_boto3: set[str] = set()
        """Buckets that boto3 could list where a plain request could not: in another region, for one."""
        self._clients = Clients(settings, workers, self.cancel_token, timeouts)
        self._plain = self._clients.plain
        self.endpoint = self._clients.endpoint
        """The endpoint's URL."""
        self.custom_endpoint = self._clients.custom_endpoint
        """Whether it is none of AWS."""
        self.byte_store = self._clients.byte_store
        """Opens obstore on a bucket."""

    @property
    def client(self) -> S3Client:
        """The client of boto3, made when it is first needed."""
        return self._clients.client

    def digest_of_body(self, md5: bytes) -> dict[str, Any]:
        """Give what has the store check the bytes of a request, where botocore sends no checksum of its own.

        With it, their SHA-256 need not be in the signature too: half a second of a processor a GB.
        """
        return {"ContentMD5": base64.b64encode(md5).decode()} if self.custom_endpoint else {}

    def common(self, bucket: str) -> dict[str, Any]:
        """Give the parameters that every request carries."""
        parameters: dict[str, Any] = {"Bucket": bucket}
        if self._settings.requester_pays:
            parameters["RequestPayer"] = "requester"
        if self._settings.expected_bucket_owner:
            parameters["ExpectedBucketOwner"] = self._settings.expected_bucket_owner
        return parameters

    def page(self, bucket: str, **parameters: Any) -> ListedPage:
        """Fetch one page of a listing.

        Raises:
            StoreUnavailable: no listing came, not even after some tries.
            ListingInconsistent: its entries lack what every entry has.
        """
        for attempt in range(_TRIES):
            request = partial(self._list, bucket, parameters, plainly=not attempt)
            answer = self.waited_for(f'listing "{bucket}"', request)
            try:
                if not isinstance(answer.body, bytes) or answer.status != _OK:
                    code = answer.status
                    raise NotAListing(f'listing "{bucket}": status {code}, but not a listing')
                told = (answer.headers.get(name, "") for name in _TOLD)
                return ListedPage(parse_page(answer.body), *told)
            except NotAListing as error:
                self._pause(attempt, error)
        raise AssertionError

    def _list(self, bucket: str, parameters: dict[str, Any], *, plainly: bool) -> _Answer:
        if plainly and (plain := self._list_directly(bucket, parameters)):
            return plain
        answer = self.client.list_objects_v2(**self.common(bucket), **parameters)
        if plainly:
            self._for_boto3.add(bucket)
        meta = answer["ResponseMetadata"]
        raw = cast("bytes | None", answer.get("RawPage"))
        return _Answer(meta["HTTPStatusCode"], meta["HTTPHeaders"], raw)

    def _list_directly(self, bucket: str, parameters: dict[str, Any]) -> _Answer | None:
        query = {"list-type": "2", "encoding-type": "url"}
        query |= {_QUERY[name]: str(value) for name, value in parameters.items()}
        answer = self._get_directly(bucket, "", query, {}, MAX_ANSWER)
        return _Answer(*answer) if answer and answer.status == _OK else None

    def _get_directly(
        self, bucket: str, key: str, query: dict[str, str], headers: dict[str, str], limit: int
    ) -> DirectAnswer | None:
        if self._plain is None or bucket in self._for_boto3:
            return None
        common = dict(headers)
        if self._settings.requester_pays:
            common["x-amz-request-payer"] = "requester"
        if self._settings.expected_bucket_owner:
            common["x-amz-expected-bucket-owner"] = self._settings.expected_bucket_owner
        return self._plain.get(bucket, key, query, common, limit)

    def waited_for(self, subject: str, request: Callable[[], R]) -> R:
        """Make a request that the pass itself waits for.

        Raises:
            Cancelled: the pass is to end.
            StoreUnavailable: it took longer than any such request does.
        """

        def work() -> R:
            with translate_errors(subject):
                return request()

        seconds = self.timeouts.request_seconds
        try:
            answer = in_background(work, self.cancel_token, seconds)
        except TimeoutError as error:
            message = f"{subject}: no whole answer within {seconds:g} seconds"
            raise StoreUnavailable(message) from error
        return answer

    def fetch(
        self, bucket: str, key: str, limit: int, known_etag: str = ""
    ) -> tuple[bytes, str] | None:
        """Fetch a small object whole, of at most `limit` bytes; None when it still has the known ETag.

        Returns:
            Its bytes, and its ETag as the store wrote it.

        Raises:
            SourceChanged: it is not there.
            StoreUnavailable: what came is not whole.
        """
        for attempt in range(_TRIES):
            wanted = bucket, key, limit, known_etag
            request = partial(self._fetch, *wanted, plainly=not attempt)
            try:
                return self.waited_for(f'"{bucket}/{key}"', request)
            except NotModified:
                return None
            except TornAnswer as error:
                self._pause(attempt, error)
            finally:
                self.answered()
        raise AssertionError

    def _fetch_directly(
        self, bucket: str, key: str, limit: int, known_etag: str
    ) -> tuple[bytes, str] | None:
        condition = {"If-None-Match": known_etag} if known_etag else {}
        answer = self._get_directly(bucket, key, {}, condition, limit)
        if answer is None or (answer.status == _OK and "content-length" not in answer.headers):
            return None
        if answer.status != _OK:
            raise NotModified(f'"{bucket}/{key}"')
        etag = answer.headers.get("etag", "")
        computed = hashlib.md5(answer.body, usedforsecurity=False).hexdigest()
        # Another digest may be an encrypted object's, or damage: boto3 asks again, and that is looked into.
        return (answer.body, etag) if computed == normal(etag) else None

    def _fetch(
        self, bucket: str, key: str, limit: int, known_etag: str, *, plainly: bool
    ) -> tuple[bytes, str]:
        if plainly and (plain := self._fetch_directly(bucket, key, limit, known_etag)):
            return plain
        condition: dict[str, Any] = {"IfNoneMatch": known_etag} if known_etag else {}
        subject = f'"{bucket}/{key}"'
        answer = self.client.get_object(**self.common(bucket), Key=key, **condition)
        length, etag = required(answer, "ContentLength", subject), answer.get("ETag", "")
        if length > limit:
            raise StoreUnavailable(f"{subject}: over {limit} bytes, expected a small file")
        try:
            with translate_errors(subject):
                data = answer["Body"].read(limit + 1)
        except StoreUnavailable as error:
            # botocore repeats requests, but not the reading of an answer.
            raise TornAnswer(str(error)) from error
        if len(data) != length:
            raise TornAnswer(f"{subject}: got {len(data)} of {length} bytes")
        computed = hashlib.md5(data, usedforsecurity=False).hexdigest()
        expected = normal(etag)
        if is_md5(expected) and computed != expected and not is_encrypted(answer):
            raise TornAnswer(f"{subject}: got MD5 {computed}, expected {expected}")
        return data, etag

    def _pause(self, attempt: int, error: AgentError) -> None:
        """Wait before a request is made again; after the last attempt, raise what went wrong."""
        if attempt + 1 == _TRIES:
            raise error
        longest = self.timeouts.pause_seconds * 2 ** (attempt + 1)
        self.cancel_token.sleep(random.uniform(0, longest))  # noqa: S311 (jitter, no secret)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """Write a small object, encrypted as the settings say.

        Raises:
            AccessDenied: the store refused.
            StoreUnavailable: it did not take the object.
        """
        settings = self._settings
        encryption = {
            "ServerSideEncryption": settings.server_side_encryption,
            "SSEKMSKeyId": settings.kms_key_id,
        }
        given: dict[str, Any] = {name: value for name, value in encryption.items() if value}
        with translate_errors(f'"{bucket}/{key}"'):
            self.client.put_object(
                **self.common(bucket), **given, Key=key, Body=data, ContentType=content_type
            )

    def is_versioned(self, bucket: str) -> bool:
        """Tell whether a bucket keeps old versions; True where the store does not say."""
        try:
            with translate_errors(f'"{bucket}"'):
                parameters = self.common(bucket)
                parameters.pop("RequestPayer", None)
                answer = self.client.get_bucket_versioning(**parameters)
        except AgentError:
            return True
        return answer.get("Status") == "Enabled"


class ListedPage(NamedTuple):
    """A page of a listing."""

    page: Page
    region: str
    """The bucket's, "" when it was not told."""
    server: str
    """What the server calls itself."""


class _Answer(NamedTuple):
    """An answer to a request for a page."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    """None when it is no listing, which botocore has read then."""
