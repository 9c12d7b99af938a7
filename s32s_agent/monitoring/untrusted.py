"""Read plain values that are not trusted, since another program or another user may have written them. Pure.

Each function takes any value that JSON can hold, and returns a value of one type.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from s32s_agent.config.values import is_number
from s32s_agent.text import printable

_MAX_NUMBER = 10**15
"""A larger one was never counted or measured."""


def as_text(value: object) -> str:
    """Return a value as one printable line; "" for null."""
    return "" if value is None else printable(str(value))


def as_count(value: object) -> int:
    """Return a count; 0 for a value that is not a count."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= _MAX_NUMBER else 0


def as_number(value: object) -> float | None:
    """Return a finite number; None for a value that is not a number."""
    if isinstance(value, (int, float)) and is_number(value) and abs(value) <= _MAX_NUMBER:
        return float(value)
    return None


def as_time(value: object) -> datetime | None:
    """Return a time of ISO 8601 in UTC, which is also assumed where it names no zone; None for any other value."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None or time.tzinfo is None:
            return time and time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def as_object(value: object) -> Mapping[str, object]:
    """Return an object; an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def as_objects(value: object) -> list[Mapping[str, object]]:
    """Return the objects of a list, and skip its other elements."""
    if not isinstance(value, (list, tuple)):
        return []
    return [each for each in value if isinstance(each, Mapping)]
