"""Convert between the attributes of an entry and what S3 keeps beside an object. Pure.

This agent writes `mtime` in seconds and `mode` in octal; the table `_FORMS` says what other programs write.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from s32s_agent.stores.base import Attributes

_BILLION = 1_000_000_000
_LATEST_NS = (1 << 33) * _BILLION
"""The year 2242. XFS and ext4 hold later times, but not all of those that 64 bits of nanoseconds can say."""
_SECONDS = re.compile(r"(-?)([0-9]{1,11})(?:\.([0-9]{1,9})[0-9]*)?")
_COUNTED = re.compile(r"(-?[0-9]{1,20})(ns)?")
_WITH_NANOSECONDS = re.compile(r"(-?[0-9]{1,11})(?:#([0-9]{1,9}))?")
_OCTAL_MODE = re.compile(r"0{0,3}[0-7]{3,4}|0?(?:0[1246]|1[024])[0-7]{4}")
"""Permissions, or the type of a file before four digits: `100644` and `0100644` are regular files."""
_DECIMAL_MODE = re.compile(r"[1-9][0-9]{4}")
"""`st_mode` as a decimal number: 33188 is a regular file of mode 0644."""
_MODE_BITS = 1 << 16
"""What `st_mode` is below."""
_LINK_SUFFIX = ".rclonelink"


# --- times ---


def _seconds(text: str) -> int | None:
    """Read `1600000000.5`; the digits behind the point are a fraction, before 1970 too."""
    found = _SECONDS.fullmatch(text)
    if found is None:
        return None
    nanoseconds = int(found[2]) * _BILLION + int((found[3] or "").ljust(9, "0"))
    return -nanoseconds if found[1] else nanoseconds


def _nanoseconds_or_milliseconds(text: str) -> int | None:
    """Read `1595002920000000000ns`; without the unit these are milliseconds."""
    found = _COUNTED.fullmatch(text)
    return int(found[1]) * (1 if found[2] else 1_000_000) if found else None


def _seconds_and_nanoseconds(text: str) -> int | None:
    """Read `1600000000#500000000`, two whole numbers."""
    found = _WITH_NANOSECONDS.fullmatch(text)
    return int(found[1]) * _BILLION + int(found[2] or 0) if found else None


class _Form(NamedTuple):
    """How some programs write the attributes of a file."""

    mode: str
    """The name of the metadata; that of a field inside follows a blank."""
    mtime: str = ""
    time: Callable[[str], int | None] = _seconds


_FORMS = (
    # This agent: mode "0644". rclone --metadata: "100644", octal. s3fs: 33188, decimal. All three: mtime in seconds.
    _Form("mode", "mtime"),
    # AWS DataSync, FSx for Lustre, File Gateway, File Cache, S3 Files: "0100644", and links "0120777".
    # https://docs.aws.amazon.com/fsx/latest/LustreGuide/posix-metadata-support.html
    _Form("file-permissions", "file-mtime", _nanoseconds_or_milliseconds),
    # gsutil -P, gcloud storage: "644" and whole seconds.
    # https://cloud.google.com/storage/docs/gsutil/commands/cp
    _Form("goog-reserved-posix-mode", "goog-reserved-file-mtime"),
    # s3cmd --preserve: "atime:1700000000/.../mode:33261/mtime:1700000000/...", decimal and whole seconds.
    _Form("s3cmd-attrs mode", "s3cmd-attrs mtime"),
    # mc cp --preserve: the same, with "mtime:1700000000#500000000".
    _Form("mc-attrs mode", "mc-attrs mtime", _seconds_and_nanoseconds),
    # s4cmd: "644", and no time.
    _Form("privilege"),
)
"""The first form that can be read counts, for mode and time each. Metadata with fields inside: see `_by_name`."""
_WITH_FIELDS = ("s3cmd-attrs", "mc-attrs")


def attributes_of(metadata: Mapping[str, str], modified: datetime) -> Attributes:
    """Return the attributes that an object carries; without a usable time, that of its upload.

    A mode counts only where its type is that of a regular file, or where it has none.
    """
    given = _by_name(metadata)
    permissions = (
        mode & 0o777 for mode in _modes(given) if stat.S_IFMT(mode) in (0, stat.S_IFREG)
    )
    return Attributes(_mtime(given, modified), next(permissions, None))


def is_link(key: str, metadata: Mapping[str, str]) -> bool:
    """Return whether an object stands for a symbolic link, so that its bytes are a path.

    Args:
        key: the object's.
        metadata: what is stored beside it.
    """
    modes = list(_modes(_by_name(metadata)))
    # `rclone --links` without --metadata writes no mode; with one of a regular file, this is a file of that name.
    unknown = key.endswith(_LINK_SUFFIX) and not modes
    return unknown or any(stat.S_ISLNK(mode) for mode in modes)


def _by_name(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata by names in one spelling: stores change case, and some exchange `_` and `-`."""
    given = {name.lower().replace("_", "-"): text for name, text in metadata.items()}
    for name in _WITH_FIELDS:
        for field in given.get(name, "").split("/"):
            key, _, value = field.partition(":")
            inner = f"{name} {key}"
            # The name of a group may hold anything; what is there twice says nothing.
            given[inner] = "" if inner in given else value
    return given


def _modes(given: Mapping[str, str]) -> Iterator[int]:
    """Yield every mode that can be read, with the type of the file where it has one."""
    for form in _FORMS if given else ():
        text = given.get(form.mode, "")
        if _OCTAL_MODE.fullmatch(text):
            yield int(text, 8)
        elif _DECIMAL_MODE.fullmatch(text) and int(text) < _MODE_BITS:
            yield int(text)


def _mtime(given: Mapping[str, str], modified: datetime) -> int:
    for form in _FORMS if given else ():
        mtime_ns = form.time(given.get(form.mtime, ""))
        if mtime_ns is not None and abs(mtime_ns) <= _LATEST_NS:
            return mtime_ns
    return int(modified.timestamp()) * _BILLION


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
