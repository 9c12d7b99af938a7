"""The record of the last run: written whole, carried over, and read from whoever wrote it."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import JSON
from support.records import EARLIER, FINISHED, HOLDER, SKIPPED_AT, a_run, mapping

from s32s_agent.errors import DirectoryError, DiskFull
from s32s_agent.monitoring import last_run
from s32s_agent.monitoring.last_run import (
    LastRun,
    MappingResult,
    RunError,
    Skipped,
    Totals,
    read_last_run,
    write_last_run,
)

FAILED: dict[str, Any] = {"exit_code": 1, "cause": "partial"}
FILE = """\
{
  "schema_version": 1,
  "agent_version": "0.1.0",
  "hostname": "web1",
  "run_id": "r1",
  "role": "slave",
  "started": "2026-11-22T20:54:48+00:00",
  "only": [
    "größe"
  ],
  "finished": "2026-11-22T20:55:00+00:00",
  "seconds": 12.34,
  "exit_code": 1,
  "cause": "partial",
  "mappings": [
    {
      "name": "größe",
      "s3": "bucket/web",
      "directory": "/srv/www",
      "exit_code": 1,
      "cause": "partial",
      "error": "",
      "copied": 12,
      "deleted": 0,
      "unchanged": 1034,
      "skipped": 0,
      "failed": 1,
      "bytes": 1234567,
      "withheld": 3,
      "seconds": 2.5,
      "snapshot": "",
      "channel": "",
      "pinned": ""
    }
  ],
  "totals": {
    "mappings": 1,
    "failed_mappings": 1,
    "copied": 12,
    "deleted": 0,
    "unchanged": 1034,
    "skipped": 0,
    "failed": 1,
    "bytes": 1234567
  },
  "errors": [
    {
      "mapping": "größe",
      "key": "a.png",
      "error": "got 1 byte",
      "remedy": "look"
    }
  ],
  "last_success": "2026-11-21T20:55:00+00:00",
  "consecutive_failures": 2,
  "last_skipped": {
    "when": "2026-11-22T20:57:00+00:00",
    "holder": {
      "pid": 4711,
      "run_id": "r0",
      "started": "2026-11-22T20:50:00+00:00"
    }
  }
}
"""
RECORD = a_run(
    **FAILED,
    only=("größe",),
    mappings=(mapping(**FAILED, name="größe", failed=1, withheld=3),),
    totals=Totals(
        mappings=1, failed_mappings=1, copied=12, unchanged=1034, failed=1, bytes=1234567
    ),
    errors=(RunError("größe", "a.png", "got 1 byte", "look"),),
    last_success=EARLIER,
    consecutive_failures=2,
    last_skipped=Skipped(SKIPPED_AT, HOLDER),
)


def test_the_file_has_the_format_that_monitoring_reads(tmp_path: Path) -> None:
    """Names, order, types and layout are a public interface, byte for byte; what is read is what was written."""
    write_last_run(str(tmp_path), RECORD)

    assert (tmp_path / "last_run.json").read_text(encoding="utf-8") == FILE
    assert read_last_run(str(tmp_path)) == RECORD
    assert [entry.name for entry in tmp_path.iterdir()] == ["last_run.json"]


def test_what_is_known_at_the_start_is_which_run_it_is() -> None:
    """A run that has not ended has no result in its JSON."""
    begun = LastRun(run_id="r1", role="slave", hostname="web1", started=FINISHED)

    assert begun.to_json() == {
        "schema_version": 1,
        "agent_version": "",
        "hostname": "web1",
        "run_id": "r1",
        "role": "slave",
        "started": "2026-11-22T20:55:00+00:00",
    }


@pytest.mark.parametrize(
    ("previous", "exit_code", "last_success", "failures"),
    [
        (None, 0, FINISHED, 0),
        (None, 1, None, 1),
        (LastRun(last_success=EARLIER), 0, FINISHED, 0),
        (LastRun(last_success=EARLIER), 69, EARLIER, 1),
        (LastRun(last_success=EARLIER, consecutive_failures=4), 143, EARLIER, 5),
        (LastRun(last_success=EARLIER, consecutive_failures=4), 0, FINISHED, 0),
        (LastRun.from_json({"consecutive_failures": "lots", "last_success": 7}), 1, None, 1),
    ],
)
def test_history_is_carried_over(
    previous: LastRun | None,
    exit_code: int,
    last_success: datetime | None,
    failures: int,
) -> None:
    """The last success stays until the next one, and failures in a row are counted."""
    run = a_run(exit_code=exit_code).following(previous)

    assert (run.last_success, run.consecutive_failures) == (last_success, failures)


def test_a_million_errors_never_fill_the_disk() -> None:
    """Only the first errors are kept."""
    run = a_run(errors=tuple(RunError("web", str(n), "bad") for n in range(1000)))

    assert [error.key for error in run.errors] == [str(n) for n in range(50)]


def test_a_skip_is_carried_over() -> None:
    """The next result keeps when the lock was last found held."""
    before = LastRun(last_skipped=Skipped(SKIPPED_AT, HOLDER))

    assert a_run().following(before).last_skipped == before.last_skipped


@pytest.mark.skipif(os.name == "nt", reason="no such modes there")
def test_everyone_may_read_the_result(tmp_path: Path) -> None:
    """The mode is 0644 whatever the umask, because monitoring runs as another user."""
    before = os.umask(0o077)
    try:
        write_last_run(str(tmp_path), a_run())
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "last_run.json").stat().st_mode)

    assert mode == 0o644


def test_no_record_is_none(tmp_path: Path) -> None:
    """Before the first run, with or without a state_dir, there is nothing to read."""
    assert read_last_run(str(tmp_path)) is None
    assert read_last_run(str(tmp_path / "none")) is None


def test_a_skipped_run_never_overwrites_the_last_result(tmp_path: Path) -> None:
    """A skip goes to a file of its own, also when the lock's holder wrote its result meanwhile."""
    run, skipped = a_run(), Skipped(SKIPPED_AT, HOLDER)
    write_last_run(str(tmp_path), run)
    before = (tmp_path / "last_run.json").read_bytes()
    last_run.write_last_skipped(str(tmp_path), skipped)

    assert (tmp_path / "last_run.json").read_bytes() == before
    assert read_last_run(str(tmp_path)) == a_run(last_skipped=skipped)


def test_a_skip_before_any_result_is_read(tmp_path: Path) -> None:
    """When no run has ended yet, the skip alone is there."""
    last_run.write_last_skipped(str(tmp_path), Skipped(SKIPPED_AT, {}))
    run = read_last_run(str(tmp_path))

    assert run == LastRun(last_skipped=Skipped(SKIPPED_AT, {}))
    assert run is not None
    assert not run.has_ended
    assert last_run.read_document(str(tmp_path)) == {
        "schema_version": 1,
        "last_skipped": {"when": "2026-11-22T20:57:00+00:00", "holder": {}},
    }


def test_scripts_see_the_fields_of_other_versions(tmp_path: Path) -> None:
    """The document for `--status --json` is what the file holds."""
    written = {"schema_version": 7, "exit_code": 0, "novel": [1, {"a": None}]}
    (tmp_path / "last_run.json").write_text(json.dumps(written))

    assert last_run.read_document(str(tmp_path)) == written


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[1]", b"[" * 100_000])
@pytest.mark.parametrize("name", ["last_run.json", "last_skipped.json"])
def test_garbage_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that no run wrote is named, with what to do about it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DirectoryError, match="expected what a run wrote") as caught:
        read_last_run(str(tmp_path))

    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.remedy == "remove the file; the next run writes a new one"


def test_an_unreadable_record_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is not taken for an absent one."""
    (tmp_path / "last_run.json").mkdir()
    with pytest.raises(DirectoryError, match=r"last_run\.json.*cannot be read") as caught:
        read_last_run(str(tmp_path))

    assert "root" in caught.value.remedy


def test_a_missing_state_dir_is_named(tmp_path: Path) -> None:
    """When the record cannot be written, the message has the path and the remedy."""
    with pytest.raises(DirectoryError, match=r"last_run\.json.*cannot be written") as caught:
        write_last_run(str(tmp_path / "none"), a_run())

    assert "state_dir must exist" in caught.value.remedy


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_never_costs_the_old_result(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new record does not fit, the old one stays and no piece is left over."""
    write_last_run(str(tmp_path), a_run(run_id="old"))

    def refuse(_descriptor: int) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFull):
        write_last_run(str(tmp_path), a_run(run_id="new"))

    assert read_last_run(str(tmp_path)) == a_run(run_id="old")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last_run.json"]


def test_a_key_that_is_no_text_never_costs_the_result(tmp_path: Path) -> None:
    """Escapes and lone surrogates are written as text, so that the file is JSON for every reader."""
    key = "\x1b[31m" + os.fsdecode(b"caf\xe9")
    write_last_run(
        str(tmp_path),
        a_run(
            only=(key,),
            mappings=(mapping(name=key),),
            errors=(RunError(key, key, key, key),),
            last_skipped=Skipped(None, {key: key}),
        ),
    )
    text = (tmp_path / "last_run.json").read_text(encoding="utf-8")

    assert text.count(r"\\x1b[31mcaf\\udce9") == 8
    assert text.replace("\n", "").isprintable()


def test_a_run_over_some_mappings_changes_no_count_of_the_whole() -> None:
    """Its success does not end a row of failures, and its failure does not begin one."""
    failed = a_run(**FAILED).following(None)
    after = a_run(only=("web", "a")).following(failed)
    again = a_run(**FAILED, only=("web",)).following(after)

    for run in (after, again):
        assert (run.last_success, run.consecutive_failures) == (None, 1)


def test_no_error_is_longer_than_people_read() -> None:
    """What a server answered, however long, does not fill the record."""
    run = a_run(
        **FAILED,
        errors=(RunError("web", "k", "x" * 100_000),),
        mappings=(mapping(error="y" * 100_000),),
    )

    assert len(json.dumps(run.to_json())) < 4000


# --- reading what another program wrote ---


@pytest.mark.parametrize("value", [None, False, True, 0.0, -1, 256, 10**20, "0", [], {}])
def test_an_exit_status_that_is_none_is_no_success(value: object) -> None:
    """Only the number 0 says that everything is in sync."""
    run = LastRun.from_json({"exit_code": value, "cause": "x"})

    assert run.has_ended
    assert run.exit_code != 0
    assert run.outcome == "x (exit status ?)"
    assert a_run(exit_code=run.exit_code).following(None).consecutive_failures == 1


def test_numbers_that_nothing_counted_are_none() -> None:
    """A count is a whole number of a size that can be; anything else is 0, or not known."""
    for value in (-1, 10**16, 1.5, True, "3", None, float("inf")):
        totals = LastRun.from_json({"totals": {"copied": value}}).totals
        assert totals.copied == 0
    assert LastRun.from_json({"seconds": float("nan")}).seconds is None
    assert LastRun.from_json({"seconds": 2}).seconds == 2.0


def test_a_time_without_a_zone_is_utc() -> None:
    """Such a time does not break the arithmetic."""
    naive, other, none = (
        LastRun.from_json({"finished": text}).finished
        for text in ("2026-11-22T20:55:00", "2026-11-22T21:55:00+01:00", "0001-01-01T00:00+20")
    )

    assert naive == other == FINISHED
    assert other is not None
    assert other.isoformat().endswith("+00:00")
    assert none is None


@given(st.dictionaries(st.sampled_from(sorted(RECORD.to_json())) | st.text(), JSON))
def test_whatever_a_document_holds_gives_a_record_that_can_be_written(
    document: dict[str, Any],
) -> None:
    """Every value of every type gives a record that can be written, and read again as the same."""
    run = LastRun.from_json(document)
    text = json.dumps(run.to_json(), ensure_ascii=False)

    assert text.isprintable()
    assert run.following(run).has_ended == run.has_ended
    if run.has_ended:
        assert LastRun.from_json(json.loads(text)) == run


def test_objects_that_are_none_are_left_out() -> None:
    """A list of mappings or errors with something else in it is read as far as it goes."""
    run = LastRun.from_json({"mappings": [1, {"name": "a"}, None], "errors": {"error": "x"}})

    assert run.mappings == (
        MappingResult(name="a", exit_code=last_run.UNREADABLE, seconds=None),
    )
    assert run.errors == ()
