"""What the last pass did: written whole, carried over, and told to people."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from s32s_agent.errors import DirectoryError, DiskFull
from s32s_agent.monitoring import last_run

NOW = datetime(2026, 11, 22, 21, 0, 0, tzinfo=UTC)
FINISHED = "2026-11-22T20:55:00Z"
HOLDER = {"pid": 4711, "run_id": "r0", "started": "2026-11-22T20:50:00Z"}


def mapping(**changes: object) -> dict[str, object]:
    return {
        "name": "web",
        "s3": "bucket/web",
        "directory": "/srv/www",
        "exit_code": 0,
        "cause": "",
        "error": None,
        "copied": 12,
        "deleted": 0,
        "unchanged": 1034,
        "skipped": 0,
        "failed": 0,
        "withheld": 0,
        "bytes": 1234567,
        "seconds": 2.5,
        **changes,
    }


def a_run(**changes: object) -> dict[str, object]:
    return {
        "agent_version": "0.1.0",
        "run_id": "r1",
        "role": "slave",
        "started": "2026-11-22T20:54:48Z",
        "finished": FINISHED,
        "seconds": 12.34,
        "exit_code": 0,
        "cause": "",
        "mappings": [mapping()],
        "totals": {"copied": 12, "unchanged": 1034, "bytes": 1234567},
        "errors": [],
        **changes,
    }


FAILED: dict[str, object] = {"exit_code": 1, "cause": "partial"}


def test_a_document_holds_what_the_run_says() -> None:
    """Every field of the run is kept; the version of the schema and the history are added."""
    document = last_run.last_run_document(None, run=a_run())

    assert document == {
        "schema_version": 1,
        **a_run(),
        "last_success": FINISHED,
        "consecutive_failures": 0,
    }


@pytest.mark.parametrize(
    ("previous", "exit_code", "last_success", "failures"),
    [
        (None, 0, FINISHED, 0),
        (None, 1, None, 1),
        ({"last_success": "before", "consecutive_failures": 0}, 0, FINISHED, 0),
        ({"last_success": "before", "consecutive_failures": 0}, 69, "before", 1),
        ({"last_success": "before", "consecutive_failures": 4}, 143, "before", 5),
        ({"last_success": "before", "consecutive_failures": 4}, 0, FINISHED, 0),
        ({"consecutive_failures": "lots"}, 1, None, 1),
    ],
)
def test_history_is_carried_over(
    previous: dict[str, object] | None,
    exit_code: int,
    last_success: str | None,
    failures: int,
) -> None:
    """The last success stays until the next one, and failures in a row are counted."""
    document = last_run.last_run_document(previous, run=a_run(exit_code=exit_code))

    assert document["last_success"] == last_success
    assert document["consecutive_failures"] == failures


def test_a_million_errors_never_fill_the_disk() -> None:
    """Only the first errors are kept, from any sequence."""
    errors = tuple({"mapping": "web", "key": str(n), "error": "bad"} for n in range(1000))
    document = last_run.last_run_document(None, run=a_run(errors=errors))

    assert [error["key"] for error in document["errors"]] == [str(n) for n in range(50)]


def test_the_run_is_copied() -> None:
    """What the caller changes later does not change the document."""
    totals: dict[str, object] = {"copied": 1}
    document = last_run.last_run_document(None, run=a_run(totals=totals))
    totals["copied"] = 2

    assert document["totals"] == {"copied": 1}


def test_a_skip_is_carried_over() -> None:
    """The next result keeps when the lock was last found held."""
    before = last_run.note_skipped(None, "2026-11-22T20:52:00Z", HOLDER)
    document = last_run.last_run_document(before, run=a_run())

    assert document["last_skipped"] == {"when": "2026-11-22T20:52:00Z", "holder": HOLDER}


def test_a_skip_leaves_the_result_as_it_was() -> None:
    """Only `last_skipped` is added, and the document given is not changed."""
    before = last_run.last_run_document(None, run=a_run())
    after = last_run.note_skipped(before, "2026-11-22T20:57:00Z", HOLDER)

    assert "last_skipped" not in before
    assert after == {
        **before,
        "last_skipped": {"when": "2026-11-22T20:57:00Z", "holder": HOLDER},
    }


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Reading gives what was written, and leaves no other file."""
    document = last_run.last_run_document(None, run=a_run(role="größe"))
    last_run.write_last_run(str(tmp_path), document)

    assert last_run.read_last_run(str(tmp_path)) == document
    assert [entry.name for entry in tmp_path.iterdir()] == ["last_run.json"]
    assert "größe" in (tmp_path / "last_run.json").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="no such modes there")
def test_everybody_may_read_the_result(tmp_path: Path) -> None:
    """The mode is 0644 whatever the umask, because monitoring runs as another user."""
    before = os.umask(0o077)
    try:
        last_run.write_last_run(str(tmp_path), {})
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "last_run.json").stat().st_mode)

    assert mode == 0o644


def test_no_document_is_none(tmp_path: Path) -> None:
    """Before the first pass, with or without a state_dir, there is nothing to read."""
    assert last_run.read_last_run(str(tmp_path)) is None
    assert last_run.read_last_run(str(tmp_path / "none")) is None


def test_a_skipped_pass_never_overwrites_the_last_result(tmp_path: Path) -> None:
    """A skip goes to a file of its own, also when the lock's holder wrote its result meanwhile."""
    last_run.write_last_run(str(tmp_path), {"run_id": "r1"})
    before = (tmp_path / "last_run.json").read_bytes()
    last_run.write_last_skipped(str(tmp_path), "2026-11-22T20:57:00Z", HOLDER)
    read = last_run.read_last_run(str(tmp_path))

    assert (tmp_path / "last_run.json").read_bytes() == before
    assert read == {
        "run_id": "r1",
        "last_skipped": {"when": "2026-11-22T20:57:00Z", "holder": HOLDER},
    }


def test_a_skip_before_any_result_is_read(tmp_path: Path) -> None:
    """When no pass has ended yet, the skip alone is there."""
    last_run.write_last_skipped(str(tmp_path), "2026-11-22T20:57:00Z", {})

    assert last_run.read_last_run(str(tmp_path)) == {
        "schema_version": 1,
        "last_skipped": {"when": "2026-11-22T20:57:00Z", "holder": {}},
    }


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[1]", b"[" * 100_000])
@pytest.mark.parametrize("name", ["last_run.json", "last_skipped.json"])
def test_garbage_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that no pass wrote is named, with what to do about it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DirectoryError, match="expected what a pass wrote") as caught:
        last_run.read_last_run(str(tmp_path))

    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.remedy == "remove the file; the next pass writes a new one"


def test_an_unreadable_document_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is not taken for an absent one."""
    (tmp_path / "last_run.json").mkdir()
    with pytest.raises(DirectoryError, match=r"last_run\.json.*cannot be read") as caught:
        last_run.read_last_run(str(tmp_path))

    assert "root" in caught.value.remedy


def test_a_missing_state_dir_is_named(tmp_path: Path) -> None:
    """When the document cannot be written, the path and the remedy are told."""
    with pytest.raises(DirectoryError, match=r"last_run\.json.*cannot be written") as caught:
        last_run.write_last_run(str(tmp_path / "none"), {})

    assert "state_dir must exist" in caught.value.remedy


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_never_costs_the_old_result(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new document does not fit, the old one stays and no piece is left over."""
    last_run.write_last_run(str(tmp_path), {"run_id": "old"})

    def refuse(_descriptor: int) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFull):
        last_run.write_last_run(str(tmp_path), {"run_id": "new"})

    assert last_run.read_last_run(str(tmp_path)) == {"run_id": "old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last_run.json"]


def test_a_key_that_is_no_text_never_costs_the_result(tmp_path: Path) -> None:
    """Escapes and lone surrogates are written as text, so that the file is JSON for every reader."""
    key = "\x1b[31m" + os.fsdecode(b"caf\xe9")
    last_run.write_last_run(str(tmp_path), {"errors": [{"key": key, key: 1}]})
    text = (tmp_path / "last_run.json").read_text(encoding="utf-8")

    assert json.loads(text) == {
        "errors": [{"key": r"\x1b[31mcaf\udce9", r"\x1b[31mcaf\udce9": 1}]
    }
    assert text.replace("\n", "").isprintable()


def render(**changes: object) -> str:
    before = {"last_success": "2026-11-21T20:55:00Z", "consecutive_failures": 2}
    return last_run.render_status(
        last_run.last_run_document(before, run=a_run(**changes)), NOW
    )


def test_success_is_told_in_few_lines() -> None:
    """When, how long ago, the result, the totals, and one line a mapping."""
    assert render() == (
        "last pass:    2026-11-22 20:55:00 UTC (5 minutes ago), slave, took 12.3 s\n"
        "result:       in sync\n"
        "in all:       12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  web: in sync: 12 copied, 1,034 unchanged, 1,234,567 bytes\n"
    )


def test_failure_is_told_with_what_to_do() -> None:
    """The cause, the history, the errors, and a remedy for each cause, once."""
    text = render(
        **FAILED,
        mappings=[
            mapping(),
            mapping(name="a", exit_code=77, cause="noperm", error="denied", copied=0),
            mapping(name="b", exit_code=77, cause="noperm", error="denied", copied=0),
        ],
        errors=[
            {"mapping": "web", "key": "a.png", "error": "got 1 byte", "remedy": "look"},
            {"mapping": "a", "key": "", "error": "denied"},
        ],
    )

    assert text == (
        "last pass:    2026-11-22 20:55:00 UTC (5 minutes ago), slave, took 12.3 s\n"
        "result:       partial (exit status 1), 3 failures in a row\n"
        "last success: 2026-11-21 20:55:00 UTC (1 day ago)\n"
        "in all:       12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  web: in sync: 12 copied, 1,034 unchanged, 1,234,567 bytes\n"
        "  a: noperm (exit status 77): 1,034 unchanged, 1,234,567 bytes: denied\n"
        "  b: noperm (exit status 77): 1,034 unchanged, 1,234,567 bytes: denied\n"
        "errors:\n"
        '  web: "a.png" got 1 byte\n'
        "    look\n"
        "  a: denied\n"
        "what to do:   check the credentials and the bucket policy (samples are in etc/iam)\n"
        "what to do:   the next pass tries again; the log says more\n"
    )


def test_the_first_errors_are_told_and_the_others_counted() -> None:
    """A long list does not fill the screen."""
    errors = [{"mapping": "web", "key": f"k{n}", "error": "bad"} for n in range(13)]
    text = render(**FAILED, errors=errors)

    assert '"k9"' in text
    assert '"k10"' not in text
    assert "  and 3 more in last_run.json\n" in text


def test_an_unknown_cause_has_no_remedy() -> None:
    """A cause from a newer version is told as it is."""
    text = render(exit_code=99, cause="novel")

    assert "novel (exit status 99)" in text
    assert "what to do" not in text


def test_no_pass_is_told() -> None:
    """Before the first pass, that is said."""
    assert last_run.render_status(None, NOW) == "no pass has ended yet\n"


@pytest.mark.parametrize(
    ("holder", "more"),
    [(HOLDER, "              pid 4711, run_id r0, started 2026-11-22T20:50:00Z\n"), ({}, "")],
)
def test_a_skip_is_told(holder: dict[str, object], more: str) -> None:
    """When the lock was found held, and by whom where that is known."""
    document = last_run.note_skipped(None, "2026-11-22T20:57:00Z", holder)

    assert last_run.render_status(document, NOW) == (
        "no pass has ended yet\n"
        "last skipped: 2026-11-22 20:57:00 UTC (3 minutes ago), another pass held the lock\n"
        + more
    )


def test_an_escape_sequence_in_the_status_never_reaches_the_terminal() -> None:
    """Every text is escaped, also in a document that something else wrote."""
    bad = "\x1b[2J\u202e"
    document = {
        "exit_code": 1,
        **dict.fromkeys(("cause", "role", "finished", "seconds", "last_success"), bad),
        "mappings": [dict.fromkeys(("name", "cause", "error"), bad)],
        "errors": [dict.fromkeys(("mapping", "key", "error", "remedy"), bad)],
        "last_skipped": {"when": bad, "holder": {bad: bad}},
    }
    text = last_run.render_status(document, NOW)

    assert text.replace("\n", "").isprintable()
    assert text.count(r"\x1b[2J\u202e") == 14


@pytest.mark.parametrize("value", [None, 1, "text", [], [1], {"a": 1}])
def test_a_document_of_another_shape_is_told_as_far_as_it_goes(value: Any) -> None:
    """No value of any field breaks the rendering."""
    names = ("exit_code", "role", "finished", "seconds", "totals", "mappings", "errors")
    document = dict.fromkeys(
        (*names, "consecutive_failures", "last_success", "last_skipped"), value
    )

    assert last_run.render_status(document, NOW).startswith("last pass:")


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=-5), "in the future: is the clock right?"),
        (timedelta(0), "just now"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=2), "2 minutes ago"),
        (timedelta(hours=1, minutes=59), "1 hour ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_ages(age: timedelta, expected: str) -> None:
    """How long ago is told in the largest whole unit."""
    text = render(finished=(NOW - age).isoformat())

    assert f"({expected})" in text


def test_a_time_without_a_zone_is_utc() -> None:
    """Such a time does not break the arithmetic."""
    assert "20:55:00 UTC (5 minutes ago)" in render(finished="2026-11-22T20:55:00")


def test_a_first_failure_has_no_success_before_it() -> None:
    """Without any success that is said, and one failure is not called a row."""
    document = last_run.last_run_document(None, run=a_run(**FAILED))
    text = last_run.render_status(document, NOW)

    assert "last success: never\n" in text
    assert "in a row" not in text


def test_a_pass_over_some_mappings_moves_no_count_of_the_whole() -> None:
    """Neither does its success end a row of failures, nor its failure begin one; people are told which it was."""
    failed = last_run.last_run_document(None, run=a_run(**FAILED))
    after = last_run.last_run_document(failed, run=a_run(only=("web", "a\nb")))
    again = last_run.last_run_document(after, run=a_run(**FAILED, only=("web",)))

    for document in (after, again):
        assert (document["last_success"], document["consecutive_failures"]) == (None, 1)
    assert r"only:         web, a\x0ab" in last_run.render_status(after, NOW)


def test_no_error_is_longer_than_people_read() -> None:
    """What a server answered, however long, does not fill the document."""
    errors = [{"mapping": "web", "key": "k", "error": "x" * 100_000}]
    document = last_run.last_run_document(
        None, run=a_run(**FAILED, errors=errors, mappings=[mapping(error="y" * 100_000)])
    )

    assert len(json.dumps(document)) < 4000
