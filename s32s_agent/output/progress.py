"""Show the progress of long work on a terminal, and pass it to a listener.

Writes nothing to anything but a terminal, nothing in the first second, and never fails: when the terminal is closed,
the work continues without it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TextIO

from s32s_agent.output.terminal import GREEN, can_erase, columns, cut, paint
from s32s_agent.text import clock_text, printable, size_text

APPEAR_SECONDS = 1.0
"""Work that takes less shows nothing."""
REDRAW_SECONDS = 0.1
"""The least time between two drawings."""

_BAR_WIDTH = 20
_ERASE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How much there is to do, and how much of it is done."""

    label: str
    total_entries: int
    """0 when it is not known."""
    total_bytes: int
    """0 when it is not known, or when nothing has a size."""
    entries: int = 0
    bytes: int = 0
    beats: int = 0
    """How often the run has shown that it waits for something on purpose."""

    def fractions(self) -> list[float]:
        """Return how much is done, by entries and by bytes, where the total is known."""
        pairs = ((self.entries, self.total_entries), (self.bytes, self.total_bytes))
        return [min(done / total, 1.0) for done, total in pairs if total > 0]


def render(
    state: ProgressState, elapsed_seconds: float, width: int, *, colours: bool = False
) -> str:
    """Write the line, at most `width` columns wide; what does not fit is left out, the bar first, the label last."""
    label, bar, words = printable(state.label), _bar(state), facts(state, elapsed_seconds)
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
        listener: Called with the state from the main thread, some times a second, terminal or not.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        enabled: bool,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
        listener: Callable[[ProgressState], None] | None = None,
    ) -> None:
        self._clock = clock
        self._listener = listener
        self._colours = not environ.get("NO_COLOR")
        able = enabled and can_erase(stream, environ)
        self._stream = stream if able else None
        self._state: ProgressState | None = None
        self._started = self._next_draw = self._next_notice = 0.0
        self._shown = False
        self._lock = threading.Lock()

    def start(self, label: str, total_entries: int, total_bytes: int) -> None:
        """Begin a piece of work, and end the one before."""
        self.finish()
        self._state = ProgressState(label, total_entries, total_bytes)
        self._started = self._clock()
        self._next_draw = self._started + APPEAR_SECONDS
        self._next_notice = self._started
        self._notify()

    def beat(self) -> None:
        """Show the listener, from the main thread, that nothing moves now because the run waits on purpose."""
        if self._listener is not None and self._state is not None:
            with self._lock:
                self._state = replace(self._state, beats=self._state.beats + 1)
            self._notify()

    def advance(self, entries: int, size: int) -> None:
        """Add what was done since the last call; any thread may call it.

        The main thread also draws, when it is time. No other thread does, so that no line of the log is torn.

        Args:
            entries: How many more are done.
            size: Bytes; with nothing to add, the line is only drawn.
        """
        if self._stream is None and self._listener is None:
            return
        with self._lock:
            before = self._state
            if before is None:
                return
            self._state = replace(
                before, entries=before.entries + entries, bytes=before.bytes + size
            )
        if threading.current_thread() is threading.main_thread():
            self._notify()
            self._draw()

    def _notify(self) -> None:
        if self._listener is None or self._state is None or self._clock() < self._next_notice:
            return
        self._next_notice = self._clock() + REDRAW_SECONDS
        self._listener(self._state)

    def _draw(self) -> None:
        now, state = self._clock(), self._state
        if self._stream is None or state is None or now < self._next_draw:
            return
        self._next_draw = now + REDRAW_SECONDS
        # One column stays free: a full line makes some terminals wrap.
        import shutil  # noqa: PLC0415 (it loads three compression libraries, and most runs have no terminal)

        width = shutil.get_terminal_size().columns - 1
        line = render(state, now - self._started, width, colours=self._colours)
        self._put(f"{_ERASE}{line}")
        self._shown = True

    def pause(self) -> None:
        """Erase the line, so that other lines can be written; the next drawing shows it again."""
        if self._shown:
            self._put(_ERASE)
            self._shown = False

    def finish(self) -> None:
        """End the piece of work and erase the line."""
        self.pause()
        self._state = None

    def _put(self, text: str) -> None:
        if self._stream is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is closed; the work continues.
            self._stream = None


def facts(state: ProgressState, elapsed_seconds: float) -> list[str]:
    """Return entries, bytes, rate and time left as words, the most useful first."""
    words = [_of(f"{state.entries:,}", state.total_entries, f"{state.total_entries:,}")]
    words.append(_of(size_text(state.bytes), state.total_bytes, size_text(state.total_bytes)))
    if elapsed_seconds > 0:
        words.append(f"{size_text(state.bytes / elapsed_seconds)}/s")
    left = _seconds_left(state, elapsed_seconds)
    if left is not None:
        words.append(f"{clock_text(left)} left")
    return words


def _of(done: str, total: int, written_total: str) -> str:
    return f"{done}/{written_total}" if total > 0 else done


def _bar(state: ProgressState) -> str:
    fractions = state.fractions()
    if not fractions:
        return ""
    filled = int(min(fractions) * _BAR_WIDTH)
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"


def _seconds_left(state: ProgressState, elapsed_seconds: float) -> float | None:
    """Estimate from the slower of entries and bytes; None while one of them has not begun."""
    fractions = state.fractions()
    if not fractions or min(fractions) == 0:
        return None
    return elapsed_seconds * (1 / min(fractions) - 1)
