"""The packets of the journal's protocol, read by its rules, and what happens when nobody takes them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from s32s_agent.output import journal, logs


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket in the journal's place; its name is its path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "socket"))
        bound.settimeout(10)
        yield bound


def parse(data: bytes) -> dict[str, str]:
    """Read a packet by the rules: KEY=VALUE, or KEY, a newline, the length in eight bytes, VALUE; then a newline."""
    fields: dict[str, str] = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, end, rest = (
                rest[8 : 8 + length],
                rest[8 + length : 9 + length],
                rest[9 + length :],
            )
            assert (len(value), end) == (length, b"\n")
        text = name.decode("ascii")
        assert text not in fields
        assert text.replace("_", "").isalnum()
        assert text == text.upper()
        assert text[0].isalpha()
        assert len(text) <= 64
        fields[text] = value.decode()
        data = rest
    return fields


def test_every_field_of_an_event_is_a_field_of_the_journal(listener: socket.socket) -> None:
    """Names get the prefix and capitals; values that are no text are JSON."""
    path = listener.getsockname()
    logs.configure("info", "journal", quiet=False, stream=None, journal_socket=path)
    logs.bind("r1").warning("entry.skipped", mapping="web", key="a b", size=3, odd=["x"])
    fields = parse(listener.recv(1 << 16))

    assert fields == {
        "MESSAGE": 'entry.skipped mapping=web key="a b" size=3 odd=["x"]',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "s32s-agent",
        "S32S_EVENT": "entry.skipped",
        "S32S_RUN_ID": "r1",
        "S32S_MAPPING": "web",
        "S32S_KEY": "a b",
        "S32S_SIZE": "3",
        "S32S_ODD": '["x"]',
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("key", "S32S_KEY"),
        ("odd name=", "S32S_ODD_NAME_"),
        ("größe", "S32S_GR_SSE"),
        ("n" * 99, "S32S_" + "N" * 59),
    ],
)
def test_a_name_that_the_journal_refuses_is_made_one_that_it_takes(
    name: str, expected: str
) -> None:
    """Capitals, digits and underscores, at most 64 of them."""
    fields = parse(journal.packet("info", "m", {"event": "a.b", name: "value"}))

    assert fields[expected] == "value"


def test_a_field_is_cut_between_characters() -> None:
    """What is cut stays UTF-8, or journalctl would show no text."""
    fields = parse(journal.packet("info", "m", {"event": "a.b", "key": "x" + "€" * 20_000}))

    assert fields["S32S_KEY"].startswith("x€€")
    assert fields["S32S_KEY"].endswith("€€")
    assert len(fields["S32S_KEY"].encode()) < journal.MAX_FIELD + 50


def test_an_event_larger_than_a_datagram_comes_as_a_sealed_file(
    listener: socket.socket,
) -> None:
    """The descriptor comes alone, holds all of the event, and is sealed, which journald asks for."""
    data = journal.packet("info", "m", {f"n{number}": "x" * 16000 for number in range(100)})
    journal.send(data, listener.getsockname())
    message, descriptors, _, _ = socket.recv_fds(listener, 1 << 16, 2)

    (descriptor,) = descriptors
    with os.fdopen(descriptor, "rb") as file:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        assert (message, os.pread(descriptor, len(data) + 1, 0)) == (b"", data)
        assert seals == (
            fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        )
        assert file.readable()


def test_an_event_that_the_journal_does_not_take_is_a_line() -> None:
    """When journald ends in the middle of a run, the log continues on the stream."""
    stream = io.StringIO()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(b"\0s32s-agent-test-journal")
        path = "\0s32s-agent-test-journal"
        logs.configure("info", "journal", quiet=False, stream=stream, journal_socket=path)
        logs.bind("r1").info("run.started")
        assert parse(bound.recv(1 << 16))["S32S_EVENT"] == "run.started"

    logs.bind("r1").error("run.failed", error="x")

    priority, line = stream.getvalue()[:3], json.loads(stream.getvalue()[3:])
    assert (priority, line["event"], line["error"]) == ("<3>", "run.failed", "x")


def test_a_stream_is_the_journal_only_by_device_and_inode(tmp_path: Path) -> None:
    """The variable proves nothing for a process that has inherited it with another standard error."""
    with (tmp_path / "log").open("w") as stream:
        about = (tmp_path / "log").stat()
        right = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        wrong = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino + 1}"}

        assert journal.is_journal(stream, right)
        assert not journal.is_journal(stream, wrong)
        assert not journal.is_journal(stream, {})
    assert not journal.is_journal(None, right)
    assert not journal.is_journal(io.StringIO(), right)
