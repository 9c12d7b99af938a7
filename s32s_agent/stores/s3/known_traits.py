"""Remember in the state directory what stores were found to do, so that a master tries out each of them once."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from s32s_agent.state.files import read_file, replace_file
from s32s_agent.stores.s3.traits import StoreTraits

_SCHEMA_VERSION = 1
_KEPT = timedelta(days=30)
"""Not every store says its version, and one may be upgraded."""


class KnownTraits:
    """What is known of the stores, one file for all; a file that cannot be read knows nothing.

    Args:
        path: the file.
        now: the time of the run, with its zone.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        self._now = now

    def of(self, store: str, server: str) -> StoreTraits | None:
        """Return what is known of a store; None when it is to be tried out.

        Args:
            store: its endpoint and bucket.
            server: what it calls itself now; another name or version makes another store of it.
        """
        known = self._stores().get(store, {})
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            traits = StoreTraits.from_json(known["traits"])
            age = self._now - datetime.fromisoformat(known["found"])
            if traits.server == server and timedelta() <= age < _KEPT:
                return traits
        return None

    def remember(self, store: str, traits: StoreTraits) -> None:
        """Write down what a store was found to do.

        Raises:
            DirectoryError: the state directory cannot be written.
        """
        found = {"found": self._now.isoformat(), "traits": traits.as_json()}
        stores = {**self._stores(), store: found}
        document = {"schema_version": _SCHEMA_VERSION, "stores": stores}
        replace_file(self._path, json.dumps(document, indent=2).encode() + b"\n")

    def _stores(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(read_file(self._path))
            if (
                isinstance(document, dict)
                and document.get("schema_version") == _SCHEMA_VERSION
            ):
                stores = document.get("stores")
                return stores if isinstance(stores, dict) else {}
        return {}
