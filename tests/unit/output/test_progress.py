"""A line at the bottom of a terminal, and nothing anywhere else."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import pytest
from support.clocks import Clock

from s32s_agent.output.progress import Progress, ProgressState, render

ERASE = "\r\x1b[K"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    """A terminal that went away."""

    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")


class Poor(Terminal):
    """A terminal that knows ASCII only."""

    encoding = "ascii"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "101")


def drawn(
    terminal: Terminal, clock: Clock, label: str = "web", *, environ: Mapping[str, str] = {}
) -> Progress:
    """Begin a piece of work, and come as far as the first drawing."""
    progress = Progress(terminal, enabled=True, clock=clock, environ=environ)
    progress.start(label, 4, 0)
    clock.seconds += 2
    progress.advance(1, 0)
    return progress


HALF = ProgressState("web", 200, 10_000_000, entries=100, bytes=5_000_000)


@pytest.mark.parametrize(
    ("state", "elapsed", "width", "expected"),
    [
        (
            HALF,
            10,
            100,
            "web  [##########..........]  100/200  5.0 MB/10.0 MB  500 kB/s  0:10 left",
        ),
        (
            HALF,
            10,
            73,
            "web  [##########..........]  100/200  5.0 MB/10.0 MB  500 kB/s  0:10 left",
        ),
        (HALF, 10, 72, "web  100/200  5.0 MB/10.0 MB  500 kB/s  0:10 left"),
        (HALF, 10, 48, "web  100/200  5.0 MB/10.0 MB  500 kB/s"),
        (HALF, 10, 37, "web  100/200  5.0 MB/10.0 MB"),
        (HALF, 10, 27, "web  100/200"),
        (HALF, 10, 12, "web  100/200"),
        (HALF, 10, 11, "web"),
        (HALF, 10, 2, "we"),
        (HALF, 10, 0, ""),
        (
            HALF,
            7200,
            100,
            "web  [##########..........]  100/200  5.0 MB/10.0 MB  694 B/s  2:00:00 left",
        ),
        # The slower of entries and bytes tells the time that is left.
        (
            ProgressState("a", 100, 1000, entries=10, bytes=500),
            10,
            100,
            "a  [##..................]  10/100  500 B/1.0 kB  50 B/s  1:30 left",
        ),
        # Nothing is known of the total.
        (ProgressState("a", 0, 0, entries=1234, bytes=0), 10, 100, "a  1,234  0 B  0 B/s"),
        # Only entries have a total: directories, deletes.
        (
            ProgressState("a", 4, 0, entries=1),
            1,
            100,
            "a  [#####...............]  1/4  0 B  0 B/s  0:03 left",
        ),
        # Nothing is done yet: no time left is better than a wrong one.
        (ProgressState("a", 4, 4000), 0, 100, "a  [....................]  0/4  0 B/4.0 kB"),
        (
            ProgressState("a", 4, 4000),
            2,
            100,
            "a  [....................]  0/4  0 B/4.0 kB  0 B/s",
        ),
        # More than was planned: a source that grew.
        (
            ProgressState("a", 4, 4000, entries=5, bytes=8000),
            2,
            100,
            "a  [####################]  5/4  8.0 kB/4.0 kB  4.0 kB/s  0:00 left",
        ),
        (
            ProgressState("a", 1, 5_000_000_000_000, entries=1, bytes=5_000_000_000_000),
            1000,
            100,
            "a  [####################]  1/1  5.0 TB/5.0 TB  5.0 GB/s  0:00 left",
        ),
        # East Asian characters take two columns.
        (ProgressState("日本", 0, 0), 0, 4, "日本"),
        (ProgressState("日本", 0, 0), 0, 3, "日"),
        (ProgressState("日本", 0, 0, entries=1), 0, 8, "日本  1"),
    ],
)
def test_render(state: ProgressState, elapsed: float, width: int, expected: str) -> None:
    """The line says what is known, as far as there is room."""
    assert render(state, elapsed, width) == expected


def test_an_escape_sequence_in_a_label_never_reaches_the_terminal() -> None:
    """The label is escaped."""
    assert render(ProgressState("\x1b[2J", 0, 0), 0, 100) == r"\x1b[2J  0  0 B"


def test_only_the_bar_is_coloured() -> None:
    """Colours take no room."""
    line = render(HALF, 10, 73, colours=True)

    assert line.startswith("web  \x1b[32m[##########..........]\x1b[0m  100/200  ")
    assert line.count("\x1b") == 2


def test_short_work_shows_nothing(clock: Clock) -> None:
    """In the first second nothing is drawn, and so nothing erased."""
    terminal = Terminal()
    progress = Progress(terminal, enabled=True, clock=clock, environ={})
    progress.start("web", 10, 1000)
    clock.seconds += 0.99
    progress.advance(1, 100)
    progress.finish()

    assert terminal.getvalue() == ""


def test_long_work_is_drawn_ten_times_a_second_at_most(clock: Clock) -> None:
    """After the first second the line comes, and again when a tenth of a second has passed."""
    terminal = Terminal()
    progress = Progress(terminal, enabled=True, clock=clock, environ={"NO_COLOR": "1"})
    progress.start("web", 2000, 2000)
    for _ in range(2000):
        clock.seconds += 0.001
        progress.advance(1, 1)
    drawn = terminal.getvalue().split(ERASE)[1:]

    assert 9 <= len(drawn) <= 11
    assert drawn[0].startswith(
        "web  [##########..........]  1,000/2,000  1.0 kB/2.0 kB  1.0 kB/s"
    )


def test_log_lines_never_mix_with_the_line(clock: Clock) -> None:
    """A pause erases the line once; the next drawing brings it back."""
    terminal = Terminal()
    progress = drawn(terminal, clock)
    terminal.truncate(0)
    terminal.seek(0)
    progress.pause()
    progress.pause()
    after_pause = terminal.getvalue()
    clock.seconds += 1
    progress.advance(1, 0)

    assert after_pause == ERASE
    assert "2/4" in terminal.getvalue()


def test_the_end_takes_the_line_away(clock: Clock) -> None:
    """After the work nothing is left, and what comes after the end draws nothing."""
    terminal = Terminal()
    progress = drawn(terminal, clock)
    progress.finish()
    clock.seconds += 2
    progress.advance(1, 0)

    assert terminal.getvalue().endswith(ERASE)
    assert "2/4" not in terminal.getvalue()


def test_a_new_start_begins_from_nothing(clock: Clock) -> None:
    """The second piece of work has its own second of silence and its own counts."""
    terminal = Terminal()
    progress = Progress(terminal, enabled=True, clock=clock, environ={})
    progress.start("one", 4, 0)
    clock.seconds += 2
    progress.advance(3, 0)
    progress.start("two", 4, 0)
    clock.seconds += 0.5
    progress.advance(1, 0)
    quiet = terminal.getvalue()
    clock.seconds += 0.5
    progress.advance(1, 0)

    assert "two" not in quiet
    assert quiet.endswith(ERASE)
    assert "2/4" in terminal.getvalue()


@pytest.mark.parametrize(
    ("stream", "enabled", "environ"),
    [
        (io.StringIO(), True, {}),
        (Terminal(), False, {}),
        (Terminal(), True, {"TERM": "dumb"}),
        (None, True, {}),
    ],
    ids=["pipe", "disabled", "dumb", "no stderr"],
)
def test_nothing_is_drawn_elsewhere(
    stream: io.StringIO | None, *, enabled: bool, environ: dict[str, str], clock: Clock
) -> None:
    """Only a terminal that can erase, and whose user wants it, gets the line."""
    progress = Progress(stream, enabled=enabled, clock=clock, environ=environ)
    progress.start("web", 4, 0)
    clock.seconds += 2
    progress.advance(1, 0)
    progress.finish()

    assert stream is None or stream.getvalue() == ""


def test_a_closed_stream_is_no_terminal(clock: Clock) -> None:
    """A stream that is closed already is not asked."""
    terminal = Terminal()
    terminal.close()
    drawn(terminal, clock)


@pytest.mark.skipif(os.name == "nt", reason="colours are off there")
@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_honoured(
    environ: dict[str, str], *, coloured: bool, clock: Clock
) -> None:
    """With NO_COLOR the line is plain."""
    terminal = Terminal()
    drawn(terminal, clock, environ=environ)

    assert ("\x1b[32m" in terminal.getvalue()) == coloured


def test_a_terminal_that_went_away_never_stops_a_run(clock: Clock) -> None:
    """A failed write ends the showing, and only that."""
    progress = drawn(Gone(), clock)
    clock.seconds += 2
    progress.advance(1, 0)
    progress.finish()


def test_a_poor_locale_never_stops_a_run(clock: Clock) -> None:
    """What the terminal's encoding lacks becomes a question mark."""
    terminal = Poor()
    drawn(terminal, clock, "größe")

    assert "gr??e" in terminal.getvalue()


def test_the_line_never_wraps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One column of the terminal stays free."""
    monkeypatch.setenv("COLUMNS", "10")
    terminal = Terminal()
    drawn(terminal, clock, "x" * 100)

    assert terminal.getvalue() == ERASE + "x" * 9
