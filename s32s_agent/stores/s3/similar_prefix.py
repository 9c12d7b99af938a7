"""Find the prefix that may have been meant where the one of a mapping is empty."""

from __future__ import annotations

import contextlib
import unicodedata
from dataclasses import dataclass

from s32s_agent.errors import AgentError
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import decoded_keys, decoded_prefixes

_LEVELS = 4
"""How many parts of a prefix, counted from its end, may be spelled differently: map files may hold very deep ones."""


def similar_prefix(connection: Connection, bucket: str, prefix: str) -> str:
    """Return a prefix that exists and differs from one only in case, Unicode form or blanks; "" when none is found.

    One request where only the last part differs; a few more where what is above it is empty as well.

    Args:
        connection: how S3 is reached.
        bucket: in which it is.
        prefix: without a slash at its end.
    """
    if prefix:
        with contextlib.suppress(AgentError):  # what may not be listed gives no hint
            return _Search(connection, bucket).find(prefix, _LEVELS)
    return ""


@dataclass(frozen=True, slots=True)
class _Search:
    connection: Connection
    bucket: str

    def find(self, prefix: str, levels: int) -> str:
        parent, _, name = prefix.rpartition("/")
        names = self._names_in(parent)
        if not names and parent and levels > 1:
            parent = self.find(parent, levels - 1)
            names = self._names_in(parent) if parent else []
        wanted = _folded(name)
        for each in names:
            found = f"{parent}/{each}" if parent else each
            if _folded(each) == wanted and found != prefix:
                return found
        return ""

    def _names_in(self, parent: str) -> list[str]:
        """List the "directories" of a prefix, as far as one page goes."""
        inside = f"{parent}/" if parent else ""
        listed = self.connection.page(self.bucket, Prefix=inside, Delimiter="/")
        # A store that does not know delimiters lists everything below.
        found = [*decoded_prefixes(listed.page), *decoded_keys(listed.page)]
        below = [each[len(inside) :].partition("/") for each in found]
        return list(dict.fromkeys(name for name, slash, _ in below if name and slash))


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    return unicodedata.normalize("NFKD", decomposed).strip()
