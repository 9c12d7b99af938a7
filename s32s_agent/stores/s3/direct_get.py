"""Signed GETs without a client of boto3: all that a pass asks for in which nothing changed.

Making the client takes 0.1 s of processor time, and each page of a listing goes through a parser that nobody reads
(6 ms); together that was a third of such a pass. Credentials, signature and HTTP are botocore's own. Only what is plain
is asked for here: common addresses, one attempt. Whatever else is configured, and every answer but 200 and 304, is
left to boto3, which knows about redirects, errors, proxies and repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from botocore.session import Session

_PLAIN_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
"""No dots, which do not go with TLS and virtual hosts, and no suffix that makes a bucket a special one."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_PLAIN_REGION = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-[0-9]")
"""Of the partition `aws`."""
_GLOBAL_REGION = "us-east-1"
_PLAIN_CONFIG = re.compile(
    r"aws_(?:access_key_id|secret_access_key|session_token)|region|output|cli_\w+|ca_bundle|credential_\w+|sso_\w+"
    r"|role_arn|source_profile|external_id|mfa_serial|duration_seconds|role_session_name|web_identity_token_file"
    r"|retry_mode|max_attempts"
)
_PLAIN_ENVIRONMENT = re.compile(
    r"AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|(?:DEFAULT_)?(?:PROFILE|REGION)|CONFIG_FILE"
    r"|SHARED_CREDENTIALS_FILE|CA_BUNDLE|ROLE_\w+|WEB_\w+|CONTAINER_\w+|EC2_\w+|EXECUTION_ENV|PAGER|RETRY_MODE"
    r"|MAX_ATTEMPTS|ENDPOINT_URL(?:_S3)?)"
)
"""What has no influence on addresses, or is looked at here."""


class Address(NamedTuple):
    """Where S3 is, as far as that is plain."""

    endpoint_url: str | None
    """None is AWS."""
    region: str
    style: str
    """`auto`, `path` or `virtual`."""

    @property
    def endpoint(self) -> str | None:
        """The URL that boto3 would call the endpoint; None when only boto3 knows."""
        if self.endpoint_url:
            return self.endpoint_url
        if not _PLAIN_REGION.fullmatch(self.region):
            return None
        host = "s3" if self.region == _GLOBAL_REGION else f"s3.{self.region}"
        return f"https://{host}.amazonaws.com"

    def of(self, bucket: str) -> str | None:
        """Give the URL of a bucket, without a slash at its end; None when only boto3 knows."""
        endpoint = self.endpoint
        if endpoint is None or not _PLAIN_BUCKET.fullmatch(bucket):
            return None
        if self.style == "path" or (self.endpoint_url and self.style == "auto"):
            return f"{endpoint.rstrip('/')}/{bucket}"
        return None if self.endpoint_url else endpoint.replace("//", f"//{bucket}.", 1)


def address(
    endpoint_url: str | None,
    style: str,
    session: Session,
    environment: Mapping[str, str],
) -> Address | None:
    """Find out where S3 is from everything that boto3 would look at; None when that is not plain.

    Args:
        endpoint_url: from the config of the agent, which comes first.
        style: of addressing.
        session: with the profile and the region of the config, where those are set.
        environment: of the process.
    """
    variables = (name for name in environment if name.startswith("AWS_"))
    odd = [name for name in variables if not _PLAIN_ENVIRONMENT.fullmatch(name)]
    odd += [name for name in session.get_scoped_config() if not _PLAIN_CONFIG.fullmatch(name)]
    if odd:
        return None
    given = (
        endpoint_url
        or environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
    )
    region = session.get_config_variable("region") or _GLOBAL_REGION
    return Address(given or None, region, style)


class DirectAnswer(NamedTuple):
    """A whole answer."""

    status: int
    """200 or 304."""
    headers: Mapping[str, str]
    body: bytes


class DirectRequests:
    """Signed GETs of one attempt; thread-safe.

    Args:
        session: gives the credentials, which are renewed as they are for boto3.
        where: the address.
        verify: whom TLS believes: a file of certificates, or botocore's own with True.
        timeout: seconds to connect, and for the next byte.
        connections: how many are kept open.
    """

    def __init__(
        self,
        session: Session,
        where: Address,
        verify: str | bool,  # noqa: FBT001 (as botocore has it)
        timeout: tuple[float, float],
        connections: int,
    ) -> None:
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415 (only a pass needs it)

        self._session = session
        self._where = where
        self._http = URLLib3Session(
            verify=verify,  # type: ignore[arg-type]
            timeout=timeout,  # type: ignore[arg-type]
            max_pool_connections=connections,
        )

    def get(
        self,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        limit: int,
    ) -> DirectAnswer | None:
        """Ask once; None when the answer is not plain, so that boto3 must ask.

        Args:
            bucket: its name.
            key: of an object; "" is the bucket itself.
            query: its parameters, decoded.
            headers: beyond those of the signature.
            limit: bytes of the longest answer.
        """
        base = self._where.of(bucket)
        if base is None or (key and not _PLAIN_KEY.fullmatch(key)):
            return None
        try:
            return self._ask(f"{base}/{key}", query, headers, limit)
        except Exception:  # noqa: BLE001 (boto3 asks again, and knows what it means)
            return None

    def _ask(
        self, url: str, query: Mapping[str, str], headers: Mapping[str, str], limit: int
    ) -> DirectAnswer | None:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 (only a pass needs it)
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.utils import get_environ_proxies  # noqa: PLC0415

        credentials = self._session.get_credentials()
        if credentials is None or get_environ_proxies(url):
            return None
        asked = "&".join(
            f"{name}={quote(value, safe='-._~')}" for name, value in query.items()
        )
        request = AWSRequest("GET", f"{url}?{asked}" if asked else url, {**headers})
        request.headers["User-Agent"] = "s32s-agent"
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._where.region).add_auth(
            request
        )
        prepared = request.prepare()
        prepared.stream_output = True
        answer = self._http.send(prepared)
        try:
            body = answer.raw.read(limit + 1)
            whole = len(body) <= limit and str(len(body)) == answer.headers.get(
                "content-length", str(len(body))
            )
        finally:
            answer.raw.release_conn()
        if not whole or answer.status_code not in (200, 304):
            return None
        return DirectAnswer(answer.status_code, answer.headers, body)
