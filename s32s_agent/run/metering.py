"""TODO."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from s32s_agent.cancellation import CancelToken
from s32s_agent.model import Stamp
from s32s_agent.stores.base import Attributes, Content, File, RangedContent

if TYPE_CHECKING:
    from s32s_agent.run.context import Means


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

    def take(self, size: int) -> None:
        """Wait until `size` bytes may have passed."""
        if self._rate is None or not size:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        self._cancel_token.sleep(wait)


def watched(content: Content, means: Means, paid: int) -> Content:
    """Have the bytes of a content pass at the rate that is allowed, be counted, and end when somebody asks to stop.

    Args:
        content: what is read.
        means: say how fast, count, and may ask to stop.
        paid: so many bytes are allowed already.
    """
    if isinstance(content, RangedContent):
        return _WatchedRanges(content, content, means)
    return _Watched(content, means, paid)


class _Watched:
    """A content that comes from its beginning to its end."""

    def __init__(self, content: Content, means: Means, paid: int) -> None:
        self._content = content
        self._means = means
        self._paid = paid

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
            self._means.cancel_token.check()
            self._means.throttle.take(max(0, len(chunk) - self._paid))
            self._paid = max(0, self._paid - len(chunk))
            self._means.progress(0, len(chunk))
            yield chunk


class _WatchedRanges(_Watched, RangedContent):
    """A content that comes in ranges."""

    def __init__(self, content: Content, ranges: RangedContent, means: Means) -> None:
        super().__init__(content, means, 0)
        self._ranges = ranges

    def fill(self, file: File, kept: int) -> None:
        self._means.progress(0, kept)
        self._ranges.fill(_WatchedFile(file, self._means), kept)


class _WatchedFile:
    """The file that the ranges go to."""

    def __init__(self, file: File, means: Means) -> None:
        self._file = file
        self._means = means

    def write(self, chunk: bytes, position: int) -> None:
        self._means.cancel_token.check()
        self._means.throttle.take(len(chunk))
        self._means.progress(0, len(chunk))
        self._file.write(chunk, position)

    def read(self, size: int, position: int) -> bytes:
        self._means.cancel_token.check()
        return self._file.read(size, position)
