"""Show on a terminal how far long work is, and tell a listener.

Writes nothing elsewhere, nothing in the first second, and never fails: a terminal that went away only ends the showing.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TextIO

from s32s_agent.output.terminal import GREEN, can_erase, columns, cut, paint
from s32s_agent.text import clock_text, printable, size_text

APPEAR_SECONDS = 1.0
"""Work that is done earlier shows nothing."""
REDRAW_SECONDS = 0.1
"""The least time between two drawings."""

_BAR_WIDTH = 20
_ERASE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Tally:
    """How much there is to do, and how much is done."""

    label: str
    total_entries: int
    """0 when nobody knows."""
    total_bytes: int
    """0 when nobody knows, or when nothing has a size."""
    entries: int = 0
    bytes: int = 0
    answers: int = 0
    """What else came that shows that the work gets on."""

    def fractions(self) -> list[float]:
        """Say how much is done, by entries and by bytes, where the total is known."""
        pairs = ((self.entries, self.total_entries), (self.bytes, self.total_bytes))
        return [min(done / total, 1.0) for done, total in pairs if total > 0]


def render(tally: Tally, elapsed_seconds: float, width: int, *, colours: bool = False) -> str:
    """Write the line, at most `width` columns wide; what has no room is left out, the bar first, the label last."""
    label, bar, words = printable(tally.label), _bar(tally), facts(tally, elapsed_seconds)
    choices = [[bar, *words]] if bar else []
    choices += [words[:count] for count in range(len(words), 0, -1)]
    for choice in choices:
        if columns("  ".join((label, *choice))) <= width:
            painted = (paint(GREEN, fact, colours=colours and fact is bar) for fact in choice)
            return "  ".join((label, *painted))
    return cut(label, width)


class Progress:
    """A line at the bottom of a terminal.

    Args:
        stream: Where the terminal is; stays the caller's.
        enabled: False shows nothing; nor is anything shown where `stream` is no terminal, or one that cannot erase.
        clock: Seconds that only grow.
        environ: Read for `NO_COLOR` and `TERM`.
        listener: Told of the work from the main thread, some times a second, terminal or not.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        enabled: bool,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
        listener: Callable[[Tally], None] | None = None,
    ) -> None:
        self._clock = clock
        self._listener = listener
        self._colours = not environ.get("NO_COLOR")
        able = enabled and can_erase(stream, environ)
        self._stream = stream if able else None
        self._tally: Tally | None = None
        self._started = self._next_draw = self._next_word = 0.0
        self._shown = False
        self._lock = threading.Lock()

    def start(self, label: str, total_entries: int, total_bytes: int) -> None:
        """Begin a piece of work; ends the one before."""
        self.finish()
        self._tally = Tally(label, total_entries, total_bytes)
        self._started = self._clock()
        self._next_draw = self._started + APPEAR_SECONDS
        self._next_word = self._started
        self._tell()

    def answered(self) -> None:
        """Note that something came which is no entry and has no bytes; any thread may call it."""
        if self._listener is None:
            return
        with self._lock:
            if self._tally is not None:
                self._tally = replace(self._tally, answers=self._tally.answers + 1)

    def waited(self) -> None:
        """Tell the listener, from the main thread, that nothing comes now because nothing is due yet."""
        self.answered()
        self._tell()

    def advance(self, entries: int, size: int) -> None:
        """Add what was done since the last call, `size` in bytes; the main thread also draws, when it is time.

        Any thread may call it. Only one draws, so that a line of the log is never torn; with nothing to add, it just
        draws.
        """
        if self._stream is None and self._listener is None:
            return
        with self._lock:
            before = self._tally
            if before is None:
                return
            self._tally = replace(
                before, entries=before.entries + entries, bytes=before.bytes + size
            )
        if threading.current_thread() is threading.main_thread():
            self._tell()
            self._draw()

    def _tell(self) -> None:
        if self._listener is None or self._tally is None or self._clock() < self._next_word:
            return
        self._next_word = self._clock() + REDRAW_SECONDS
        self._listener(self._tally)

    def _draw(self) -> None:
        now, tally = self._clock(), self._tally
        if self._stream is None or tally is None or now < self._next_draw:
            return
        self._next_draw = now + REDRAW_SECONDS
        # One column stays free: a full line makes some terminals wrap.
        width = shutil.get_terminal_size().columns - 1
        line = render(tally, now - self._started, width, colours=self._colours)
        self._put(f"{_ERASE}{line}")
        self._shown = True

    def pause(self) -> None:
        """Take the line away, so that other lines can be written; the next drawing brings it back."""
        if self._shown:
            self._put(_ERASE)
            self._shown = False

    def finish(self) -> None:
        """End the piece of work and take the line away."""
        self.pause()
        self._tally = None

    def _put(self, text: str) -> None:
        if self._stream is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is gone or closed; the work goes on.
            self._stream = None


def facts(tally: Tally, elapsed_seconds: float) -> list[str]:
    """Say entries, bytes, rate and time left, in the order of their worth."""
    words = [_of(f"{tally.entries:,}", tally.total_entries, f"{tally.total_entries:,}")]
    words.append(_of(size_text(tally.bytes), tally.total_bytes, size_text(tally.total_bytes)))
    if elapsed_seconds > 0:
        words.append(f"{size_text(tally.bytes / elapsed_seconds)}/s")
    left = _seconds_left(tally, elapsed_seconds)
    if left is not None:
        words.append(f"{clock_text(left)} left")
    return words


def _of(done: str, total: int, written_total: str) -> str:
    return f"{done}/{written_total}" if total > 0 else done


def _bar(tally: Tally) -> str:
    fractions = tally.fractions()
    if not fractions:
        return ""
    filled = int(min(fractions) * _BAR_WIDTH)
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"


def _seconds_left(tally: Tally, elapsed_seconds: float) -> float | None:
    """Believe the slower of entries and bytes; None while one of them has not begun."""
    fractions = tally.fractions()
    if not fractions or min(fractions) == 0:
        return None
    return elapsed_seconds * (1 / min(fractions) - 1)
