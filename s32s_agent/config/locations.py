"""The syntax of locations: prefixes in S3, URLs and local directories, each in one normal form.

Decides from the text alone: symbolic links are resolved and checked in `directories.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from pathlib import PureWindowsPath
from urllib.parse import urlsplit

from s32s_agent.model import Location
from s32s_agent.text import has_control_characters

MAX_PREFIX = 1000
"""Bytes of UTF-8. A key has at most 1024, and the rest is for the names below the prefix."""

# 3 to 63 of [a-z0-9.-] today; buckets from before 2018 in us-east-1, and some other stores, allow more.
BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}"
_BUCKET = re.compile(BUCKET)
_BUCKET_ARN = re.compile(r"arn:aws[a-z-]*:s3:::")
# The slash is also a separator inside an access point's ARN, so the bucket does not end at the first one.
_ACCESS_POINT = re.compile(
    r"arn:aws[a-z-]*:"
    r"(?:s3:[a-z0-9-]*:[0-9]{12}:"
    r"|s3-outposts:[a-z0-9-]+:[0-9]{12}:outpost[/:][A-Za-z0-9-]{1,63}[/:])"
    r"accesspoint[/:][A-Za-z0-9.-]{1,63}(?=/|$)"
)

# Only what every parser of URLs reads in the same way: no backslash, no @, no blank.
URL = r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?"
ENDPOINT = URL.removesuffix("/?") + r"(?:/[A-Za-z0-9._~-]+)*/?"
"""The same, below a path, where some stores keep S3: https://project.example/storage/v1/s3."""
_ENDPOINT = re.compile(ENDPOINT)
_PING_URL = re.compile(
    URL.removesuffix("/?") + r"(?:/[A-Za-z0-9._~%/+:=,-]*)?(?:\?[A-Za-z0-9._~%/+:=,&-]*)?"
)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_VARIABLE = re.compile(r"\$[A-Za-z_{(]")
_WINDOWS_VARIABLE = re.compile(r"%[^%/\\]+%")
# Windows reads `x.` and `x ` as `x`, and `x:y` as a stream of `x`: other names for the same directory.
_WINDOWS_ILLEGAL = re.compile(r'[<>:"|?*]|[. ]$')


def parse_location(text: str) -> Location:
    """Split `bucket/prefix`, which `s3://` may precede; the bucket may be an access point's ARN.

    A slash at the end changes nothing.

    Raises:
        ValueError: it names no bucket, or a prefix that cannot be a directory.
    """
    if has_control_characters(text):
        raise ValueError("expected bucket/prefix without control characters")
    bucket, prefix = _split(text[5:] if text[:5].lower() == "s3://" else text)
    prefix = prefix.removesuffix("/")
    if prefix and any(part in {"", ".", ".."} for part in prefix.split("/")):
        raise ValueError(
            'expected a prefix without empty parts, "." and "..": no directory has them'
        )
    if len(prefix.encode()) > MAX_PREFIX:
        raise ValueError(f"expected a prefix of at most {MAX_PREFIX} bytes")
    return Location(bucket, prefix)


def _split(text: str) -> tuple[str, str]:
    point = _ACCESS_POINT.match(text)
    if point and point.group().endswith(".mrap"):
        raise ValueError(
            "expected one bucket: a multi-region access point needs another signature"
        )
    if point:
        # One spelling, so that equal locations compare equal.
        bucket = re.sub(r"(accesspoint|outpost):", r"\1/", point.group())
        bucket = re.sub(r"(outpost/[^/:]+):", r"\1/", bucket)
        return bucket, text[point.end() + 1 :]
    whole = _BUCKET_ARN.match(text)
    bucket, _, prefix = (text[whole.end() :] if whole else text).partition("/")
    if bucket.startswith("arn:"):
        raise ValueError("expected the ARN of an access point or a bucket")
    if bucket.endswith("--x-s3"):
        raise ValueError(
            "expected a general purpose bucket: ETags of a directory bucket prove nothing"
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ValueError(
            "expected bucket/prefix, with 3 to 255 letters, digits, dots and dashes as bucket"
        )
    return bucket, prefix


def normal_endpoint(text: str, *, allow_http: bool) -> str:
    """Check the URL of an S3 service, and remove a slash from its end.

    Raises:
        ValueError: it is not one, contains more than host, port and path, or would send credentials and data
            unencrypted over a network. The message does not repeat it: a URL can hold a password.
    """
    if not _ENDPOINT.fullmatch(text) or {".", ".."} & set(text.split("/")[3:]):
        raise ValueError(
            "expected http:// or https:// with a host, and no query or credentials"
        )
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        address = None if _HOST.fullmatch(host) else IPv6Address(host)
    except ValueError as error:
        raise ValueError("expected a URL with a valid host and port") from error
    if port == 0:
        raise ValueError("expected a URL with a port above 0")
    loopback = address.is_loopback if address else _is_loopback_name(host)
    if url.scheme == "http" and not loopback and not allow_http:
        raise ValueError(
            "expected https:// (s3.allow_http: true permits http:// to other computers)"
        )
    return text.removesuffix("/")


def normal_ping_url(text: str) -> str:
    """Check a URL to which runs are reported, and remove a slash from the end of its path.

    Raises:
        ValueError: it is not one. The message does not repeat it: whoever knows it can report in this computer's name.
    """
    try:
        port = urlsplit(text).port
    except ValueError:
        port = 0
    if not _PING_URL.fullmatch(text) or port == 0:
        raise ValueError(
            "expected http:// or https:// with a host and a path, no password and no fragment"
        )
    path, question, query = text.partition("?")
    return f"{path.rstrip('/')}{question}{query}"


def _is_loopback_name(host: str) -> bool:
    try:
        return host == "localhost" or IPv4Address(host).is_loopback
    except ValueError:  # another name
        return False


def normal_directory(text: str, *, windows_ok: bool) -> str:
    r"""Check an absolute path and bring it into normal form, without a slash at its end.

    With `windows_ok`, `c:\path\dir` is `c:/path/dir`.

    Raises:
        ValueError: it is not absolute, or would have to be expanded (`..`, `~`, `$HOME`).
    """
    if has_control_characters(text):
        raise ValueError("expected an absolute path without control characters")
    if text.startswith("~") or _VARIABLE.search(text):
        raise ValueError("expected an absolute path, ~ and variables are not expanded")
    if windows_ok and _DRIVE.match(text):
        return _normal_windows(text)
    if not text.startswith("/"):
        raise ValueError("expected an absolute path")
    parts = [part for part in text.split("/") if part]
    _refuse_dots(parts)
    return "/" + "/".join(parts)


def _normal_windows(text: str) -> str:
    if _WINDOWS_VARIABLE.search(text):
        raise ValueError("expected an absolute path, variables are not expanded")
    # PureWindowsPath drops "." silently, so the parts are taken from the text.
    parts = [part for part in re.split(r"[\\/]", text[3:]) if part]
    _refuse_dots(parts)
    if any(_WINDOWS_ILLEGAL.search(part) for part in parts):
        raise ValueError("expected a path that Windows does not change")
    return PureWindowsPath(text[:3], *parts).as_posix()


def _refuse_dots(parts: Collection[str]) -> None:
    if not {".", ".."}.isdisjoint(parts):
        raise ValueError('expected an absolute path without "." and ".."')


def components(directory: str) -> tuple[str, ...]:
    """Split a directory in normal form; those of Windows compare without case."""
    text = directory.lower() if _DRIVE.match(directory) else directory
    return tuple(text.rstrip("/").split("/"))


def is_inside(directory: str, root: str) -> bool:
    """Return whether a directory in normal form is a root or below it.

    By components, because `/dir-evil` begins like `/dir` and is not in it.
    """
    top = components(root)
    return components(directory)[: len(top)] == top


# These hold files of other programs, which a mirror would delete. Their subdirectories may be mirrored when a root
# allows it. /mnt and /media hold the mount points of unrelated disks; /srv is missing because it is made for this.
_SHARED = frozenset(
    {
        *("/", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/snap", "/tmp"),  # noqa: S108 - not to use
        *("/usr", "/usr/local", "/usr/share", "/usr/src"),
        *("/var", "/var/backups", "/var/cache", "/var/lib", "/var/lock", "/var/log"),
        *("/var/mail", "/var/opt", "/var/run", "/var/spool", "/var/tmp"),  # noqa: S108
    }
)
# These never hold data. The last one is the agent's own: whoever could write it would choose the roots.
_UNTOUCHABLE = (
    *("/bin", "/boot", "/dev", "/proc", "/sbin", "/sys"),
    *("/lib", "/lib32", "/lib64", "/libx32"),
    *("/usr/bin", "/usr/sbin", "/usr/libexec"),
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32"),
    "/etc/s32s-agent",
)
_WINDOWS_UNTOUCHABLE = frozenset(
    {
        *("windows", "program files", "program files (x86)", "programdata"),
        *("$recycle.bin", "system volume information", "boot", "recovery"),
    }
)


def is_system_directory(directory: str, homes: Collection[str]) -> bool:
    """Return whether a directory in normal form must never be mirrored.

    Args:
        directory: in normal form.
        homes: the home directories of people (not of services: /var/www is one of those). They, and what contains
            them, are system directories.
    """
    if any(is_inside(home, directory) for home in homes):
        return True
    parts = components(directory)
    if parts[0]:
        return _is_windows_system(parts[1:])
    if parts[1:2] == ("home",) and len(parts) == 3:  # noqa: PLR2004 - /home/x
        return True
    return directory in _SHARED or any(is_inside(directory, top) for top in _UNTOUCHABLE)


def _is_windows_system(parts: tuple[str, ...]) -> bool:
    """Decide on the components below the drive."""
    if not parts or parts[0] in _WINDOWS_UNTOUCHABLE:
        return True
    return parts[0] in {"users", "documents and settings"} and len(parts) <= 2  # noqa: PLR2004
