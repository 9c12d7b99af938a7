"""Write texts, sizes, durations and times for people; no character that a terminal acts on is left in them."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from s32s_agent.redaction import redact

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_SIZES = ("B", "kB", "MB", "GB", "TB")
_NEXT_SIZE = 999.5
"""Less than 1000, so that rounding never shows 1000."""
_DECIMAL_BELOW = 99.95


def printable(text: str) -> str:
    """Write every character that a terminal could act on as its escape, and no secret."""
    text = redact(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if code < 0x100:  # noqa: PLR2004 - the widths of the three escapes
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def has_control_characters(text: str) -> bool:
    """Whether a text holds what would break a line, a terminal, a header or UTF-8."""
    return not text.isprintable() and any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text
    )


def shortened(text: str, length: int) -> str:
    """Cut a text to at most so many characters; "..." stands at the cut."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def size_text(size: float) -> str:
    """Write a number of bytes in at most four figures; the units are powers of 1000, as in `max_bandwidth`."""
    unit = 0
    while size >= _NEXT_SIZE and unit < len(_SIZES) - 1:
        size, unit = size / 1000, unit + 1
    decimals = 1 if unit and size < _DECIMAL_BELOW else 0
    return f"{size:.{decimals}f} {_SIZES[unit]}"


def clock_text(seconds: float) -> str:
    """Write a duration as a clock shows it: `0:07`, `12:30`, `2:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration_text(seconds: float) -> str:
    """Write a duration in its largest whole unit; "" for less than a second."""
    for unit, length in _UNITS:
        if count := int(seconds // length):
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return ""


def ago_text(seconds: float) -> str:
    """Write how long ago something was."""
    return f"{duration} ago" if (duration := duration_text(seconds)) else "just now"


def time_text(time: datetime) -> str:
    """Write a time of UTC to the second."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
