"""Where a bucket is: the URL to ask, and the region to sign for.

A plain bucket at AWS or at a custom endpoint is addressed here. Access points, FIPS, dual-stack, other partitions and
whatever else a profile may ask for are boto3's to resolve; `boto3_address` has it do so.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from s32s_agent.stores.s3.signing import Scope, quoted_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GLOBAL_REGION = "us-east-1"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
"""No dots, which do not go with TLS and virtual hosts, and no suffix that makes a bucket a special one."""
_ANY_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
"""What compatible stores take in a path."""
_AWS_REGION = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-[0-9]")
"""Of the partition `aws`."""
AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


class Address(NamedTuple):
    """Where a bucket is."""

    url: str
    """Of the bucket, without a slash at its end."""
    scope: Scope

    @property
    def host(self) -> str:
        """The `Host` header: the port only where it is not the scheme's own."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
        return host.removesuffix(usual) if usual else host

    @property
    def origin(self) -> str:
        """Scheme and host: what a URL begins with."""
        return f"{urlsplit(self.url).scheme}://{self.host}"

    @property
    def path(self) -> str:
        """The path before the key: of the endpoint, and of the bucket where it is not in the host."""
        return urlsplit(self.url).path

    def style_of(self, bucket: str) -> str:
        """Return how it names the bucket: `virtual`, before the host's name, or `path`."""
        return "virtual" if self.host.startswith(f"{bucket}.") else "path"

    def path_of(self, key: str) -> str:
        """Return the encoded path of a key; "" is the bucket itself."""
        return f"{self.path}/{quoted_path(key)}"


def plain_address(
    bucket: str, endpoint_url: str | None, region: str, style: str
) -> Address | None:
    """Return the address of a bucket; None where only boto3 knows it.

    Args:
        bucket: its name.
        endpoint_url: of a compatible store, with a path where it has one; None is AWS.
        region: to sign for.
        style: `auto`, `path` or `virtual`; `auto` is `path` at a custom endpoint.
    """
    if endpoint_url is not None:
        endpoint = endpoint_url.rstrip("/")
        if style != "virtual":
            return (
                Address(f"{endpoint}/{bucket}", Scope(region))
                if _ANY_BUCKET.fullmatch(bucket)
                else None
            )
        return _virtual(bucket, endpoint, region)
    if not _AWS_REGION.fullmatch(region):
        return None
    endpoint = aws_endpoint(region)
    if style == "path":
        return (
            Address(f"{endpoint}/{bucket}", Scope(region))
            if _BUCKET.fullmatch(bucket)
            else None
        )
    return _virtual(bucket, endpoint, region)


def aws_endpoint(region: str) -> str:
    """Return the URL of S3 in a region of AWS, as boto3 has it."""
    host = "s3" if region == GLOBAL_REGION else f"s3.{region}"
    return f"https://{host}.amazonaws.com"


def _virtual(bucket: str, endpoint: str, region: str) -> Address | None:
    if not _BUCKET.fullmatch(bucket) or _is_ip(urlsplit(endpoint).hostname or ""):
        return None
    return Address(endpoint.replace("//", f"//{bucket}.", 1), Scope(region))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def boto3_address(client: S3Client, bucket: str) -> Address:
    """Have boto3 resolve a request for a bucket, and return where it would have gone.

    Nothing is sent, and nothing is signed: where a bucket is does not depend on the credentials.
    """
    from botocore import UNSIGNED  # noqa: PLC0415 (slow to import)
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415
    from botocore.compat import HTTPHeaders  # noqa: PLC0415

    urls: list[str] = []
    scopes: list[Scope] = []

    def choose(region_name: str, signing_name: str, context: Any, **_: object) -> Any:
        signing = context.get("signing", {})
        region = signing.get("region") or region_name
        scopes.append(Scope(region, signing.get("signing_name") or signing_name))
        return UNSIGNED

    def capture(request: Any, **_: object) -> Any:
        urls.append(request.url)
        answer: Any = AWSResponse(request.url, 200, HTTPHeaders(), None)
        answer._content = b""  # noqa: SLF001 (what a body would fill)
        return answer

    events = client.meta.events
    events.register_first("choose-signer.s3.HeadBucket", choose)
    events.register_first("before-send.s3.HeadBucket", capture)
    try:
        client.head_bucket(Bucket=bucket)
    finally:
        events.unregister("choose-signer.s3.HeadBucket", choose)
        events.unregister("before-send.s3.HeadBucket", capture)
    return Address(urls[0].partition("?")[0].rstrip("/"), scopes[0])
