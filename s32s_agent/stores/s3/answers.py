"""Read what a store says when it refuses: the error in an answer, and what it means for the run. Pure.

Only an *answer of S3* may ever become "absent", "changed" or "no such key": a page of another web server, a proxy's
error or a broken connection never does, since a key that is taken for absent is deleted at the target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import NamedTuple

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    EntryError,
    EntryUnreadable,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.stores.s3.transport import AnswerTooLong, HttpAnswer
from s32s_agent.text import printable


class NotModified(AgentError):
    """304: the known version is the current one."""


class TornAnswer(StoreUnavailable):
    """What came is not whole, or not what was promised; asking again may help."""


MAX_SHOWN = 300
"""Characters of a store's own message that a log shows."""
_READ = 64 << 10
_CODE = re.compile(r"<Code>([\w.]{1,100})</Code>")
_FIELDS = {
    "message": re.compile(r"<Message>([^<]*)</Message>"),
    "region": re.compile(r"<Region>([\w-]{1,63})</Region>"),
    "endpoint": re.compile(r"<Endpoint>([\w.-]{1,253})</Endpoint>"),
}


class StoreError(NamedTuple):
    """What a store says of a request that it did not carry out."""

    status: int
    code: str = ""
    """"" where the answer is not one of S3."""
    message: str = ""
    region: str = ""
    """Where the bucket is, when the store says so."""

    @property
    def is_from_s3(self) -> bool:
        """Whether a store of S3 said this, and not something in between."""
        return bool(self.code)


_UNNAMED = "UnnamedError"
_BODILESS = {
    301: "PermanentRedirect",
    304: "NotModified",
    307: "TemporaryRedirect",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
}
"""What a status means where the answer has no body: to HEAD, or 304."""


def error_in(answer: HttpAnswer, *, bodiless: bool = False) -> StoreError:
    """Return what an answer says.

    Args:
        answer: of any status but success; success with an error in its body is read as well.
        bodiless: the request was HEAD, to which no answer has a body.
    """
    status, headers = answer.status, answer.headers
    text = answer.body[:_READ].decode(errors="replace")
    region = headers.get("x-amz-bucket-region", "")
    if found := _CODE.search(text):
        fields = {name: _field(pattern, text) for name, pattern in _FIELDS.items()}
        return StoreError(status, found[1], fields["message"], region or fields["region"])
    if (bodiless or not text.strip()) and not _is_web_page(headers):
        code = _BODILESS.get(status, _UNNAMED)
        return StoreError(status, code, f"status {status} without a body", region)
    return StoreError(status)


def _field(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return unescape(found[1]).strip() if found else ""


def _is_web_page(headers: Mapping[str, str]) -> bool:
    """Tell from its headers an answer that no store of S3 gives to HEAD."""
    named_by_s3 = any(name.startswith("x-amz-") for name in headers)
    return not named_by_s3 and "html" in headers.get("content-type", "").lower()


_REGION = "set s3.region to the region of the bucket"
_PROXY_LOGIN = (
    "put the login of the proxy into HTTP_PROXY and HTTPS_PROXY, as http://user:password@host:port, or name the"
    " endpoint in NO_PROXY"
)
_OTHER_ENDPOINT = "check s3.endpoint_url: another server answers there, or it names a bucket instead of the service"
_EXPIRED = "renew the credentials; temporary ones are replaced by whatever issued them"
_KMS = "grant the agent's credentials the use of the KMS key (kms:Decrypt, kms:GenerateDataKey), and enable the key"
_QUOTA = "raise the quota of the bucket or the account at the store, or free space there"
_LOCKED = "the store protects this object with Object Lock; wait for the end of its retention"
_OWNER = "check s3.expected_bucket_owner: the bucket belongs to another account"
_NO_ACLS = "remove `acl` from the mapping: the ACLs of this bucket are disabled, and its policy decides who may read"
_ARCHIVED = "restore the archived object, or exclude it with `ignore`"
_DAMAGED = "the bytes did not reach the store as they were sent; check the network, and proxies in between"
_CHECKSUM = "the store wants a checksum that the agent does not send; report it with the name of the store"

_DENIED = (
    "AccessDenied AllAccessDisabled AccountProblem InvalidAccessKeyId SignatureDoesNotMatch Forbidden NotSignedUp"
    " UnrecognizedClientException InvalidClientTokenId InvalidIdentityToken InvalidSecurity"
)
_EXPIRED_CODES = (
    "ExpiredToken ExpiredTokenException InvalidToken RequestExpired TokenRefreshRequired"
)
_OTHER_VERSION = "NoSuchKey NotFound NoSuchVersion NoSuchUpload PreconditionFailed ConditionalRequestConflict"
_QUOTA_CODES = (
    "QuotaExceeded InsufficientStorage XMinioAdminBucketQuotaExceeded StorageFull XMinioStorageFull"
    " InsufficientCapacity TooManyBuckets EntityTooLarge"
)
_MEANINGS: dict[str, tuple[type[AgentError], str]] = {
    **dict.fromkeys(_DENIED.split(), (AccessDenied, "")),
    **dict.fromkeys(_EXPIRED_CODES.split(), (AccessDenied, _EXPIRED)),
    **dict.fromkeys(_OTHER_VERSION.split(), (SourceChanged, "")),
    **dict.fromkeys(_QUOTA_CODES.split(), (EntryError, _QUOTA)),
    "RequestTimeTooSkewed": (AccessDenied, "set the clock of this computer"),
    "AuthorizationHeaderMalformed": (AccessDenied, _REGION),
    "InvalidObjectState": (EntryUnreadable, _ARCHIVED),
    "NoSuchBucket": (StoreUnavailable, "check the bucket's name, and s3.endpoint_url"),
    "PermanentRedirect": (StoreUnavailable, _REGION),
    "TemporaryRedirect": (StoreUnavailable, _REGION),
    _UNNAMED: (StoreUnavailable, ""),
    "InvalidDigest": (EntryError, _CHECKSUM),
    "AccessControlListNotSupported": (EntryError, _NO_ACLS),
    **dict.fromkeys(("BadDigest", "IncompleteBody"), (StoreUnavailable, _DAMAGED)),
}
_REASONS = (
    (re.compile(r"(?i)\bkms\b|kms:"), _KMS),
    (re.compile(r"(?i)object.?lock|retention|WORM\b"), _LOCKED),
    (re.compile(r"(?i)bucket owner|expected owner"), _OWNER),
    (re.compile(r"(?i)quota"), _QUOTA),
)
"""Remedies that only the store's message shows; the code is AccessDenied, or InvalidRequest, for many causes."""


def meaning_of(error: StoreError, subject: str, url: str) -> AgentError:
    """Return the error of the agent that an answer stands for.

    Args:
        error: what the store said.
        subject: what was asked for; begins the message.
        url: that was asked, without credentials; named where something else than a store answered.
    """
    if not error.is_from_s3:
        return _from_elsewhere(error.status, subject, url)
    told = f"{error.code}: {error.message}" if error.message else error.code
    message = f"{subject}: {printable(told)[:MAX_SHOWN]}"
    known = _MEANINGS.get(error.code)
    reason = next((text for words, text in _REASONS if words.search(told)), "")
    if known is not None:
        kind, remedy = known
        return kind(message, remedy=reason or remedy)
    if error.status in (401, 403):
        return AccessDenied(message, remedy=reason)
    if error.code.startswith("KMS"):
        return AccessDenied(message, remedy=_KMS)
    if 400 <= error.status < 500 and error.status not in (408, 429):  # noqa: PLR2004
        return EntryError(
            message, remedy=reason or "the store refuses this request; its message says why"
        )
    return StoreUnavailable(
        message,
        remedy=reason or "the store reports a fault of its own; the next run tries again",
    )


def _from_elsewhere(status: int, subject: str, url: str) -> StoreUnavailable:
    message = f"{subject}: {url} answered status {status} with something that is not from S3"
    if status in (401, 407):
        return StoreUnavailable(message, remedy=_PROXY_LOGIN)
    return StoreUnavailable(message, remedy=_OTHER_ENDPOINT)


_CERTIFICATE = (
    (
        re.compile(r"(?i)expired"),
        "renew the certificate of the server; if it is valid, set the clock of this computer",
    ),
    (
        re.compile(r"(?i)not yet valid"),
        "set the clock of this computer, or check the certificate of the server",
    ),
    (
        re.compile(r"(?i)subject name|hostname|host name|IP address"),
        "correct s3.endpoint_url: it must name the host as the certificate does",
    ),
    (
        re.compile(r"(?i)certificate|\bca\b|issuer"),
        "set s3.ca_bundle to the certificate of the authority, or correct s3.endpoint_url",
    ),
    (
        re.compile(r"(?i)wrong version number|packet length"),
        "the server does not speak TLS: write http:// or another port",
    ),
)
TLS_REMEDY = "check the certificate of the server, s3.ca_bundle and s3.endpoint_url"
PROXY_REMEDY = (
    "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, and the login of the proxy"
)


def tls_remedy(message: str) -> str:
    """Return what to do about a failure of TLS, from what the library says of it."""
    return next(
        (remedy for words, remedy in _CERTIFICATE if words.search(message)), TLS_REMEDY
    )


def damage_told(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks; raise IntegrityError where the answer is too long."""
    try:
        yield from chunks
    except StoreUnavailable as error:
        raise as_damage(error) from error


def as_damage(error: StoreUnavailable) -> AgentError:
    """Return an answer that is too long as damage, which another request may avoid."""
    if isinstance(error.__cause__, AnswerTooLong):
        return IntegrityError(str(error))
    return error
