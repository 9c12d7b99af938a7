"""What reaches a log: everything that was said, and nothing that hurts."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
import structlog

from s32s_agent.output import logs

NO_JOURNAL = "/nonexistent/journal"
ESCAPE = "\x1b[31mred\x1b[0m"
BIDI = "\u202etxt.exe"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream whose every write fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


class Stuttering(io.RawIOBase):
    """A raw stream that takes a few bytes at a time, and none once it is full."""

    def __init__(self, room: int) -> None:
        self.taken = b""
        self._room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        piece = bytes(data)[: min(3, self._room - len(self.taken))]
        self.taken += piece
        return len(piece) or None


class Why(Enum):
    NEW = "new"


class Pair(NamedTuple):
    first: int
    second: str


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def logged(log_format: str, stream: io.StringIO | None = None, /, **fields: object) -> str:
    stream = stream or io.StringIO()
    logs.configure("info", log_format, quiet=False, stream=stream, journal_socket=NO_JOURNAL)
    logs.bind("r1").info("entry.copied", **fields)
    return stream.getvalue()


def logged_json(**fields: object) -> dict[str, Any]:
    document = json.loads(logged("json", **fields))
    assert isinstance(document, dict)
    return document


def logged_bytes(encoding: str, log_format: str, **fields: object) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    logs.configure("info", log_format, quiet=False, stream=stream, journal_socket=NO_JOURNAL)
    logs.bind("r1").info("entry.copied", **fields)
    return raw.getvalue()


def test_json_is_one_object_a_line_with_the_common_fields_first() -> None:
    """A line holds timestamp, level, event and run_id, then the fields in their order."""
    line = logged("json", size=3, key="a.txt", mapping="web")

    document = json.loads(line)
    moment = datetime.fromisoformat(document.pop("timestamp"))

    assert line.count("\n") == 1
    assert line.startswith('{"timestamp": "')
    assert line.split('"')[3].endswith("Z")
    assert moment.utcoffset() is not None
    assert list(document.items()) == [
        ("level", "info"),
        ("event", "entry.copied"),
        ("run_id", "r1"),
        ("mapping", "web"),
        ("size", 3),
        ("key", "a.txt"),
    ]


def test_an_escape_sequence_in_a_key_never_reaches_the_terminal() -> None:
    """On every format each control and bidi character is written as text."""
    for log_format in logs.FORMATS:
        text = logged(
            log_format,
            key=ESCAPE,
            nested={BIDI: [ESCAPE, {"deep": "\x9b2J"}]},
            **{f"field{ESCAPE}": "\r\n\x00\x7f"},
        )

        assert text.rstrip("\n").isprintable()
        assert r"\x1b[31mred" in text.replace("\\\\", "\\")


def test_an_escape_sequence_in_a_traceback_never_reaches_the_terminal() -> None:
    """An error message that a key got into is escaped line by line, on every format."""
    for log_format in logs.FORMATS:
        stream = io.StringIO()
        logs.configure(
            "info", log_format, quiet=False, stream=stream, journal_socket=NO_JOURNAL
        )
        try:
            raise ValueError(f"bad {ESCAPE}\n2026-01-01T00:00:00Z error  forged")
        except ValueError:
            logs.bind("r1").error("run.failed", exc_info=True)
        lines = stream.getvalue().rstrip("\n").split("\n")

        assert all(line.isprintable() for line in lines)
        assert "Traceback" in stream.getvalue()
        assert not any(line.startswith("2026-01-01") for line in lines)
        assert log_format == "console" or len(lines) == 1


def test_a_lone_surrogate_never_breaks_the_log() -> None:
    """A file name that is no UTF-8 is written as an escape."""
    name = os.fsdecode(b"caf\xe9")

    assert logged_json(key=name)["key"] == r"caf\udce9"


def test_readable_text_stays_readable() -> None:
    """Printable non-ASCII text is not escaped."""
    assert '"größe-日本"' in logged("json", key="größe-日本")


@pytest.mark.parametrize("log_format", ["json", "journal", "logfmt", "console"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_poor_locale_never_stops_a_run(encoding: str, log_format: str) -> None:
    """What the stream's encoding lacks is escaped."""
    line = logged_bytes(encoding, log_format, key="größe-日本").decode(encoding)

    assert r"\u65e5" in line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_locale(encoding: str) -> None:
    """The escapes for a poor stream are those of JSON."""
    line = logged_bytes(encoding, "json", key="größe-日本")

    assert json.loads(line.decode(encoding))["key"] == "größe-日本"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        (float("inf"), "inf"),
        (Why.NEW, "new"),
        (PurePosixPath("/srv/a"), "/srv/a"),
        (ValueError("bad"), "bad"),
        (ValueError(), "ValueError"),
        (b"a\xff", "b'a\\xff'"),
        ((1, "two"), [1, "two"]),
        (Pair(1, "two"), [1, "two"]),
        ({"a": {3}}, {"a": [3]}),
        ({1: "x"}, {"1": "x"}),
    ],
)
def test_every_value_becomes_plain(value: object, expected: object) -> None:
    """Values of any type become what JSON can say."""
    assert logged_json(value=value)["value"] == expected


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "aws_secret_access_key",
        "Password",
        "session_token",
        "Credentials",
        "Authorization",
    ],
)
def test_a_secret_field_never_reaches_the_log(name: str) -> None:
    """The value of a field with a telling name is replaced, at any depth."""
    document = logged_json(**{name: "hunter2"}, headers=[{name: "hunter2"}])

    assert document[name] == "[redacted]"
    assert document["headers"] == [{name: "[redacted]"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "GET https://s3/b/k?X-Amz-Credential=AKIA%2F2026&X-Amz-Date=1&X-Amz-Signature=ab12 failed",
            "GET https://s3/b/k?X-Amz-Credential=[redacted]&X-Amz-Date=1&X-Amz-Signature=[redacted] failed",
        ),
        ("?x-amz-security-token=IQoJ//8=&a=1", "?x-amz-security-token=[redacted]&a=1"),
        ("{'X-Amz-Security-Token': 'IQoJ'}", "{'X-Amz-Security-Token': '[redacted]'}"),
        ("X-Amz-Signature%3Dab12", "X-Amz-Signature%3D[redacted]"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIA/1, SignedHeaders=host, Signature=ab12",
            "AWS4-HMAC-SHA256 Credential=[redacted], SignedHeaders=host, Signature=[redacted]",
        ),
        ("proxy http://user:hunter2@proxy:3128", "proxy http://[redacted]@proxy:3128"),
        ("https://s3.example/b/k", "https://s3.example/b/k"),
        ("the credentials expired", "the credentials expired"),
    ],
)
def test_a_presigned_url_never_reaches_the_log(text: str, expected: str) -> None:
    """The parts of a text that give access are replaced, and nothing else."""
    assert logged_json(error=text)["error"] == expected


def own_words() -> list[str]:
    """Return every text with a blank that the package can log, print or write."""
    package = Path(logs.__file__).parents[1]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py"))
    return [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


def test_advice_about_a_login_that_is_redacted() -> None:
    """A remedy of the agent's own is shown as it is written, whatever it takes as an example."""
    words = own_words()
    redacted = [each for each in words if "[redacted]" in logged_json(error=each)["error"]]

    assert any("http://user:password@host:port" in each for each in words)
    assert redacted == []


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@host:8080",
        "http://user:password@hosting:port",
        "http://user:password1@host:port",
        "http://x:user:password@host:port@proxy",
    ],
)
def test_a_login_that_resembles_the_example(url: str) -> None:
    """Only the example itself is shown."""
    assert "password" not in logged_json(error=url)["error"]


def test_a_secret_in_a_traceback_never_reaches_the_log() -> None:
    """Tracebacks are searched for secrets too."""
    stream = io.StringIO()
    logs.configure("info", "json", quiet=False, stream=stream)
    try:
        raise ValueError("https://s3/k?X-Amz-Signature=hunter2")
    except ValueError:
        logs.bind("r1").exception("run.failed")

    assert "hunter2" not in stream.getvalue()


def test_a_long_text_loses_its_middle_only() -> None:
    """A text over the limit keeps its start and its end, and a cut secret does not show."""
    url = "x" * (logs.MAX_TEXT // 2 - 40) + "?X-Amz-Signature=" + "5ec7e7" * 1000
    text = logged_json(error=url + " " + "y" * logs.MAX_TEXT)["error"]

    assert text.startswith("xxx")
    assert text.endswith("yyy")
    assert "characters cut" in text
    assert "5ec7e7" not in text
    assert len(text) < logs.MAX_TEXT + 50


def test_logfmt_quotes_what_needs_quotes() -> None:
    """Pairs have no spaces of their own, also with nested values and odd names."""
    line = logged("logfmt", key="a b", counts={"copied": 1}, ok=True, **{"odd name=": 1})

    assert line.split(" ", 1)[1] == (
        'level=info event=entry.copied run_id=r1 key="a b" '
        'counts="{\\"copied\\": 1}" ok=true odd_name_=1\n'
    )


@pytest.mark.parametrize(
    ("level", "priority"), [("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_journal_lines_start_with_the_priority(level: str, priority: int) -> None:
    """The prefix is sd-daemon's, and JSON follows it."""
    stream = io.StringIO()
    logs.configure("info", "journal", quiet=False, stream=stream, journal_socket=NO_JOURNAL)
    getattr(logs.bind("r1"), level)("run.started")
    prefix, line = stream.getvalue()[:3], stream.getvalue()[3:]

    assert prefix == f"<{priority}>"
    assert json.loads(line)["level"] == level


def test_console_is_readable_without_colours() -> None:
    """Where there is no terminal, time, level, event and pairs stand there as plain text."""
    line = logged("console", key="a b", size=3, empty="", gone=None)

    assert line[19:] == (
        'Z info     entry.copied run_id=r1 key="a b" size=3 empty="" gone=null\n'
    )


@pytest.mark.skipif(os.name == "nt", reason="colours are off there")
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], *, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets the console format, coloured unless NO_COLOR or TERM forbids it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    line = logged("auto", Terminal(), key="a")

    assert "entry.copied" in line
    assert not line.startswith("{")
    assert ("\x1b[" in line) == coloured


def test_auto_is_json_where_there_is_no_terminal() -> None:
    """Pipes and files get JSON."""
    assert logged("auto").startswith("{")


@pytest.mark.parametrize(
    ("level", "quiet", "expected"),
    [
        ("debug", False, ["debug", "info", "warning", "error", "critical"]),
        ("info", False, ["info", "warning", "error", "critical"]),
        ("warning", False, ["warning", "error", "critical"]),
        ("debug", True, ["error", "critical"]),
        ("critical", True, ["critical"]),
    ],
)
def test_levels(level: str, *, quiet: bool, expected: list[str]) -> None:
    """Events below the level are not shown, and with quiet none below error."""
    stream = io.StringIO()
    logs.configure(level, "json", quiet=quiet, stream=stream)
    log = logs.bind("r1")
    for name in logs.LEVELS:
        getattr(log, name)("run.started")
    shown = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]

    assert shown == expected


@pytest.mark.parametrize(("level", "log_format"), [("loud", "json"), ("info", "xml")])
def test_unknown_settings_are_bugs(level: str, log_format: str) -> None:
    """The config checks both, so anything else is the caller's mistake."""
    with pytest.raises(ValueError, match="expected one of"):
        logs.configure(level, log_format, quiet=False, stream=io.StringIO())


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "gone"), OSError(28, "full"), ValueError("closed")]
)
def test_a_broken_stream_never_stops_a_run(error: Exception) -> None:
    """An event that cannot be written is dropped."""
    logged("json", Broken(error), key="a")


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_a_closed_stream_never_stops_a_run(log_format: str) -> None:
    """Events for a stream that is closed, or was never there, are dropped."""
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    for gone in (stream, None):
        logs.configure("info", log_format, quiet=False, stream=gone)
        logs.bind("r1").error("run.failed")


# The children find the package where this process found it.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(*command: str, stderr: Any = None) -> int:
    return subprocess.run(
        command, check=False, timeout=60, stderr=stderr, env=ENVIRONMENT
    ).returncode


CHILD = """
import sys
from s32s_agent.output import logs
logs.configure("info", "json", quiet=False, stream=sys.stderr)
for number in range(3):
    logs.bind("r1").error("run.failed", number=number)
sys.exit(7)
"""


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_left_never_changes_the_exit_status() -> None:
    """With a broken pipe as stderr the process ends with its own status, not with Python's 120."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code = run(sys.executable, "-c", CHILD, stderr=writer)
    finally:
        os.close(writer)

    assert code == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_never_changes_the_exit_status() -> None:
    """With a log that cannot grow the process ends with its own status."""
    with Path("/dev/full").open("wb") as full:
        code = run(sys.executable, "-c", CHILD, stderr=full)

    assert code == 7


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_run_without_stderr_runs() -> None:
    """With stderr closed from the start the process ends with its own status."""
    code = run("sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, CHILD)

    assert code == 7


def test_a_stream_that_takes_pieces_gets_the_whole_line() -> None:
    """Short writes go on where they stopped; a stream that takes nothing more ends the line."""
    whole, full = Stuttering(10_000), Stuttering(5)
    for raw in (whole, full):
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        logs.configure("info", "json", quiet=False, stream=stream)
        logs.bind("r1").info("run.started", key="ä")

    assert json.loads(whole.taken)["key"] == "ä"
    assert full.taken == whole.taken[:5]


def test_the_hook_runs_before_each_line_that_is_written() -> None:
    """A progress bar is erased before each line, and only then."""
    stream = io.StringIO()
    seen: list[int] = []
    logs.configure(
        "info",
        "json",
        quiet=False,
        stream=stream,
        before_line=lambda: seen.append(stream.getvalue().count("\n")),
    )
    log = logs.bind("r1")
    log.debug("entry.checked")
    log.info("run.started")
    log.info("run.finished")

    assert seen == [0, 1]


def test_ten_thousand_events_cost_well_under_a_second() -> None:
    """Logging does not slow a run down (about 0.13 s; the limit allows for a busy computer)."""
    with Path(os.devnull).open("w", encoding="utf-8") as stream:
        logs.configure("info", "json", quiet=False, stream=stream)
        log = logs.bind("r1")
        started = time.process_time()
        for number in range(10_000):
            log.info(
                "entry.copied", mapping="web", key=f"img/größe-{number}.png", size=1, why="new"
            )
        seconds = time.process_time() - started

    assert seconds < 3
