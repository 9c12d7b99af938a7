"""TODO."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

from s32s_agent.errors import (
    DiskFull,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import (
    Copy,
    Kind,
    Stamp,
)
from s32s_agent.run.context import Means
from s32s_agent.run.metering import watched
from s32s_agent.stores.base import Attributes, Staged, Target

ONE_PIECE = 4 << 20
"""Bytes up to which an entry may come at once, before anybody asks for the first."""


ATTEMPTS = 3
"""How often one entry is tried."""


class _Room:
    """Has the target make room on a full disk, once for all workers that found it full at the same time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._made = 0

    @property
    def made(self) -> int:
        """How often room has been made."""
        return self._made

    def make(self, made: int) -> bool:
        """Make room, unless that was done since `made` was read; tell whether to try again."""
        with self._lock:
            if self._made == made and self._target.free_space():
                self._made += 1
            return self._made > made


def _stage(copy: Copy, means: Means, room: _Room) -> Staged:
    """Bring one entry's bytes to the target, trying again where that can help."""
    for attempt in range(1, ATTEMPTS + 1):
        means.cancel_token.check()
        made = room.made
        try:
            if copy.entry.kind is Kind.DIRECTORY:
                return means.target.put(copy, _Nothing())
            paid = copy.entry.size if copy.entry.size <= ONE_PIECE else 0
            means.throttle.take(paid)
            with means.source.open(copy.entry) as content:
                return means.target.put(copy, watched(content, means, paid))
        except SourceChanged:
            current = means.source.current_version(copy.entry)
            if attempt == ATTEMPTS or current is None:
                raise
            copy = copy._replace(entry=current)
        except DiskFull:
            if attempt == ATTEMPTS or not room.make(made):
                raise
        except (IntegrityError, StoreUnavailable):
            if attempt == ATTEMPTS:
                raise
            pause = random.uniform(0, means.pause_seconds * 2**attempt)  # noqa: S311 (jitter, no secret)
            means.cancel_token.sleep(pause)
    raise AssertionError


class _Nothing:
    """The content of a directory."""

    attributes = Attributes()
    stamp: Stamp | None = None
    verified = ""

    def chunks(self) -> Iterator[bytes]:
        yield from ()
