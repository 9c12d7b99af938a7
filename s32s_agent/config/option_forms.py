"""What may stand as a value of one option of the config: amounts, modes, names and URLs; and the values they become."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from s32s_agent.config.forms import DIRECTORY, LOCATION, TEXT, Form, matching, text_schema
from s32s_agent.config.locations import ENDPOINT as ENDPOINT_PATTERN
from s32s_agent.config.locations import normal_endpoint, normal_ping_url
from s32s_agent.config.values import expected, is_number
from s32s_agent.model import Location

ALWAYS_ALLOWED_DELETES = 10
"""A guard that holds back the ordinary removal of a few files would soon be switched off."""
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "logfmt", "console", "journal")
MAP_SUFFIXES = (".json", ".yaml", ".yml")
_MAX_SECONDS = 366 * 86400.0
"""A longer duration is a slip, and no clock function has to cope with it."""
_MAX_BANDWIDTH = 10**15
_MAX_PERMISSIONS = 0o777
_MAX_DIRECTORY_PERMISSIONS = 0o2777
"""Setuid, setgid and sticky bits never come from a config."""


# --- names and places ---

CHANNEL = matching(
    r"[a-z0-9][a-z0-9_-]{0,62}", "a name of lower-case letters, digits, `_` and `-`"
)


class Symlinks(Enum):
    """What a master does with a symbolic link."""

    SKIP = "skip"
    FOLLOW = "follow"


class Modes(Enum):
    """What a slave does with the mode that an object carries."""

    RESTORE = "restore"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class MapsLocation:
    """Where the map files are."""

    location: Location
    single: bool
    """The location is one map file, not a prefix with map files below it."""


def _maps(value: object) -> MapsLocation:
    location = LOCATION.check(value)
    return MapsLocation(location, location.prefix.lower().endswith(MAP_SUFFIXES))


MAPS = Form(LOCATION.markdown, _maps, LOCATION.schema)
REGION = matching("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "the name of a region")
ACCOUNT = matching("[0-9]{12}", "an account number of 12 digits in quotes")
_NAME = r"(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]{1,10})"
OWNER = matching(f"{_NAME}(?::{_NAME})?", "`user` or `user:group`")


def _endpoint(value: object) -> str:
    # Whether plain http:// is allowed is for another option to say.
    return normal_endpoint(TEXT.check(value), allow_http=True)


ENDPOINT = Form("an `https://` or `http://` URL", _endpoint, text_schema(ENDPOINT_PATTERN))


def _ping_url(value: object) -> str:
    if not isinstance(value, str):
        raise expected("a URL", value)
    return normal_ping_url(value)


PING_URL = Form("an `https://` or `http://` URL", _ping_url, TEXT.schema)


def _metrics_file(value: object) -> str:
    path = DIRECTORY.check(value)
    if not path.endswith(".prom"):
        raise expected(
            "a name that ends in .prom, since the textfile collector reads no other", path
        )
    return path


METRICS_FILE = replace(
    DIRECTORY, markdown="an absolute path that ends in `.prom`", check=_metrics_file
)


# --- amounts ---


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many deletions one run may make; one of the two is set."""

    percent: float | None = None
    """Of the target's entries."""
    count: int | None = None

    def allowed(self, entries: int) -> int:
        """Return the number of deletions that the guard allows at a target with that many entries."""
        limit = (
            self.count if self.count is not None else int(entries * (self.percent or 0) / 100)
        )
        return max(ALWAYS_ALLOWED_DELETES, limit)


_PERCENT = r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%"


def _max_delete(value: object) -> MaxDelete:
    if isinstance(value, int) and is_number(value) and value >= 0:
        return MaxDelete(count=value)
    match = re.fullmatch(_PERCENT, value, re.ASCII) if isinstance(value, str) else None
    if not match or float(match[1]) > 100:  # noqa: PLR2004 - per cent
        raise expected(MAX_DELETE.words, value)
    return MaxDelete(percent=float(match[1]))


MAX_DELETE: Form[MaxDelete] = Form(
    "a count or a percentage",
    _max_delete,
    {"anyOf": [{"type": "integer", "minimum": 0}, text_schema(_PERCENT)]},
)

_KILO = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS = {"B": 1, **_KILO, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = rf"([0-9]{{1,12}}(?:\.[0-9]{{1,3}})?) ?({'|'.join(_UNITS)})"


def _bandwidth(value: object) -> int:
    """Return bytes a second; 0 is refused, because it could mean none as well as all."""
    size = value if isinstance(value, int) and is_number(value) else 0
    match = re.fullmatch(_SIZE, value, re.ASCII) if isinstance(value, str) else None
    if match:
        size = int(float(match[1]) * _UNITS[match[2]])
    if not 1 <= size <= _MAX_BANDWIDTH:
        raise expected(BANDWIDTH.words, value)
    return size


BANDWIDTH: Form[int] = Form(
    "bytes per second such as `20MB` or `512KiB`, or their number",
    _bandwidth,
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": _MAX_BANDWIDTH},
            text_schema(_SIZE),
        ]
    },
)

_DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([smhd])"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> float:
    seconds = float(value) if isinstance(value, int) and is_number(value) else 0.0
    match = re.fullmatch(_DURATION, value, re.ASCII) if isinstance(value, str) else None
    if match:
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _MAX_SECONDS:
        raise expected(DURATION.words, value)
    return seconds


DURATION: Form[float] = Form(
    "a duration such as `90s`, `30m` or `1h`, or a number of seconds",
    _duration,
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": int(_MAX_SECONDS)},
            text_schema(_DURATION),
        ]
    },
)


def duration(text: str) -> float:
    """Return the seconds of a duration that stands on the command line, written as in the config.

    Raises:
        ValueError: it is none.
    """
    return _duration(int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else text)


_PERMISSIONS = "[0-7]{3,5}"


def _octal(value: object) -> int:
    words = PERMISSIONS.words
    if isinstance(value, int) and not isinstance(value, bool):
        # YAML has already read 0644 as octal and 644 as decimal; the number no longer says which.
        raise ValueError(f"expected {words}, got a number without quotes")  # noqa: TRY004
    if not isinstance(value, str) or not re.fullmatch(_PERMISSIONS, value, re.ASCII):
        raise expected(words, value)
    return int(value, 8)


def _permissions(value: object) -> int:
    mode = _octal(value)
    if mode > _MAX_PERMISSIONS:
        raise expected("permission bits only, up to 0777", value)
    return mode


def _directory_permissions(value: object) -> int:
    mode = _octal(value)
    if mode & ~_MAX_DIRECTORY_PERMISSIONS:
        raise expected("permission bits and the set-group-id bit only, up to 2777", value)
    return mode


PERMISSIONS: Form[int] = Form(
    'octal digits in quotes such as `"0644"`', _permissions, text_schema(_PERMISSIONS)
)
DIRECTORY_PERMISSIONS: Form[int] = Form(
    'octal digits in quotes such as `"0755"` or `"2775"`',
    _directory_permissions,
    text_schema(_PERMISSIONS),
)
