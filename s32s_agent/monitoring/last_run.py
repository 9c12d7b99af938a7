"""Keep what the last pass did in `last_run.json`, and tell people.

Needs no network and no lock, and never decides an exit status. A pass that found the lock held writes another file, so
that it cannot overwrite the result of the pass that it met.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from s32s_agent.errors import (
    AccessDenied,
    DirectoryError,
    StoreUnavailable,
)
from s32s_agent.monitoring.lastrun import (
    MAX_ERRORS,
    MAX_MESSAGE,
    SCHEMA_VERSION,
    TOTALS,
    has_result,
    moment,
    number,
    outcome,
    record,
    records,
    short,
    span,
    whole,
    word,
)
from s32s_agent.state.files import read_file, replace_file
from s32s_agent.text import printable

LAST_RUN = "last_run.json"
LAST_SKIPPED = "last_skipped.json"
MAX_SHOWN_ERRORS = 10
"""Errors that people are shown."""

_COUNTS = (*TOTALS, "withheld")
_REMEDIES = {
    "partial": "the next pass tries again; the log says more",
    "refused": "look at the plan with --dry-run; where a guard can be lifted, its reason says how",
    "dataerr": "correct the map file; --check names every problem",
    "unavailable": StoreUnavailable.remedy,
    "software": "this is a bug; please report it with the traceback from the log",
    "cantcreat": "check the directory's owner, its free space, and the unit's ReadWritePaths=",
    "noperm": AccessDenied.remedy,
    "config": "correct the config file; --check names every problem",
}


def last_run_document(
    previous: Mapping[str, object] | None, *, run: Mapping[str, object]
) -> dict[str, Any]:
    """Make the document of a pass that ended, however it ended.

    Args:
        previous: The document before, for what is carried over; None at the first pass.
        run: `agent_version, hostname, run_id, role, started, finished, seconds, exit_code, cause, mappings, totals,
            errors`; plain values, times in ISO 8601. `only` names the mappings of a pass that left others out: it says
            nothing of the whole, so the last success and the failures in a row stay as they were.
    """
    before = previous or {}
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **_plain(run)}
    for name, most in (("errors", MAX_ERRORS), ("mappings", None)):
        document[name] = [_bounded(each) for each in records(document.get(name))[:most]]
    document["last_success"] = before.get("last_success")
    document["consecutive_failures"] = whole(before.get("consecutive_failures"))
    if "last_skipped" in before:
        document["last_skipped"] = before["last_skipped"]
    if "only" in run:
        return document
    if run.get("exit_code") == 0:
        document["last_success"] = document.get("finished")
        document["consecutive_failures"] = 0
    else:
        document["consecutive_failures"] += 1
    return document


def _bounded(texts: Mapping[str, object]) -> dict[str, object]:
    return {
        name: short(value, MAX_MESSAGE) if isinstance(value, str) else value
        for name, value in texts.items()
    }


def note_skipped(
    previous: Mapping[str, object] | None, when_iso: str, holder: Mapping[str, object]
) -> dict[str, Any]:
    """Add to a document that a pass found the lock held; the last result stays as it was.

    Args:
        previous: The document so far; None when no pass has ended yet.
        when_iso: When the lock was found held, ISO 8601.
        holder: Who held it, as `lock.read_holder` says.
    """
    document = dict(previous) if previous else {"schema_version": SCHEMA_VERSION}
    document["last_skipped"] = _plain({"when": when_iso, "holder": holder})
    return document


def write_last_run(state_dir: str, document: Mapping[str, object]) -> None:
    """Replace `last_run.json`; a reader sees the old document or the new one, whole.

    Raises:
        DirectoryError: `state_dir` cannot be written; `DiskFull` when it is full. The old document stays.
    """
    _replace(Path(state_dir, LAST_RUN), document)


def write_last_skipped(state_dir: str, when_iso: str, holder: Mapping[str, object]) -> None:
    """Remember that a pass found the lock held; `read_last_run` adds it to the last result.

    Raises:
        DirectoryError: `state_dir` cannot be written; `DiskFull` when it is full.
    """
    _replace(Path(state_dir, LAST_SKIPPED), {"when": when_iso, "holder": dict(holder)})


def read_last_run(state_dir: str) -> dict[str, Any] | None:
    """Read what the last pass did, and the last time that one found the lock held; None when there was neither.

    Raises:
        DirectoryError: A file is there but cannot be read, or is not what this program writes.
    """
    document = _read(Path(state_dir, LAST_RUN))
    skipped = _read(Path(state_dir, LAST_SKIPPED))
    if skipped is None:
        return document
    return note_skipped(document, str(skipped.get("when")), record(skipped.get("holder")))


def render_status(document: Mapping[str, object] | None, now: datetime) -> str:
    """Write the last result for people; any document will do, also one of another version.

    Args:
        document: As `read_last_run` gives it.
        now: With a time zone.
    """
    return "\n".join(_lines(document or {}, now)) + "\n"


def _lines(document: Mapping[str, object], now: datetime) -> Iterator[str]:
    if has_result(document):
        yield from _result(document, now)
        yield from map(_mapping_line, records(document.get("mappings")))
        yield from _error_lines(document)
    else:
        yield "no pass has ended yet"
    if skipped := record(document.get("last_skipped")):
        holder = record(skipped.get("holder"))
        who = ", ".join(f"{word(name)} {word(value)}" for name, value in holder.items())
        yield f"last skipped: {_when(skipped.get('when'), now)}, another pass held the lock"
        if who:
            yield f"              {who}"


def _result(document: Mapping[str, object], now: datetime) -> Iterator[str]:
    role, seconds = word(document.get("role")), _decimal(document.get("seconds"))
    yield f"last pass:    {_when(document.get('finished'), now)}, {role}, took {seconds} s"
    if isinstance(only := document.get("only"), list):
        yield f"only:         {', '.join(map(word, only))}"
    result = outcome(document)
    failures = whole(document.get("consecutive_failures"))
    yield f"result:       {result}" + (
        f", {failures} failures in a row" if failures > 1 else ""
    )
    if document["exit_code"] != 0:
        success = document.get("last_success")
        yield f"last success: {_when(success, now) if success else 'never'}"
    yield f"in all:       {_counts(record(document.get('totals')))}"


def _mapping_line(mapping: Mapping[str, object]) -> str:
    line = f"  {word(mapping.get('name'))}: {outcome(mapping)}: {_counts(mapping)}"
    error = mapping.get("error")
    return f"{line}: {word(error)}" if error else line


def _error_lines(document: Mapping[str, object]) -> Iterator[str]:
    errors = records(document.get("errors"))
    if errors:
        yield "errors:"
    for error in errors[:MAX_SHOWN_ERRORS]:
        where = f' "{word(error["key"])}"' if error.get("key") else ""
        yield f"  {word(error.get('mapping'))}:{where} {word(error.get('error'))}"
        if error.get("remedy"):
            yield f"    {word(error['remedy'])}"
    if len(errors) > MAX_SHOWN_ERRORS:
        yield f"  and {len(errors) - MAX_SHOWN_ERRORS} more in {LAST_RUN}"
    causes = (*records(document.get("mappings")), document)
    remedies = (_REMEDIES.get(word(each.get("cause"))) for each in causes)
    for remedy in dict.fromkeys(filter(None, remedies)):
        yield f"what to do:   {remedy}"


def _counts(record: Mapping[str, object]) -> str:
    counts = [f"{whole(record.get(name)):,} {name}" for name in _COUNTS if record.get(name)]
    return ", ".join((*counts, f"{whole(record.get('bytes')):,} bytes"))


def _when(value: object, now: datetime) -> str:
    time = moment(value)
    if time is None:
        return word(value)
    return f"{time:%Y-%m-%d %H:%M:%S} UTC ({_age((now - time).total_seconds())})"


def _age(seconds: float) -> str:
    if seconds < 0:
        return "in the future: is the clock right?"
    return f"{span(seconds)} ago" if span(seconds) else "just now"


def _decimal(value: object) -> str:
    decimal = number(value)
    return "?" if decimal is None else f"{decimal:.1f}"


def _plain(value: object) -> Any:
    """Copy a value into dicts and lists, its texts printable: the file is read on terminals too."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(name)): _plain(content) for name, content in value.items()}
    if isinstance(value, Collection):
        return [_plain(element) for element in value]
    return value


def _read(path: Path) -> dict[str, Any] | None:
    remedy = "remove the file; the next pass writes a new one"
    try:
        document = json.loads(read_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{_quoted(path)}: cannot be read: {error.strerror}"
        raise DirectoryError(
            message, remedy="run it as the agent's user, or as root"
        ) from error
    except (ValueError, RecursionError) as error:
        message = f"{_quoted(path)}: not JSON, expected what a pass wrote"
        raise DirectoryError(message, remedy=remedy) from error
    if not isinstance(document, dict):
        message = f"{_quoted(path)}: no object, expected what a pass wrote"
        raise DirectoryError(message, remedy=remedy)
    return document


def _replace(path: Path, document: Mapping[str, object]) -> None:
    data = (json.dumps(_plain(document), ensure_ascii=False, indent=2) + "\n").encode()
    # Readable by everybody: `--status` needs no rights.
    replace_file(path, data, mode=0o644)


def _quoted(path: Path) -> str:
    return f'"{printable(str(path))}"'
