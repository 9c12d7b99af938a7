"""TODO."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Write every character that a terminal could act on as its escape."""
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
