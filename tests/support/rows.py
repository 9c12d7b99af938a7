"""An index in memory."""

from __future__ import annotations

from collections.abc import Iterable

from s32s_agent.model import IndexRow


class Rows:
    """Rows in key order."""

    def __init__(self, rows: Iterable[IndexRow] = ()) -> None:
        self._rows = {row.key: row for row in rows}

    def rows(self) -> Iterable[IndexRow]:
        return self._rows.values()

    def row(self, key: str) -> IndexRow | None:
        return self._rows.get(key)
