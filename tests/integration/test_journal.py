"""What reaches a real journal, and how one finds it there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from support import journald as journals
from support.journald import Journald
from support.slaves import Slave

from s32s_agent.output.journal import MAX_FIELD, MESSAGE_IDS, listens

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(bool(journals.missing()), reason=journals.missing() or "can run"),
]

RUN_IN_JOURNAL = """
import os, socket, subprocess, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect("/run/systemd/journal/stdout")
stream.sendall(b"some-unit\\n\\n6\\n1\\n0\\n0\\n0\\n")
about = os.fstat(stream.fileno())
os.environ["JOURNAL_STREAM"] = f"{about.st_dev}:{about.st_ino}"
sys.exit(subprocess.run(sys.argv[1:], stderr=stream).returncode)
"""
"""What systemd does for a unit whose standard error is the journal, as sd_journal_stream_fd(3) does it."""
LOG = """
import sys
from s32s_agent.output import logs
logs.configure("info", "journal", quiet=False, stream=sys.stderr)
log = logs.bind("r1")
"""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journald]:
    """A journald for the tests of this file."""
    with journals.journald(tmp_path_factory.mktemp("journald")) as running:
        yield running


def write(journal: Journald, statements: str) -> None:
    """Run Python statements that log, where the journal is."""
    done = journal.run(sys.executable, "-c", LOG + statements, env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_journal_finds_what_was_deleted(journal: Journald, slave: Slave) -> None:
    """`journalctl S32S_EVENT=entry.deleted` gives the deletes of a run, with mapping, key and run."""
    slave.publish({"stays": b"1"})
    assert slave.once().exit_code == 0
    (slave.target / "extra").write_bytes(b"2")
    command = slave.agent.command("--once", "--log-format", "journal")

    done = journal.run(*command, env=slave.agent.environment())

    assert (done.returncode, done.stderr) == (0, b"")
    (event,) = journal.events("S32S_EVENT=entry.deleted")
    (finished,) = journal.events("S32S_EVENT=run.finished")
    assert (event["S32S_KEY"], event["S32S_MAPPING"]) == ("extra", "site")
    assert event["S32S_RUN_ID"] == finished["S32S_RUN_ID"]
    assert event["SYSLOG_IDENTIFIER"] == "s32s-agent"
    assert event["MESSAGE"] == "entry.deleted mapping=site key=extra"
    assert (finished["S32S_EXIT_CODE"], finished["PRIORITY"]) == ("0", "6")


def test_a_unit_whose_output_is_the_journal_sends_fields_by_itself(
    journal: Journald, slave: Slave
) -> None:
    """With `auto`, the agent notices that its standard error is the journal."""
    slave.publish({"new-file": b"1"})
    command = slave.agent.command("--once", "--log-format", "auto")
    wrapped = (sys.executable, "-c", RUN_IN_JOURNAL, *command)

    done = journal.run(*wrapped, env=slave.agent.environment())

    assert (done.returncode, done.stderr) == (0, b"")
    (event,) = journal.events("S32S_EVENT=entry.copied", "S32S_KEY=new-file")
    assert event["_TRANSPORT"] == "journal"
    assert journal.events("_TRANSPORT=stdout", "SYSLOG_IDENTIFIER=some-unit") == []


def test_an_output_elsewhere_is_not_taken_for_the_journal(
    journal: Journald, slave: Slave
) -> None:
    """A JOURNAL_STREAM that was inherited, while standard error is a pipe, changes nothing: the lines are JSON."""
    env = {**slave.agent.environment(), "JOURNAL_STREAM": "9:12345"}
    command = slave.agent.command("--once", "--log-format", "auto")

    done = journal.run(*command, env=env)

    assert b'"event": "run.finished"' in done.stderr


def test_start_and_end_of_a_run_have_message_ids(journal: Journald) -> None:
    """They are found whatever the unit is called."""
    write(
        journal,
        'log.info("run.started", role="slave"); log.error("run.finished", exit_code=69)',
    )

    for event, message_id in MESSAGE_IDS.items():
        found = journal.events(f"MESSAGE_ID={message_id}", "S32S_RUN_ID=r1")
        assert [each["S32S_EVENT"] for each in found] == [event]
    (failed,) = journal.events("--priority=err", "S32S_RUN_ID=r1", "S32S_EVENT=run.finished")
    assert failed["S32S_EXIT_CODE"] == "69"


def test_a_traceback_keeps_its_lines(journal: Journald) -> None:
    """The field is written with its length, and the message shows the lines below the event."""
    statements = """
try:
    1 / 0
except ZeroDivisionError:
    log.critical("run.crashed", mapping="web", exc_info=True)
"""
    write(journal, statements)

    (event,) = journal.events("S32S_EVENT=run.crashed")
    assert event["S32S_EXCEPTION"].startswith("Traceback (most recent call last):\n")
    assert event["MESSAGE"] == f"run.crashed mapping=web\n{event['S32S_EXCEPTION']}"
    assert event["PRIORITY"] == "2"


def test_more_than_a_datagram_holds_arrives(journal: Journald) -> None:
    """An event of a megabyte goes as a sealed file; each field is cut in its middle."""
    write(
        journal,
        'log.info("maps.loaded", end="here", **{f"a{n}": [f"{n}" + "x" * 8000] * 16 for n in range(70)})',
    )

    (event,) = journal.events("S32S_EVENT=maps.loaded", "S32S_RUN_ID=r1")
    assert event["S32S_END"] == "here"
    assert all(len(event[f"S32S_A{n}"]) < MAX_FIELD + 50 for n in range(70))
    assert sum(len(event[f"S32S_A{n}"]) for n in range(70)) > 1 << 20
    assert "bytes cut" in event["S32S_A0"]


def test_no_key_writes_a_field_of_its_own(journal: Journald) -> None:
    """A newline in a key is an escape, so that no object can forge an event."""
    write(journal, r'log.info("entry.skipped", key="a\nMESSAGE_ID=0\nPRIORITY=0")')

    (event,) = journal.events("S32S_EVENT=entry.skipped")
    assert event["S32S_KEY"] == r"a\x0aMESSAGE_ID=0\x0aPRIORITY=0"
    assert "MESSAGE_ID" not in event


@pytest.mark.skipif(listens(), reason="this machine has a journal")
def test_without_a_journal_the_lines_stay(slave: Slave) -> None:
    """Where no journal listens, `journal` means lines with a priority before them."""
    run = slave.once("--log-format", "journal")

    assert run.stderr.startswith('<6>{"timestamp"')
