"""Meter the bytes that are transferred: limit their rate, count them, and stop when the run is cancelled.

Decides nothing about entries, and changes no byte.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.model import Stamp
from s32s_agent.stores.base import Attributes, Content, File, RangedContent


class Throttle:
    """Hold all workers together to a number of bytes a second; thread-safe.

    Args:
        rate: bytes a second; None is no limit.
        cancel_token: ends the waiting.
    """

    def __init__(self, rate: int | None, cancel_token: CancelToken) -> None:
        self._rate = rate
        self._cancel_token = cancel_token
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int, heartbeat: Heartbeat = UNWATCHED) -> None:
        """Wait until `size` bytes may have passed; the heartbeat beats meanwhile."""
        if self._rate is None or not size:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        self._cancel_token.sleep(wait, heartbeat)


@dataclass(frozen=True, slots=True)
class Meter:
    """What counts entries and bytes of one mapping, and may slow or end the work on them; thread-safe."""

    throttle: Throttle
    cancel_token: CancelToken
    """Of this mapping alone."""
    progress: Callable[[int, int], None]
    """Called with entries and bytes done."""
    heartbeat: Heartbeat = UNWATCHED
    """Of the worker whose bytes these are."""

    def of_worker(self, heartbeat: Heartbeat) -> Meter:
        """Return the meter for what one worker does."""
        return replace(self, heartbeat=heartbeat)

    def check(self) -> None:
        """Show that the worker is alive, and raise `Cancelled` once the run is cancelled."""
        self.heartbeat.beat()
        self.cancel_token.check()

    def pass_bytes(self, size: int, *, prepaid: int = 0) -> None:
        """Wait until bytes may be transferred, and count them.

        Args:
            size: the number of bytes.
            prepaid: how many of them the throttle has let through already.

        Raises:
            Cancelled: the run was cancelled.
        """
        self.check()
        self.throttle.take(max(0, size - prepaid), self.heartbeat)
        self.progress(0, size)

    def count_entry(self) -> None:
        """Count one entry that is done."""
        self.progress(1, 0)

    def refresh(self) -> None:
        """Refresh the display of the progress while nothing is done yet."""
        self.progress(0, 0)


def metered(content: Content, meter: Meter, prepaid: int) -> Content:
    """Return the content with its bytes metered.

    Args:
        content: what is read.
        meter: limits, counts, and may cancel.
        prepaid: how many bytes the throttle has let through already.
    """
    if isinstance(content, RangedContent):
        return _MeteredRanges(content, content, meter)
    return _MeteredContent(content, meter, prepaid)


class _MeteredContent:
    """A content that comes from its beginning to its end."""

    def __init__(self, content: Content, meter: Meter, prepaid: int) -> None:
        self._content = content
        self._meter = meter
        self._prepaid = prepaid

    @property
    def attributes(self) -> Attributes:
        return self._content.attributes

    @property
    def stamp(self) -> Stamp | None:
        return self._content.stamp

    @property
    def verified(self) -> str:
        return self._content.verified

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._content.chunks():
            self._meter.pass_bytes(len(chunk), prepaid=self._prepaid)
            self._prepaid = max(0, self._prepaid - len(chunk))
            yield chunk


class _MeteredRanges(_MeteredContent, RangedContent):
    """A content that comes in ranges."""

    def __init__(self, content: Content, ranges: RangedContent, meter: Meter) -> None:
        super().__init__(content, meter, 0)
        self._ranges = ranges

    def fill(self, file: File, kept: int) -> None:
        self._meter.progress(0, kept)
        self._ranges.fill(_MeteredFile(file, self._meter), kept)


class _MeteredFile:
    """The file that the ranges are written to."""

    def __init__(self, file: File, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def write(self, chunk: bytes, position: int) -> None:
        self._meter.pass_bytes(len(chunk))
        self._file.write(chunk, position)

    def read(self, size: int, position: int) -> bytes:
        self._meter.check()
        return self._file.read(size, position)
