"""Set up structlog: one event a line, on stderr.

Decides nothing about the run, never raises because a line could not be written, and writes neither secrets nor
characters that a terminal acts on.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, MutableMapping
from enum import Enum
from functools import lru_cache
from typing import Any, TextIO, cast

from s32s_agent.output import journal
from s32s_agent.output.structured import FilteringBoundLogger, Processor, structlog
from s32s_agent.output.terminal import (
    BOLD,
    CYAN,
    DIM,
    GREEN,
    RED,
    YELLOW,
    is_terminal,
    paint,
    wants_colours,
)
from s32s_agent.redaction import REDACTED, redact
from s32s_agent.text import printable

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""What `log.level` may be, with the numbers of the standard library."""
FORMATS = ("auto", "json", "logfmt", "console", "journal")
"""What `log.format` may be."""
MAX_TEXT = 8192
"""Characters of one string: journald splits lines over 48 KiB, and escapes make a string up to six times as long."""

_FIRST = ("timestamp", "level", "event", "run_id", "mapping")
_BESIDE_MESSAGE = frozenset({"timestamp", "level", "event", "run_id", "exception"})
"""What the text of a message in the journal leaves out: it is in the fields beside it, or below."""
_COLOURS = {
    "debug": DIM,
    "info": GREEN,
    "warning": YELLOW,
    "error": RED,
    "critical": f"{BOLD};{RED}",
}
_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|token|credential|authorization|signature|cookie|private_?key",
    re.IGNORECASE,
)


def configure(
    level: str,
    log_format: str,
    *,
    quiet: bool,
    stream: TextIO | None,
    before_line: Callable[[], None] | None = None,
    journal_socket: str = journal.SOCKET,
) -> None:
    """Choose what is logged, how, and where.

    Args:
        level: One of `LEVELS`.
        log_format: One of `FORMATS`; `auto` is `console` on a terminal, `journal` where the stream leads
            there, and `json` elsewhere.
        quiet: Show errors only, whatever the level.
        stream: Stays the caller's. None, which `sys.stderr` is when its descriptor is closed, drops every line.
        before_line: Called before each line, to erase a progress bar.
        journal_socket: Where `journal` sends its events; without a journal there, they are lines on the stream.

    Raises:
        ValueError: The level or the format is not a known one.
    """
    if level not in LEVELS:
        raise ValueError(f"level: expected one of {', '.join(LEVELS)}, got {level!r}")
    lines = _Writer(stream, before_line or (lambda: None))
    log_format = _format(log_format, stream, os.environ)
    if log_format == "journal" and journal.listens(journal_socket):
        writer: _Writer | _JournalWriter = _JournalWriter(journal_socket, lines, stream)
        renderers: list[Processor] = [_as_argument]
    else:
        writer, renderers = lines, _renderers(log_format, stream, os.environ)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            clean,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            max(LEVELS[level], LEVELS["error"] if quiet else 0)
        ),
        context_class=dict,
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )


def bind(run_id: str) -> FilteringBoundLogger:
    """Return the logger of one run, as `configure` last set it up."""
    return cast("FilteringBoundLogger", structlog.get_logger().bind(run_id=run_id))


def clean(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put the common fields first, and make every value plain, printable and free of secrets."""
    cleaned: dict[str, Any] = {}
    for name in _FIRST:
        if name in event:
            cleaned[name] = _plain(event.pop(name))
    trace = event.pop("exception", None)
    for name, value in event.items():
        shown_name, secret = _field(name)
        cleaned[shown_name] = REDACTED if secret else _plain(value)
    if trace is not None:
        # Only a traceback keeps its lines: every renderer makes a newline harmless again.
        cleaned["exception"] = "\n".join(_text(line) for line in str(trace).split("\n"))
    return cleaned


def _plain(value: object) -> Any:
    kind = type(value)
    if kind is str:
        return _text(cast("str", value))
    if kind is int or kind is bool or value is None:
        return value
    return _plain_other(value)


def _plain_other(value: object) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        pairs = ((*_field(name), content) for name, content in value.items())
        return {
            name: REDACTED if secret else _plain(content) for name, secret, content in pairs
        }
    if isinstance(value, Collection) and not isinstance(value, (str, bytes, bytearray)):
        return [_plain(element) for element in value]
    # Infinity and NaN come here too: JSON has no word for them.
    return _text(str(value) or type(value).__name__)


@lru_cache(maxsize=1024)
def _field(name: object) -> tuple[str, bool]:
    """Return how a field's name is written, and whether its value is a secret."""
    text = _text(str(name))
    return text, _SECRET_NAME.search(text) is not None


def _text(text: str) -> str:
    text = redact(text)
    if len(text) > MAX_TEXT:
        # The middle is cut: a message names its subject at its start, and the cause at its end.
        half = MAX_TEXT // 2
        text = f"{text[:half]}...[{len(text) - MAX_TEXT} characters cut]...{text[-half:]}"
    return text if text.isprintable() else printable(text)


def _format(log_format: str, stream: TextIO | None, environ: Mapping[str, str]) -> str:
    """Return the format that `auto` stands for."""
    if log_format != "auto":
        return log_format
    if is_terminal(stream):
        return "console"
    return "journal" if journal.is_journal(stream, environ) else "json"


def _renderers(
    log_format: str, stream: TextIO | None, environ: Mapping[str, str]
) -> list[Processor]:
    if log_format == "console":
        return [_Console(colours=wants_colours(stream, environ))]
    if log_format == "logfmt":
        return [_flatten, structlog.processors.LogfmtRenderer(bool_as_flag=False)]
    if log_format == "json":
        return [_Json(stream)]
    if log_format == "journal":
        # sd-daemon(3): journald takes the number as the priority and strips it from the line.
        return [_Json(stream, priorities=journal.PRIORITIES)]
    raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {log_format!r}")


class _Json:
    """One object a line; a priority stands before it where some are given."""

    def __init__(
        self, stream: TextIO | None, *, priorities: Mapping[str, int] | None = None
    ) -> None:
        # `\xe9` is no JSON, so a stream that cannot carry everything gets JSON's own escapes.
        self._encode = json.JSONEncoder(ensure_ascii=not _is_utf8(stream)).encode
        self._priorities = priorities or {}

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        line = self._encode(event)
        priority = self._priorities.get(event["level"])
        return line if priority is None else f"<{priority}>{line}"


def _is_utf8(stream: TextIO | None) -> bool:
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name == "utf-8"


def _flatten(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace what the logfmt renderer refuses, or writes as Python, by words and JSON."""
    return {
        re.sub(r'[\s="]', "_", name): _json(value)
        if isinstance(value, (dict, list))
        else value
        for name, value in event.items()
    }


class _Console:
    """For people: time, level, event, fields, and a traceback below."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        level = event.pop("level")
        start = (
            self._paint(DIM, event.pop("timestamp")[:19] + "Z"),
            self._paint(_COLOURS[level], f"{level:<8}"),
            self._paint(BOLD, str(event.pop("event"))),
        )
        trace = event.pop("exception", None)
        fields = (f"{self._paint(CYAN, name)}={_word(value)}" for name, value in event.items())
        line = " ".join((*start, *fields))
        # Indented, so that no line of an error message looks like an event.
        return line if trace is None else "\n    ".join((line, *str(trace).split("\n")))

    def _paint(self, code: str, text: str) -> str:
        return paint(code, text, colours=self._colours)


def _word(value: object) -> str:
    """Write a value so that its end can be seen."""
    if isinstance(value, str) and value and not re.search(r'[\s="]', value):
        return value
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Writer:
    """Writes whole lines, each at once; drops what the stream does not take."""

    def __init__(self, stream: TextIO | None, before_line: Callable[[], None]) -> None:
        self._stream = stream
        self._before_line = before_line
        buffer = getattr(stream, "buffer", None)
        # Unbuffered: what a broken pipe leaves in a buffer fails again when Python exits, with status 120.
        self._raw = getattr(buffer, "raw", buffer)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._before_line()
            self._put(self._stream, line + "\n")
        except (OSError, ValueError):
            # A run matters more than its log: the reader has exited, the stream is closed, or the disk is full.
            return

    debug = info = warning = error = critical = write

    def _put(self, stream: TextIO, text: str) -> None:
        if self._raw is None:
            stream.write(text)
            stream.flush()
            return
        data = text.encode(self._encoding, "backslashreplace")
        while data:
            # None: a pipe that does not block is full.
            data = data[self._raw.write(data) or len(data) :]


def _as_argument(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Return the event as the one argument of the writer."""
    return (event,), {}


class _JournalWriter:
    """Sends events to the journal, each field by itself; what it does not take becomes a line."""

    def __init__(self, path: str, lines: _Writer, stream: TextIO | None) -> None:
        self._path = path
        self._lines = lines
        self._render = _Json(stream, priorities=journal.PRIORITIES)

    def write(self, event: MutableMapping[str, Any]) -> None:
        level, trace = event["level"], event.get("exception")
        words = (
            f"{name}={_word(value)}"
            for name, value in event.items()
            if name not in _BESIDE_MESSAGE
        )
        line = " ".join((str(event["event"]), *words))
        message = line if trace is None else f"{line}\n{trace}"
        fields = {
            name: value if isinstance(value, str) else _json(value)
            for name, value in event.items()
            if name not in ("timestamp", "level")
        }
        try:
            journal.send(journal.packet(level, message, fields), self._path)
        except OSError:
            # The journal restarts, is full, or has ended: the line is written as if there were no journal.
            self._lines.write(self._render(None, "", event))

    debug = info = warning = error = critical = write
