"""The clients of boto3 and of obstore, and what both go by: credentials, endpoint, address, certificates.

boto3 is the control plane: credentials, endpoints, LIST, HEAD, the maps. obstore moves the bytes. Both are imported
only when a pass needs them; what the pass in which nothing changed asks for goes without either.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from s32s_agent.cancellation import STALLED_SECONDS, CancelToken
from s32s_agent.config.locations import normal_endpoint
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AccessDenied, ConfigError, StoreUnavailable
from s32s_agent.stores.s3.credentials import new_session
from s32s_agent.stores.s3.direct_get import Address, DirectRequests, address
from s32s_agent.stores.s3.response_limits import limit_responses
from s32s_agent.stores.s3.translate import translate_errors
from s32s_agent.workers import in_background

if TYPE_CHECKING:
    from boto3 import Session as Boto3Session
    from botocore.awsrequest import AWSRequest
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as ByteStore

_OK = 200
_CREDENTIAL_SECONDS = 600
"""How long obstore may use credentials before it asks for them again; botocore renews them in time."""

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")
_NO_CREDENTIALS = (
    "no credentials were found: set s3.profile, the AWS_* variables, or an instance role"
)
_WHO_GIVES_CREDENTIALS = (
    "see what hangs: the credential_process of the profile, or the service that hands them out"
)


@dataclass(frozen=True, slots=True)
class Timeouts:
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


DEFAULT_TIMEOUTS = Timeouts()


class Clients:
    """Makes clients that all have the same credentials, address and timeouts.

    Thread-safe, as boto3 clients are.

    Args:
        settings: the `s3` section of the config.
        workers: how many requests may run at once.
        cancel_token: ends the waiting for credentials.
        timeouts: how long S3 is waited for.

    Raises:
        AccessDenied: there are no credentials.
        StoreUnavailable: what is asked for credentials does not answer.
        Cancelled: the pass is to end.
        ConfigError: the profile or the endpoint cannot be used.
    """

    def __init__(
        self, settings: S3Settings, workers: int, cancel_token: CancelToken, timeouts: Timeouts
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._cancel_token = cancel_token
        self._timeouts = timeouts
        self._making = threading.Lock()
        self._starting = threading.Lock()
        self._started: Boto3Session | None = None
        self._made: S3Client | None = None
        with translate_errors("the S3 settings"):
            self._session = new_session(os.environ)
            for name in ("profile", "region"):
                if value := getattr(settings, name):
                    self._session.set_config_variable(name, value)
            if self._found_credentials() is None:
                raise AccessDenied(_NO_CREDENTIALS)
            where = address(
                settings.endpoint_url, settings.addressing_style, self._session, os.environ
            )
            self.direct = self._direct_requests(where) if where else None
            """Requests without boto3, where they will do."""
            plain_endpoint = where.endpoint if where else None
            self.endpoint = plain_endpoint or str(self._client().meta.endpoint_url)
            """The endpoint's URL."""
            self.custom_endpoint = self._check_endpoint()

    def _found_credentials(self) -> object:
        """Have botocore look for credentials, for which it may run a program, or ask a service."""
        seconds = self._timeouts.request_seconds
        try:
            return in_background(self._session.get_credentials, self._cancel_token, seconds)
        except TimeoutError as error:
            message = f"the credentials: nothing came within {seconds:g} seconds"
            raise StoreUnavailable(message, remedy=_WHO_GIVES_CREDENTIALS) from error

    def _direct_requests(self, where: Address) -> DirectRequests:
        settings, timeouts = self._settings, self._timeouts
        bundle = settings.ca_bundle or self._session.get_config_variable("ca_bundle")
        timeout = timeouts.connect_seconds, timeouts.read_seconds
        return DirectRequests(self._session, where, bundle or True, timeout, self._workers)

    @property
    def client(self) -> S3Client:
        """The client of boto3, made when it is first needed."""
        with self._making:
            if self._made is None:
                with translate_errors("the S3 settings"):
                    self._made = self._client()
            return self._made

    def _boto3_session(self) -> Boto3Session:
        """Give the session of boto3, one for all clients: each more would extend their classes once more, and fail."""
        import boto3  # noqa: PLC0415 (slow, and a pass in which nothing changed does without)

        with self._starting:
            if self._started is None:
                self._started = boto3.Session(botocore_session=self._session)
            return self._started

    def _client(self, region: str | None = None, s3: dict[str, str] | None = None) -> S3Client:
        settings, session = self._settings, self._boto3_session()
        default = "us-east-1" if not session.region_name else None
        client = session.client(
            "s3",
            region_name=region or default,
            endpoint_url=settings.endpoint_url,
            verify=settings.ca_bundle,
            config=self._config(s3 or {}),
        )
        limit_responses(client)
        # Before botocore's own handler, which parses every page, and calls one that it cannot read a status 500. A
        # wildcard's handlers run before those of a name at the same place, so only one of a service's place is first.
        client.meta.events.register_first("before-parse.*.ListObjectsV2", _keep_raw_page)
        client.meta.events.register("before-sign.s3.UploadPart", _sign_digest_alone)
        return client

    def _config(self, s3: dict[str, str]) -> Config:
        from botocore.config import Config  # noqa: PLC0415

        timeouts = self._timeouts
        style = {"addressing_style": self._settings.addressing_style}
        config = Config(
            connect_timeout=timeouts.connect_seconds,
            read_timeout=timeouts.read_seconds,
            max_pool_connections=self._workers,
            retries={"mode": "standard", "total_max_attempts": timeouts.attempts},
            s3=cast("Any", {**style, **s3}),
            user_agent_extra="s32s-agent",
        )
        if not getattr(self, "custom_endpoint", False):
            return config
        # Compatible stores know neither the new checksums nor trailers.
        required = Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return config.merge(required)

    def _check_endpoint(self) -> bool:
        """Tell whether the endpoint is not one of AWS, wherever it was set.

        Raises:
            ConfigError: it is plain http to another machine, and that was not allowed.
        """
        if (urlsplit(self.endpoint).hostname or "").endswith(_AWS):
            return False
        try:
            normal_endpoint(self.endpoint, allow_http=self._settings.allow_http)
        except ValueError as error:
            raise ConfigError("s3.endpoint_url", [str(error)]) from error
        return True

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
            "connect_timeout": timedelta(seconds=self._timeouts.connect_seconds),
            "read_timeout": timedelta(seconds=self._timeouts.read_seconds),
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
                "max_retries": self._timeouts.attempts - 1,
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
        # AWS_CA_BUNDLE and ~/.aws/config, as botocore looks at them.
        verify = self._settings.ca_bundle or self._session.get_config_variable("ca_bundle")
        if not verify:
            return None
        try:
            with open(verify, "rb") as bundle:
                return bundle.read()
        except OSError as error:
            raise ConfigError("s3.ca_bundle", [str(error)]) from error


def _sign_digest_alone(request: AWSRequest, **_: Any) -> None:
    """Have the signature hold the MD5 of a part, which is among the headers, and not its SHA-256 too.

    botocore does so by itself, but over https only.
    """
    from botocore.config import Config  # noqa: PLC0415

    if "Content-MD5" in request.headers:
        request.context["client_config"] = Config(s3={"payload_signing_enabled": False})


def _keep_raw_page(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Take the body of a listing away from botocore's parser, which needs 100 ms a page and forgives everything."""
    body = response_dict["body"]
    if body and response_dict["status_code"] == _OK and b"<Error" not in body[:1024]:
        customized_response_dict["RawPage"] = body
        response_dict["body"] = b""
