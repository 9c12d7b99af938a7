"""How S3 is reached, by boto3 and by obstore, and what their errors mean.

boto3 is the control plane: credentials, endpoints, LIST, HEAD, the maps. obstore moves the bytes. Both are imported
only when a pass needs them, and their errors are translated here, once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from s32s_agent.config import S3Settings
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    ConfigError,
    EntryUnreadable,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.etags import is_md5, normal
from s32s_agent.locations import normal_endpoint
from s32s_agent.parallel import STALLED_SECONDS, Stop, in_background
from s32s_agent.stores.bounded import bound_answers
from s32s_agent.stores.credentials import new_session
from s32s_agent.stores.listing import NotAListing, Page, parse_page

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as ByteStore

R = TypeVar("R")

_TRIES = 3
"""How often a page, or a map file, is asked for that comes torn or is none."""
_CREDENTIAL_SECONDS = 600
"""How long obstore may use credentials before it asks for them again; botocore renews them in time."""

_DENIED = {
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
    "InvalidToken", "RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired", "401",
    "403", "Forbidden", "UnrecognizedClientException", "InvalidClientTokenId",
}  # fmt: skip
_OTHER_VERSION = {
    "NoSuchKey", "404", "NotFound", "NoSuchVersion", "NoSuchUpload",
    "PreconditionFailed", "ConditionalRequestConflict", "412",
}  # fmt: skip
_CONDITION_FAILED = ("PreconditionError", "NotModifiedError", "AlreadyExistsError")
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")
_NO_CREDENTIALS = (
    "no credentials were found: set s3.profile, the AWS_* variables, or an instance role"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long S3 is waited for."""

    connect_seconds: float = 10
    """For a connection."""
    read_seconds: float = 60
    """For the next byte."""
    request_seconds: float = 600
    """For a page of a listing, or a map file, all repetitions included."""
    stalled_seconds: float = STALLED_SECONDS
    """For a worker to show life, whatever it does."""
    attempts: int = 5
    """How often a request is made that fails for a reason which may pass; with jitter, and ever longer in between."""
    pause_seconds: float = 0.5
    """Before an entry, or a page that was none, is tried again; random, up to twice this, then up to four times."""


PATIENCE = Patience()


def _nothing() -> None:
    """Tell nobody."""


class Connection:
    """How S3 is reached: one boto3 client for everything but the bytes.

    Thread-safe, as boto3 clients are.

    Args:
        settings: the `s3` section of the config.
        workers: how many requests may run at once.
        stop: ends the waiting for every request that a pass itself waits for. Those are made in a thread, since
            botocore takes an exception of a signal for trouble of the network, and asks again.
        patience: how long S3 is waited for.
        answered: called, in any thread, when S3 has answered.

    Raises:
        AccessDenied: there are no credentials.
        ConfigError: the profile or the endpoint cannot be used.
    """

    def __init__(
        self,
        settings: S3Settings,
        workers: int,
        stop: Stop | None = None,
        patience: Patience = PATIENCE,
        answered: Callable[[], None] = _nothing,
    ) -> None:
        import boto3  # noqa: PLC0415 (0.5 s, which --version and --status need not pay)
        from botocore.config import Config  # noqa: PLC0415

        self._settings = settings
        self.patience = patience
        self.stop = stop or Stop()
        self._answered = answered
        self._config = Config(
            connect_timeout=patience.connect_seconds,
            read_timeout=patience.read_seconds,
            max_pool_connections=workers,
            retries={"mode": "standard", "total_max_attempts": patience.attempts},
            s3={"addressing_style": cast("Any", settings.addressing_style)},
            user_agent_extra="s32s-agent",
        )
        with border("the S3 settings"):
            self._session = boto3.Session(
                profile_name=settings.profile,
                region_name=settings.region,
                botocore_session=new_session(os.environ),
            )
            if self._session.get_credentials() is None:
                raise AccessDenied(_NO_CREDENTIALS)
            self.client = self._client(None)
            self.custom_endpoint = self._check_endpoint()
            if self.custom_endpoint:
                # Compatible stores know neither the new checksums nor trailers.
                required = Config(
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                self._config = self._config.merge(required)
                self.client = self._client(None)

    def _client(self, region: str | None, s3: dict[str, str] | None = None) -> S3Client:
        from botocore.config import Config  # noqa: PLC0415

        settings = self._settings
        config = self._config.merge(Config(s3=cast("Any", s3))) if s3 else self._config
        default = "us-east-1" if not self._session.region_name else None
        client = self._session.client(
            "s3",
            region_name=region or default,
            endpoint_url=settings.endpoint_url,
            verify=settings.ca_bundle,
            config=config,
        )
        bound_answers(client)
        # First, since another handler parses every page to look for an error in it.
        client.meta.events.register_first("before-parse.s3.ListObjectsV2", _keep_raw_page)
        return client

    def _check_endpoint(self) -> bool:
        """Tell whether the endpoint is not one of AWS, wherever it was set.

        Raises:
            ConfigError: it is plain http to another machine, and that was not allowed.
        """
        url = self.client.meta.endpoint_url
        if (urlsplit(url).hostname or "").endswith(_AWS):
            return False
        try:
            normal_endpoint(url, allow_http=self._settings.allow_http)
        except ValueError as error:
            raise ConfigError("s3.endpoint_url", [str(error)]) from error
        return True

    @property
    def endpoint(self) -> str:
        """The endpoint's URL."""
        return str(self.client.meta.endpoint_url)

    def common(self, bucket: str) -> dict[str, Any]:
        """Give the parameters that every request carries."""
        parameters: dict[str, Any] = {"Bucket": bucket}
        if self._settings.requester_pays:
            parameters["RequestPayer"] = "requester"
        if self._settings.expected_bucket_owner:
            parameters["ExpectedBucketOwner"] = self._settings.expected_bucket_owner
        return parameters

    def page(self, bucket: str, **parameters: Any) -> tuple[Page, str]:
        """Fetch one page of a listing; also give the bucket's region, "" when it was not told.

        Raises:
            StoreUnavailable: no listing came, not even after some tries.
            ListingInconsistent: its entries lack what every entry has.
        """
        for attempt in range(_TRIES):
            answer = self._waited_for(
                f'listing "{bucket}"',
                lambda: self.client.list_objects_v2(**self.common(bucket), **parameters),
            )
            meta = answer["ResponseMetadata"]
            raw = answer.get("RawPage")
            try:
                if not isinstance(raw, bytes) or meta["HTTPStatusCode"] != 200:  # noqa: PLR2004
                    code = meta["HTTPStatusCode"]
                    raise NotAListing(f'listing "{bucket}": status {code}, but not a listing')
                return parse_page(raw), meta["HTTPHeaders"].get("x-amz-bucket-region", "")
            except NotAListing as error:
                self._pause(attempt, error)
        raise AssertionError

    def _waited_for(self, subject: str, request: Callable[[], R]) -> R:
        """Make a request that the pass itself waits for.

        Raises:
            Stopped: the pass is to end.
            StoreUnavailable: it took longer than any such request does.
        """

        def work() -> R:
            with border(subject):
                return request()

        seconds = self.patience.request_seconds
        try:
            answer = in_background(work, self.stop, seconds)
        except TimeoutError as error:
            message = f"{subject}: no whole answer within {seconds:g} seconds"
            raise StoreUnavailable(message) from error
        self._answered()
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
            try:
                return self._waited_for(
                    f'"{bucket}/{key}"', lambda: self._fetch(bucket, key, limit, known_etag)
                )
            except NotModified:
                return None
            except TornAnswer as error:
                self._pause(attempt, error)
        raise AssertionError

    def _fetch(self, bucket: str, key: str, limit: int, known_etag: str) -> tuple[bytes, str]:
        condition: dict[str, Any] = {"IfNoneMatch": known_etag} if known_etag else {}
        subject = f'"{bucket}/{key}"'
        answer = self.client.get_object(**self.common(bucket), Key=key, **condition)
        length, etag = part_of(answer, "ContentLength", subject), answer.get("ETag", "")
        if length > limit:
            raise StoreUnavailable(f"{subject}: over {limit} bytes, expected a small file")
        try:
            with border(subject):
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
        longest = self.patience.pause_seconds * 2 ** (attempt + 1)
        self.stop.sleep(random.uniform(0, longest))  # noqa: S311 (jitter, no secret)

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
        with border(f'"{bucket}/{key}"'):
            self.client.put_object(
                **self.common(bucket), **given, Key=key, Body=data, ContentType=content_type
            )

    def is_versioned(self, bucket: str) -> bool:
        """Tell whether a bucket keeps old versions; True where the store does not say."""
        try:
            with border(f'"{bucket}"'):
                parameters = self.common(bucket)
                parameters.pop("RequestPayer", None)
                answer = self.client.get_bucket_versioning(**parameters)
        except AgentError:
            return True
        return answer.get("Status") == "Enabled"

    def byte_store(self, bucket: str, region: str) -> ByteStore:
        """Open obstore on a bucket, addressed exactly as botocore would.

        Args:
            bucket: its name, or an access point's ARN.
            region: where it is, "" when that is not known.
        """
        # Measured with 10,000 small objects: a thread of obstore's own for every core costs a fifth more of the
        # processors' time than half as many do, since ours need them too.
        os.environ.setdefault("TOKIO_WORKER_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
        from obstore.store import S3Store as Bytes  # noqa: PLC0415

        client = self.client
        if region and not self.custom_endpoint and region != client.meta.region_name:
            client = self._client(region)
        if not self.custom_endpoint and self._settings.addressing_style == "auto":
            # botocore presigns "auto" for the global endpoint, which answers for new buckets with a redirect.
            client = self._client(client.meta.region_name, {"addressing_style": "virtual"})
        url = urlsplit(
            client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        )
        virtual = url.path == "/k"
        name = re.sub(r"[^a-z0-9.-]", "-", bucket.lower()) if virtual else bucket
        options: dict[str, Any] = {
            "allow_http": url.scheme == "http",
            "connect_timeout": timedelta(seconds=self.patience.connect_seconds),
            "read_timeout": timedelta(seconds=self.patience.read_seconds),
            "timeout": timedelta(days=7),  # others find a stalled transfer
            "user_agent": "s32s-agent",
        }
        if bundle := self._ca_bundle():
            options["root_certificate"] = bundle
        return Bytes(
            name,
            endpoint=f"{url.scheme}://{url.netloc}{url.path.removesuffix('/k').removesuffix('/' + bucket)}",
            region=client.meta.region_name or "us-east-1",
            virtual_hosted_style_request=virtual,
            request_payer=self._settings.requester_pays,
            **self._writing(),
            client_options=options,  # type: ignore[arg-type]
            retry_config={
                "max_retries": self.patience.attempts - 1,
                "retry_timeout": timedelta(seconds=120),
            },
            credential_provider=self._credentials,  # type: ignore[arg-type]
        )

    def _writing(self) -> dict[str, Any]:
        """Give how obstore is to have S3 encrypt and check what it writes."""
        given = {
            "server_side_encryption": self._settings.server_side_encryption,
            "sse_kms_key_id": self._settings.kms_key_id,
        }
        if not self.custom_endpoint:
            # A bucket with a default retention asks for a checksum; others may not know them.
            given["checksum_algorithm"] = "SHA256"
        return {name: value for name, value in given.items() if value is not None}

    def _credentials(self) -> dict[str, object]:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise AccessDenied(_NO_CREDENTIALS)
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(seconds=_CREDENTIAL_SECONDS),
        }

    def _ca_bundle(self) -> bytes | None:
        # AWS_CA_BUNDLE and ~/.aws/config: boto3 itself offers no way to what botocore knows.
        botocore_session = self._session._session  # noqa: SLF001
        verify = self._settings.ca_bundle or botocore_session.get_config_variable("ca_bundle")
        if not verify:
            return None
        try:
            with open(verify, "rb") as bundle:
                return bundle.read()
        except OSError as error:
            raise ConfigError("s3.ca_bundle", [str(error)]) from error


class NotModified(AgentError):
    """304: the known version is the current one."""


class TornAnswer(StoreUnavailable):
    """What came is not whole, or not what was promised; asking again may help."""


def part_of(answer: Mapping[str, Any], name: str, subject: str) -> Any:
    """Give what every such answer of S3 has.

    Raises:
        StoreUnavailable: this one does not, so that it was cut short, or came from somebody else.
    """
    if name not in answer:
        raise TornAnswer(f"{subject}: the answer lacks its {name}")
    return answer[name]


def is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Tell from an answer to GET or HEAD whether encryption makes the ETag something else than an MD5."""
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return kms or "SSECustomerAlgorithm" in answer


def _keep_raw_page(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Take the body of a listing away from botocore's parser, which needs 100 ms a page and forgives everything."""
    body = response_dict["body"]
    if response_dict["status_code"] == 200 and b"<ListBucketResult" in body[:1024]:  # noqa: PLR2004
        customized_response_dict["RawPage"] = body
        response_dict["body"] = b""


@contextlib.contextmanager
def border(subject: str) -> Iterator[None]:
    """Translate what boto3, obstore and what is below them raise; the subject begins the message."""
    try:
        yield
    except (AgentError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _translated(error, subject) from error


def _translated(error: Exception, subject: str) -> AgentError:
    module = type(error).__module__
    if module.startswith("botocore"):
        return _from_botocore(error, subject)
    if module.startswith("obstore") or isinstance(error, FileNotFoundError):
        return _from_obstore(error, subject)
    if isinstance(error, (OSError, RecursionError)) or module.startswith("urllib3"):
        # A redirect that leads back to itself ends in RecursionError.
        return _unavailable(f"{subject}: {_first_line(error)}")
    raise error


def _from_botocore(error: Exception, subject: str) -> AgentError:
    name = type(error).__name__
    response: dict[str, Any] = getattr(error, "response", {})
    if not response:
        message = f"{subject}: {_first_line(error)}"
        if "Credential" in name or "Token" in name or "SSO" in name:
            return AccessDenied(message)
        if name in ("ProfileNotFound", "InvalidRegionError", "ConfigParseError"):
            return ConfigError("s3", [_first_line(error)])
        return _unavailable(message)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(response["Error"].get("Code", ""))
    if not code:
        return _not_from_s3(status, subject)
    return _from_code(
        code, status, f"{subject}: {code}: {response['Error'].get('Message', '')}"
    )


def _not_from_s3(status: int, subject: str) -> AgentError:
    """Make the error of an answer that has a body, but not one of S3."""
    message = f"{subject}: status {status}, with a page that is not from S3"
    if status in _LOGIN_WANTED:
        return StoreUnavailable(message, remedy=_PROXY_LOGIN)
    return _from_code(str(status), status, message)


_LOGIN_WANTED = (401, 407)
_PROXY_LOGIN = (
    "give the proxy's login in HTTP_PROXY and HTTPS_PROXY, as http://user:password@host:port, or name the endpoint"
    " in NO_PROXY"
)
_REGION = "set s3.region to the bucket's region"
_KINDS: dict[str, tuple[type[AgentError], str]] = {
    **dict.fromkeys(_DENIED, (AccessDenied, "")),
    "InvalidObjectState": (EntryUnreadable, "restore the archived object"),
    "RequestTimeTooSkewed": (AccessDenied, "set this computer's clock"),
    "NoSuchBucket": (StoreUnavailable, "check the bucket's name and the endpoint"),
    "PermanentRedirect": (StoreUnavailable, _REGION),
    "407": (
        StoreUnavailable,
        "give the proxy's login in HTTP_PROXY and HTTPS_PROXY, as http://user:password@host:port",
    ),
    "AuthorizationHeaderMalformed": (AccessDenied, _REGION),
    **dict.fromkeys(_OTHER_VERSION, (SourceChanged, "")),
}


def _from_code(code: str, status: int, message: str) -> AgentError:
    if status == 304:  # noqa: PLR2004
        return NotModified(message)
    denied = status in (401, 403)
    kind, remedy = _KINDS.get(code, (AccessDenied if denied else StoreUnavailable, ""))
    return kind(message, remedy=remedy)


def _from_obstore(error: Exception, subject: str) -> AgentError:
    text, name = str(error), type(error).__name__
    code = re.search(r"<Code>(\w+)</Code>", text)
    if code and code[1] != "Error":
        return _from_code(code[1], 0, f"{subject}: {code[1]}")
    message = f"{subject}: {_first_line(error)}"
    if isinstance(error, FileNotFoundError) or name in _CONDITION_FAILED:
        return SourceChanged(message)
    if name in ("PermissionDeniedError", "UnauthenticatedError"):
        return AccessDenied(message)
    return _unavailable(message)


def _unavailable(message: str) -> StoreUnavailable:
    """Make the error of a request that did not come through, with a remedy where the message shows one."""
    remedy = next((text for words, text in _REMEDIES if words.search(message)), "")
    return StoreUnavailable(message, remedy=remedy)


_REMEDIES = (
    (
        re.compile(r"(?i)certificate|\bssl\b"),
        "set s3.ca_bundle to the certificate of the authority, or correct s3.endpoint_url",
    ),
    (
        re.compile(r"(?i)proxy|tunnel"),
        "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and the proxy's login",
    ),
)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
