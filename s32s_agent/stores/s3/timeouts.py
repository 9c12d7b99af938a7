"""How long S3 is waited for."""

from __future__ import annotations

from dataclasses import dataclass

from s32s_agent.cancellation import STALLED_SECONDS


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long S3 is waited for, and how often it is asked."""

    connect_seconds: float = 10
    """For a connection."""
    read_seconds: float = 60
    """For the next byte, in either direction."""
    request_seconds: float = 600
    """For a page of a listing, a map file, or another answer that is read whole, all repetitions included."""
    stalled_seconds: float = STALLED_SECONDS
    """For a worker to show life, whatever it does."""
    attempts: int = 5
    """How often a request is made that fails for a reason which may pass; with jitter, and ever longer in between."""
    pause_seconds: float = 0.5
    """Before an entry, or a page that was none, is tried again; random, up to twice this, then up to four times."""


DEFAULT_TIMEOUTS = Timeouts()
