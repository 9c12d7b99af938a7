"""Read JSON objects that everyone who can write to a bucket may have written: each field, strictly. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from s32s_agent.config.documents import Record, load_json
from s32s_agent.errors import ListingInconsistent
from s32s_agent.text import printable

VERSION = 1
"""The `schema_version` of every document of the format."""
MAX_NUMBER = 2**63 - 1
MAX_TEXT = 1024
"""Characters of a text that is no key."""
KEY_BYTES = 1024
"""Bytes of a key in UTF-8, as in S3."""
SHA256 = re.compile(r"[0-9a-f]{64}")
TIME = "%Y-%m-%dT%H:%M:%SZ"


class NotASnapshot(ListingInconsistent):
    """A document of a snapshot is missing, damaged, or not what it should be: it proves nothing."""

    remedy = "nothing was changed; publish again, and if it persists, check who can write to the snapshots"


class Fields:
    """The fields of one JSON object. Fields that are not read are ignored: a later version may have written them.

    Args:
        label: begins every message.
        value: what the JSON text held.

    Raises:
        NotASnapshot: it is no object, or a key is repeated.
    """

    def __init__(self, label: str, value: object) -> None:
        self._label = label
        if not isinstance(value, Record):
            raise NotASnapshot(f"{label}: expected a JSON object")
        if value.repeated:
            raise NotASnapshot(f'{label}: "{printable(value.repeated[0])}" is repeated')
        self._values = value

    def require_version(self) -> None:
        """Refuse a document of another version.

        Raises:
            NotASnapshot: `schema_version` is another number, or none.
        """
        found = self.number("schema_version")
        if found != VERSION:
            raise self.wrong(
                "schema_version", f"expected {VERSION}, got {found}; update s32s-agent"
            )

    def number(self, name: str) -> int:
        """Return a whole number from 0 on."""
        value = self._values.get(name)
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise self.wrong(name, "expected a whole number")
        return value

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """Return a text that has a form; without a form, of limited length, and possibly absent."""
        value = self._values.get(name, "" if pattern is None else None)
        if not isinstance(value, str) or len(value) > MAX_TEXT or not _is_unicode(value):
            raise self.wrong(name, f"expected text of at most {MAX_TEXT} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.wrong(name, "has another form than it must have")
        return value

    def key(self, name: str) -> str:
        """Return the key of an object, which is relative to a prefix."""
        value = self._values.get(name)
        if not isinstance(value, str) or not is_key(value):
            raise self.wrong(name, f"expected a key of at most {KEY_BYTES} bytes")
        return value

    def time(self, name: str) -> datetime:
        """Return a time in UTC, to the second."""
        try:
            return datetime.strptime(self.text(name), TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise self.wrong(name, "expected a time such as 2026-12-01T10:15:00Z") from error

    def list(self, name: str, most: int) -> Sequence[object]:
        """Return a list of at most so many values."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(name, f"expected a list of at most {most}")
        return value

    def wrong(self, name: str, what: str) -> NotASnapshot:
        """Return the error that says what is wrong with a field."""
        return NotASnapshot(f"{self._label}: {name}: {what}")


def document(label: str, data: bytes) -> Fields:
    """Read a JSON object.

    Raises:
        NotASnapshot: it is none.
    """
    try:
        return Fields(label, load_json(data.decode()))
    except ValueError as error:  # UnicodeDecodeError too
        raise NotASnapshot(f"{label}: {printable(str(error))}") from error


def is_key(text: str) -> bool:
    """Return whether a text can be the key of an object below a prefix."""
    return bool(text) and _is_unicode(text) and len(text.encode()) <= KEY_BYTES


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
