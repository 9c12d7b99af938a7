"""Stage one entry: fetch its bytes from the source and have the target keep them, where they do not show yet.

What may succeed at a second attempt is tried again. Decides nothing about other entries.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

from s32s_agent.cancellation import Heartbeat
from s32s_agent.errors import DiskFull, IntegrityError, SourceChanged, StoreUnavailable
from s32s_agent.model import Copy, Kind, Stamp
from s32s_agent.run.context import MappingContext
from s32s_agent.run.metering import metered
from s32s_agent.stores.base import Attributes, Staged, Target

ONE_PIECE = 4 << 20
"""Bytes up to which a store may send an entry at once, before its first byte is read."""
ATTEMPTS = 3
"""How often one entry is tried."""
_CHANGES = "it changes faster than it can be copied: let nothing write to it meanwhile, or exclude it with `ignore`"


class SpaceMaker:
    """Frees space on a full target, once for all workers that found it full at the same time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._times = 0

    @property
    def times(self) -> int:
        """How often space has been freed."""
        return self._times

    def make(self, times: int) -> bool:
        """Free space, unless that was done since `times` was read; return whether to try again."""
        with self._lock:
            if self._times == times and self._target.free_space():
                self._times += 1
            return self._times > times


def stage_entry(
    copy: Copy, context: MappingContext, space: SpaceMaker, heartbeat: Heartbeat
) -> Staged:
    """Bring one entry's bytes to the target, trying again where that can help.

    Args:
        copy: what is copied.
        context: of the mapping.
        space: makes room on a full disk.
        heartbeat: beats while bytes move.

    Raises:
        Cancelled: the run was cancelled.
        AgentError: the last attempt failed, or no other attempt can help.
    """
    for attempt in range(1, ATTEMPTS + 1):
        context.cancel_token.check()
        times = space.times
        try:
            return _transfer(copy, context, heartbeat)
        except SourceChanged as error:
            if attempt == ATTEMPTS:
                error.remedy = _CHANGES
                raise
            current = context.source.current_version(copy.entry)
            if current is None:
                raise
            copy = copy._replace(entry=current)
        except DiskFull:
            if attempt == ATTEMPTS or not space.make(times):
                raise
        except (IntegrityError, StoreUnavailable):
            if attempt == ATTEMPTS:
                raise
            pause = random.uniform(0, context.pause_seconds * 2**attempt)  # noqa: S311 (jitter, no secret)
            context.cancel_token.sleep(pause, heartbeat)
    raise AssertionError


def _transfer(copy: Copy, context: MappingContext, heartbeat: Heartbeat) -> Staged:
    if copy.entry.kind is Kind.DIRECTORY:
        return context.target.put(copy, _DirectoryContent(), heartbeat)
    prepaid = copy.entry.size if copy.entry.size <= ONE_PIECE else 0
    context.meter.throttle.take(prepaid, heartbeat)
    meter = context.meter.of_worker(heartbeat)
    with context.source.open(copy.entry, heartbeat) as content:
        return context.target.put(copy, metered(content, meter, prepaid), heartbeat)


class _DirectoryContent:
    """The content of a directory: no bytes."""

    attributes = Attributes()
    stamp: Stamp | None = None
    verified = ""

    def chunks(self) -> Iterator[bytes]:
        yield from ()
