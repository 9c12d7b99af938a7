"""Convert between the attributes of an entry and what S3 keeps beside an object. Pure.

`mtime` in seconds and `mode` in octal are what rclone, and this agent, read and write.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from datetime import datetime

from s32s_agent.stores.base import Attributes

_LATEST_NS = 1 << 62
"""About the year 2116; file systems differ in what they make of later times."""
_MTIME = re.compile(r"(-?)(\d{1,11})(?:\.(\d{1,9})\d*)?")
_MODE = re.compile(r"0?[0-7]{3,6}")
_BILLION = 1_000_000_000
_DEFAULT_TYPE = "application/octet-stream"
_PACKED_TYPES = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}
_TYPES = mimetypes.MimeTypes()
"""Python's own table, whatever /etc/mime.types of this machine says."""
# Python 3.11 has the type that RFC 9239 made obsolete.
_TYPES.add_type("text/javascript", ".js")


def attributes_of(metadata: Mapping[str, str], modified: datetime) -> Attributes:
    """Return the attributes that an object carries; without a usable `mtime`, the time of its upload."""
    given = {name.lower(): value for name, value in metadata.items()}
    mtime_ns = _nanoseconds(given.get("mtime", ""))
    if mtime_ns is None:
        mtime_ns = int(modified.timestamp()) * _BILLION
    mode = given.get("mode", "")
    return Attributes(mtime_ns, int(mode, 8) & 0o777 if _MODE.fullmatch(mode) else None)


def _nanoseconds(mtime: str) -> int | None:
    found = _MTIME.fullmatch(mtime)
    if found is None:
        return None
    nanoseconds = int(found[2]) * _BILLION + int((found[3] or "").ljust(9, "0"))
    if nanoseconds > _LATEST_NS:
        return None
    return -nanoseconds if found[1] else nanoseconds


def metadata_of(attributes: Attributes) -> dict[str, str]:
    """Return the metadata of an object, without what is not known."""
    metadata = {}
    if attributes.mtime_ns is not None:
        seconds, rest = divmod(abs(attributes.mtime_ns), _BILLION)
        sign = "-" if attributes.mtime_ns < 0 else ""
        metadata["mtime"] = sign + (f"{seconds}.{rest:09d}" if rest else str(seconds))
    if attributes.mode is not None:
        metadata["mode"] = f"{attributes.mode:04o}"
    return metadata


def content_type(key: str, chosen: Mapping[str, str]) -> str:
    """Return an object's media type, from its name.

    Args:
        key: the object's.
        chosen: types by suffix, which take precedence; the longest suffix that fits.
    """
    suffixes = sorted((suffix for suffix in chosen if key.endswith(suffix)), key=len)
    if suffixes:
        return chosen[suffixes[-1]]
    guessed, packing = _TYPES.guess_type(key.rpartition("/")[2])
    if packing:
        return _PACKED_TYPES.get(packing, _DEFAULT_TYPE)
    return guessed or _DEFAULT_TYPE
