"""Send every request to S3 that reads: list, fetch, head, get. What writes is in `write_requests`.

Pages of listings and small objects are requested directly, and by boto3 where anything but a plain answer comes;
bodies come by obstore, and by botocore where obstore would change the key. Every error is translated here.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AgentError, StoreUnavailable
from s32s_agent.plan.etags import normal
from s32s_agent.plan.proofs import Verdict, judge
from s32s_agent.stores.s3 import obstore_requests
from s32s_agent.stores.s3.clients import DEFAULT_TIMEOUTS, Clients, Timeouts
from s32s_agent.stores.s3.direct_get import DirectAnswer
from s32s_agent.stores.s3.listing import NotAListing, parse_page
from s32s_agent.stores.s3.objects import Body, Head, ListedPage, ObjectName
from s32s_agent.stores.s3.ranges import Range
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
    from obstore.store import S3Store as ByteStore

R = TypeVar("R")

_TRIES = 3
"""How often a page, or a small object, is requested when it comes torn or is none."""
_CHUNK = 1 << 20
_OK = 200
_REGION, _SERVER = "x-amz-bucket-region", "server"
_QUERY = {
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
}
"""The parameters of a listing that are used, and their names in the query."""


class Connection:
    """A way to read S3; thread-safe. Nothing here can write or delete.

    Args:
        settings: the `s3` section of the config.
        workers: how many requests may run at once.
        cancel_token: ends the waiting for every request that the run itself waits for. Those are made in a thread,
            since botocore takes an exception of a signal for trouble of the network, and repeats the request.
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
        self.settings = settings
        self.timeouts = timeouts
        self.cancel_token = cancel_token or CancelToken()
        self.answered = answered
        self._for_boto3: set[str] = set()
        """Buckets that boto3 could list where a direct request could not: in another region, for one."""
        self._clients = Clients(settings, workers, self.cancel_token, timeouts)
        self._direct = self._clients.direct
        self._regions: dict[str, str] = {}
        """Of buckets, as their listings named them."""
        self._byte_stores: dict[str, ByteStore] = {}
        self._opening = threading.Lock()
        self.endpoint = self._clients.endpoint
        """The endpoint's URL."""
        self.custom_endpoint = self._clients.custom_endpoint
        """Whether it is none of AWS."""

    @property
    def client(self) -> S3Client:
        """The client of boto3, made when it is first needed."""
        return self._clients.client

    def common(self, bucket: str) -> dict[str, Any]:
        """Return the parameters that every request carries."""
        parameters: dict[str, Any] = {"Bucket": bucket}
        if self.settings.requester_pays:
            parameters["RequestPayer"] = "requester"
        if self.settings.expected_bucket_owner:
            parameters["ExpectedBucketOwner"] = self.settings.expected_bucket_owner
        return parameters

    # --- listings ---

    def page(self, bucket: str, **parameters: Any) -> ListedPage:
        """Fetch one page of a listing.

        Raises:
            StoreUnavailable: no listing came, not even after some tries.
            ListingInconsistent: its entries lack what every entry has.
        """
        for attempt in range(_TRIES):
            request = partial(self._list, bucket, parameters, directly=not attempt)
            answer = self.waited_for(f'listing "{bucket}"', request)
            try:
                if not isinstance(answer.body, bytes) or answer.status != _OK:
                    code = answer.status
                    raise NotAListing(f'listing "{bucket}": status {code}, but not a listing')
                page = parse_page(answer.body)
            except NotAListing as error:
                self._pause(attempt, error)
                continue
            region = answer.headers.get(_REGION, "")
            if region:
                self._regions[bucket] = region
            return ListedPage(page, region, answer.headers.get(_SERVER, ""))
        raise AssertionError

    def _list(self, bucket: str, parameters: dict[str, Any], *, directly: bool) -> _Answer:
        if directly and (answer := self._list_directly(bucket, parameters)):
            return answer
        found = self.client.list_objects_v2(**self.common(bucket), **parameters)
        if directly:
            self._for_boto3.add(bucket)
        meta = found["ResponseMetadata"]
        raw = cast("bytes | None", found.get("RawPage"))
        return _Answer(meta["HTTPStatusCode"], meta["HTTPHeaders"], raw)

    def _list_directly(self, bucket: str, parameters: dict[str, Any]) -> _Answer | None:
        query = {"list-type": "2", "encoding-type": "url"}
        query |= {_QUERY[name]: str(value) for name, value in parameters.items()}
        answer = self._get_directly(bucket, "", query, {}, MAX_ANSWER)
        return _Answer(*answer) if answer and answer.status == _OK else None

    def _get_directly(
        self, bucket: str, key: str, query: dict[str, str], headers: dict[str, str], limit: int
    ) -> DirectAnswer | None:
        if self._direct is None or bucket in self._for_boto3:
            return None
        common = dict(headers)
        if self.settings.requester_pays:
            common["x-amz-request-payer"] = "requester"
        if self.settings.expected_bucket_owner:
            common["x-amz-expected-bucket-owner"] = self.settings.expected_bucket_owner
        return self._direct.get(bucket, key, query, common, limit)

    def waited_for(self, subject: str, request: Callable[[], R]) -> R:
        """Make a request that the run itself waits for.

        Raises:
            Cancelled: the run is to end.
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

    def _pause(self, attempt: int, error: AgentError) -> None:
        """Wait before a request is repeated; after the last attempt, raise what went wrong."""
        if attempt + 1 == _TRIES:
            raise error
        longest = self.timeouts.pause_seconds * 2 ** (attempt + 1)
        self.cancel_token.sleep(random.uniform(0, longest))  # noqa: S311 (jitter, no secret)

    # --- small objects ---

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
            request = partial(self._fetch, *wanted, directly=not attempt)
            try:
                return self.waited_for(f'"{bucket}/{key}"', request)
            except NotModified:
                return None
            except TornAnswer as error:
                self._pause(attempt, error)
            finally:
                self.answered()
        raise AssertionError

    def _fetch(
        self, bucket: str, key: str, limit: int, known_etag: str, *, directly: bool
    ) -> tuple[bytes, str]:
        if directly and (answer := self._fetch_directly(bucket, key, limit, known_etag)):
            return answer
        condition: dict[str, Any] = {"IfNoneMatch": known_etag} if known_etag else {}
        subject = f'"{bucket}/{key}"'
        found = self.client.get_object(**self.common(bucket), Key=key, **condition)
        length, etag = required(found, "ContentLength", subject), found.get("ETag", "")
        if length > limit:
            raise StoreUnavailable(f"{subject}: over {limit} bytes, expected a small file")
        try:
            with translate_errors(subject):
                data = found["Body"].read(limit + 1)
        except StoreUnavailable as error:
            # botocore repeats requests, but not the reading of an answer.
            raise TornAnswer(str(error)) from error
        if len(data) != length:
            raise TornAnswer(f"{subject}: got {len(data)} of {length} bytes")
        computed, expected = _md5(data), normal(etag)
        if judge(expected, computed) is Verdict.OTHER_MD5 and not is_encrypted(found):
            raise TornAnswer(f"{subject}: got MD5 {computed}, expected {expected}")
        return data, etag

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
        # Another digest may be an encrypted object's, or damage: boto3 asks again, and that is examined.
        return (answer.body, etag) if _md5(answer.body) == normal(etag) else None

    # --- objects ---

    def head(self, name: ObjectName, part_number: int | None = None) -> Head:
        """Ask what an object is, or one of its parts.

        Raises:
            SourceChanged: it is not there.
        """
        parameters = self.common(name.bucket)
        if part_number is not None:
            parameters["PartNumber"] = part_number
        with translate_errors(name.label):
            answer = self.client.head_object(**parameters, Key=name.key)
            size = required(answer, "ContentLength", name.label)
        parts = answer.get("PartsCount", 0)
        return Head(answer.get("ETag", ""), size, is_encrypted(answer), parts)

    def get(self, name: ObjectName, condition: str | None, size: int) -> Body:
        """Request the bytes of one version of an object.

        Args:
            name: the object.
            condition: the version, as the store wrote its ETag; None is any.
            size: its bytes.

        Raises:
            SourceChanged: there is another version, or none.
        """
        if obstore_requests.can_name(name.key):
            store = self.byte_store(name.bucket)
            return obstore_requests.get(store, name, condition, size)
        return self._get_with_boto3(name, condition)

    def can_get_ranges(self, name: ObjectName) -> bool:
        """Tell whether ranges of an object can be requested."""
        return obstore_requests.can_name(name.key)

    def describe(self, name: ObjectName, condition: str | None) -> Body:
        """Request what `get` gives, but without the bytes; for a name of which ranges can be requested."""
        return obstore_requests.describe(self.byte_store(name.bucket), name, condition)

    def get_range(self, name: ObjectName, condition: str | None, wanted: Range) -> Body:
        """Request a range of one version, as `get` the whole.

        Raises:
            IntegrityError: the answer is another range, or none.
        """
        store = self.byte_store(name.bucket)
        return obstore_requests.get_range(store, name, condition, wanted)

    def byte_store(self, bucket: str) -> ByteStore:
        """Return obstore's view of a bucket, made when it is first needed."""
        with self._opening:
            if bucket not in self._byte_stores:
                region = self._regions.get(bucket, "")
                self._byte_stores[bucket] = self._clients.byte_store(bucket, region)
            return self._byte_stores[bucket]

    def _get_with_boto3(self, name: ObjectName, condition: str | None) -> Body:
        parameters = self.common(name.bucket)
        if condition:
            parameters["IfMatch"] = condition
        with translate_errors(name.label):
            answer = self.client.get_object(**parameters, Key=name.key)
            size = required(answer, "ContentLength", name.label)
            modified = required(answer, "LastModified", name.label)
        stream = answer["Body"]

        def chunks() -> Iterator[bytes]:
            # Drained to its end, since only then does botocore check what it can.
            with translate_errors(name.label), contextlib.closing(stream):
                while chunk := stream.read(_CHUNK):
                    yield chunk

        etag, metadata = answer.get("ETag", ""), answer.get("Metadata", {})
        return Body(etag, size, (0, size), modified, metadata, chunks)

    # --- buckets ---

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


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class _Answer(NamedTuple):
    """An answer to a request for a page."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    """None when it is no listing, which botocore has read then."""
