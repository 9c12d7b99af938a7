"""Read the document of a pass, of whatever version and shape: nothing in it is believed.

The same document stands in `last_run.json` and in the report of the fleet, where anybody may have written it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from s32s_agent.config.values import is_number
from s32s_agent.text import printable

SCHEMA_VERSION = 1
MAX_ERRORS = 50
"""Errors that a document keeps."""
MAX_MESSAGE = 1000
"""Characters of an error in a document."""

TOTALS = ("copied", "deleted", "unchanged", "skipped", "failed")
"""What is counted of a pass and of each of its mappings."""
_SPANS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_MANY = 10**15


def has_result(document: Mapping[str, object]) -> bool:
    """Tell whether a pass has ended; before the first one, a document may hold only `last_skipped`."""
    return "exit_code" in document


def word(value: object) -> str:
    """Write a value on one line, printable; "?" for none."""
    return "?" if value is None else printable(str(value))


def short(value: object, length: int) -> str:
    """Write a value as `word` does, in at most so many characters."""
    text = word(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def whole(value: object) -> int:
    """Give a count; 0 for what is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= _MANY else 0


def number(value: object) -> float | None:
    """Give a number of a size that can be worked with."""
    if isinstance(value, (int, float)) and is_number(value) and abs(value) <= _MANY:
        return float(value)
    return None


def record(value: object) -> Mapping[str, Any]:
    """Give an object; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def records(value: object) -> list[Mapping[str, Any]]:
    """Give the objects of a list, and leave out what is none."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, Mapping)]


def moment(value: object) -> datetime | None:
    """Read a time of ISO 8601, in UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None or time.tzinfo is None:
            return time and time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def span(seconds: float) -> str:
    """Write a duration in its largest whole unit; "" for less than a second."""
    for unit, length in _SPANS:
        if count := int(seconds // length):
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return ""


def outcome(of: Mapping[str, object]) -> str:
    """Write how a pass or a mapping ended."""
    code = of.get("exit_code")
    return "in sync" if code == 0 else f"{word(of.get('cause'))} (exit status {word(code)})"


def counts(document: Mapping[str, object]) -> dict[str, int]:
    """Give how many files were copied and so on, all mappings together."""
    totals = record(document.get("totals"))
    mappings = records(document.get("mappings"))
    withheld = sum(whole(mapping.get("withheld")) for mapping in mappings)
    return {**{name: whole(totals.get(name)) for name in TOTALS}, "withheld": withheld}
