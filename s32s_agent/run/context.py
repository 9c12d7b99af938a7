"""What a plan is carried out with, and how bytes pass: counted, as fast as allowed, until somebody asks to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s32s_agent.cancellation import CancelToken
from s32s_agent.run.metering import Throttle
from s32s_agent.state.index import MappingIndex
from s32s_agent.stores.base import Source, Target


@dataclass(frozen=True, slots=True)
class Means:
    """What a plan is carried out with."""

    source: Source
    target: Target
    index: MappingIndex
    workers: int
    throttle: Throttle
    cancel_token: CancelToken
    """Of this mapping alone."""
    progress: Callable[[int, int], None]
    """Called with entries and bytes done."""
    pause_seconds: float = 0.5
    """Before an entry is tried again, up to twice this, then up to four times."""

    def draw(self) -> None:
        """Let the progress show that time goes by."""
        self.progress(0, 0)
