"""What the errors of boto3, of obstore, and of what is below them mean: the one place where they are translated."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    ConfigError,
    EntryUnreadable,
    SourceChanged,
    StoreUnavailable,
)

_DENIED = {
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
    "InvalidToken", "RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired", "401",
    "403", "Forbidden", "UnrecognizedClientException", "InvalidClientTokenId",
}  # fmt: skip
_OTHER_VERSION = {
    "NoSuchKey", "404", "NotFound", "NoSuchVersion", "NoSuchUpload",
    "PreconditionFailed", "ConditionalRequestConflict", "412",
}  # fmt: skip
_NOT_IMPLEMENTED = 501
_CONDITION_FAILED = ("PreconditionError", "NotModifiedError", "AlreadyExistsError")


class NotModified(AgentError):
    """304: the known version is the current one."""


class TornAnswer(StoreUnavailable):
    """What came is not whole, or not what was promised; asking again may help."""


def required(answer: Mapping[str, Any], name: str, subject: str) -> Any:
    """Give what every such answer of S3 has.

    Raises:
        StoreUnavailable: this one does not, so that it was cut short, or came from somebody else.
    """
    if name not in answer:
        raise TornAnswer(f"{subject}: the answer lacks its {name}")
    return answer[name]


def is_not_implemented(error: AgentError) -> bool:
    """Tell whether a store does not know a condition: 501, as B2 answers.

    The message holds the key, which may read `501` too, so only what the store itself said counts.
    """
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    if response:
        return bool(response["ResponseMetadata"].get("HTTPStatusCode") == _NOT_IMPLEMENTED)
    return re.search(r"status code: 501\b", str(error.__cause__)) is not None


def is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Tell from an answer to GET or HEAD whether encryption makes the ETag something else than an MD5."""
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return kms or "SSECustomerAlgorithm" in answer


@contextlib.contextmanager
def translate_errors(subject: str) -> Iterator[None]:
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
    "407": (StoreUnavailable, _PROXY_LOGIN),
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
