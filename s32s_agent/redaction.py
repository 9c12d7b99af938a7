"""Keep secrets out of every text that people read: the log, `last_run.json`, reports, and what commands print.

Two rules, both applied by `redact`, through which `text.printable` and the log pass everything: values that are in use
as credentials, wherever they stand, and what looks like a secret by the name before it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

REDACTED = "[redacted]"
_LEAST = 8
"""Characters of the shortest value that is hidden: less would hide parts of ordinary words, and is no secret."""

# The query of a presigned URL, a signed header, and the password of a proxy URL, but not the words of a remedy.
_SECRET_TEXT = re.compile(
    r"(?P<name>\b(?:x-amz-)?(?:signature|credential|security-token)[\"']?\s*(?:=|:|%3D)\s*[\"']?)"
    r"[^&\s\"'<>,]+"
    r"|(?P<scheme>://)(?!user:password@host:port\b)[^/\s@]{0,256}:[^/\s@]{0,256}@",
    re.IGNORECASE,
)
_MAY_HOLD_SECRET = re.compile(r"://|signature|credential|security-token", re.IGNORECASE)

_hidden: tuple[str, ...] = ()


def hide(*values: str) -> None:
    """Redact these values from now on, in this process: as they are, quoted as in a URL, and each line by itself.

    Args:
        values: secret keys, session tokens, passwords; those of less than eight characters are left alone.
    """
    global _hidden  # noqa: PLW0603 (a credential that any part of the process took must be hidden by all of it)
    lines = {line.strip() for value in values for line in value.splitlines()}
    forms = {form for line in lines for form in (line, quote(line, safe=""), unquote(line))}
    wanted = {form for form in forms if len(form) >= _LEAST}
    if not wanted.issubset(_hidden):
        # The longest first, since one may be a part of another.
        _hidden = tuple(sorted(wanted.union(_hidden), key=len, reverse=True))


def redact(text: str) -> str:
    """Return the text without its secrets: a mark stands in place of each."""
    for value in _hidden:
        if value in text:
            text = text.replace(value, REDACTED)
    return _SECRET_TEXT.sub(_replacement, text) if _MAY_HOLD_SECRET.search(text) else text


def _replacement(match: re.Match[str]) -> str:
    return f"://{REDACTED}@" if match["scheme"] else f"{match['name']}{REDACTED}"
