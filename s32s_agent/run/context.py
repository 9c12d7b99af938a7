"""What the work of a run is done with: a run context for all mappings, a mapping context for one of them."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import Settings
from s32s_agent.model import Mapping, Plan
from s32s_agent.output.progress import Progress
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.state.index import Index, MappingIndex
from s32s_agent.state.pending import Pending
from s32s_agent.stores.base import Source, Target
from s32s_agent.stores.s3.connection import Connection

# Most mappings have no snapshots, and a run loads what they need only for those that do.
if TYPE_CHECKING:
    from s32s_agent.snapshots.manifest import Channel

Pins: TypeAlias = "collections.abc.Mapping[str, Channel | None]"
"""What holds mappings, by name: a snapshot, or None for nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line asked of this run."""

    names: tuple[str, ...] = ()
    """Only these mappings; () is all."""
    dry_run: bool = False
    verify: bool = False
    allow_deletes: bool = False
    config: str = ""
    """The config file."""
    pins: Pins = field(default_factory=dict)
    """What a dry run takes for the pins of these mappings, None for none, instead of those in the state directory."""

    def includes(self, mapping: str) -> bool:
        """Return whether the run concerns the mapping of this name."""
        return not self.names or mapping in self.names


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every mapping of a run is done with."""

    settings: Settings
    options: RunOptions
    run_id: str
    now: datetime
    log: FilteringBoundLogger
    progress: Progress
    cancel_token: CancelToken
    connection: Connection
    index: Index
    pending: Pending
    throttle: Throttle
    show_plan: Callable[[Mapping, Plan], None]
    """Called with every plan of a dry run."""


@dataclass(frozen=True, slots=True)
class MappingContext:
    """What the plan of one mapping is carried out with."""

    source: Source
    target: Target
    index: MappingIndex
    workers: int
    meter: Meter
    pause_seconds: float = 0.5
    """Before an entry is tried again, up to twice this, then up to four times."""

    @property
    def cancel_token(self) -> CancelToken:
        """What cancels the work on this mapping."""
        return self.meter.cancel_token
