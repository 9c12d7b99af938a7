"""Find out by trying whether a store honours the conditions that keep two publishers from overtaking each other."""

from __future__ import annotations

import contextlib
import secrets

from s32s_agent.errors import SourceChanged
from s32s_agent.snapshots.place import Place
from s32s_agent.stores.s3.objects import ObjectHeaders, Precondition
from s32s_agent.stores.s3.observation import WRONG_ETAG
from s32s_agent.stores.s3.write_requests import WriteRequests

TRIALS = "trials/"
"""Below the place of the snapshots, where a publisher may write; no reader looks there."""
_TEXT = ObjectHeaders("text/plain")
_DATA = b"s32s-agent --check wrote this, and removes it"


def ignored_conditions(place: Place, writes: WriteRequests) -> list[str]:
    """Return which conditions on PUT the store ignores: `If-None-Match`, `If-Match`; [] when it honours both.

    An object of a new name is written, and removed again.

    Raises:
        AgentError: the store refused a write or the removal, or does not implement conditions at all.
    """
    name = place.name_of(f"{TRIALS}{secrets.token_hex(16)}")
    ignored = []
    writes.put(name, _DATA, _TEXT, Precondition())
    try:
        for header, forbidden in (
            ("If-None-Match", Precondition()),
            ("If-Match", Precondition(WRONG_ETAG)),
        ):
            with contextlib.suppress(SourceChanged):
                writes.put(name, _DATA, _TEXT, forbidden)
                ignored.append(header)
    finally:
        writes.delete(name)
    return ignored
