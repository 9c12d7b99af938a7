"""Sign requests with AWS Signature Version 4, as S3 wants it. Pure: no network, no clock.

The rules: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. S3 differs from other services
in two ways: the path is encoded once and never normalized, and the digest of the body is a header that is signed.
botocore's signer is the oracle of the tests. libcurl could sign by itself, but not together with paths that are sent
as they are (libcurl 8.23: error 43), and keys such as `a/../b` need that.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""Instead of the body's SHA-256: Content-MD5, which is signed, proves the body at a third of the cost."""
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = frozenset({"connection", "expect", "transfer-encoding", "user-agent"})
"""Headers that proxies or libcurl change on the way; botocore leaves out the same ones."""

Query = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys to sign with; they never show in a message."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    """Of temporary credentials; "" for a user's own keys."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is valid for."""

    region: str
    service: str = "s3"


def quoted_path(key: str) -> str:
    """Return a key as the path of a URL, without a slash before it: every byte of UTF-8, encoded once."""
    return quote(key, safe="/-._~")


def quoted_query(query: Query) -> str:
    """Return a query string in the canonical order, which is also the one that is sent."""
    pairs = ((quote(name, safe="-._~"), quote(value, safe="-._~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A request before it is signed.

    Args:
        method: in capitals.
        host: as the `Host` header says it, with the port where it is not the scheme's own.
        path: encoded, beginning with a slash.
        query: encoded, in canonical order.
        headers: all that are sent, without `Host`; names in any case.
        payload: the SHA-256 of the body in hexadecimal, or `UNSIGNED_PAYLOAD`.
    """

    method: str
    host: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    payload: str = EMPTY_SHA256


def sign(
    request: Unsigned, credentials: Credentials, scope: Scope, now: datetime
) -> dict[str, str]:
    """Return the headers of a signed request: those given, and the four that the signature adds.

    Args:
        request: what is signed.
        credentials: whose.
        scope: where.
        now: the time in UTC; S3 refuses one that is off by more than 15 minutes.
    """
    stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    headers = {
        **request.headers,
        "X-Amz-Date": stamp,
        "X-Amz-Content-SHA256": request.payload,
    }
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    signed = {"host": request.host}
    for name, value in headers.items():
        if (lower := name.lower()) not in _UNSIGNED:
            signed[lower] = " ".join(value.split())
    names = sorted(signed)
    listed = ";".join(names)
    lines = [request.method, request.path, request.query]
    lines += [f"{name}:{signed[name]}" for name in names]
    canonical = "\n".join([*lines, "", listed, request.payload])
    valid_for = f"{stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{valid_for}\n{digest}"
    signing = _signing_key(credentials.secret_key, stamp[:8], scope).copy()
    signing.update(text.encode())
    signature = signing.hexdigest()
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{valid_for},"
        f" SignedHeaders={listed}, Signature={signature}"
    )
    return headers


@functools.lru_cache(maxsize=16)
def _signing_key(secret_key: str, day: str, scope: Scope) -> hmac.HMAC:
    """Return the HMAC of one day; deriving its key takes four of the five digests of a request.

    A copy is made for each request: `hmac.digest` would let another thread run meanwhile, which takes longer than the
    digest.
    """
    key = f"AWS4{secret_key}".encode()
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")
