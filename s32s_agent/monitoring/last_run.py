"""The record of the last run: what `last_run.json`, the report of the fleet, the ping and the metrics say.

Built by a run, written to `state_dir`, and read again by `--status`, by the next run and, from the fleet's bucket, by
`--fleet`. A bucket may hold anything, and so may a file: reading takes every value of every type, keeps what has a
meaning, and believes nothing else. Every text of a record is printable and short, however it was built.

Reading and writing need no network and no lock. A run that found the lock held writes a file of its own, so that it
cannot overwrite the record of the run that holds the lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from s32s_agent.errors import DirectoryError
from s32s_agent.monitoring.untrusted import (
    as_count,
    as_number,
    as_object,
    as_objects,
    as_text,
    as_time,
)
from s32s_agent.state.files import read_file, replace_file
from s32s_agent.text import printable, shortened

LAST_RUN = "last_run.json"
LAST_SKIPPED = "last_skipped.json"
SCHEMA_VERSION = 1
MAX_ERRORS = 50
"""Errors that a record keeps."""
MAX_TEXT = 1000
"""Characters of each text in a record."""
UNREADABLE = -1
"""Stands for an exit status that is not a number, so that it is not taken for a success."""
_MAX_EXIT_CODE = 255
COUNTS = ("copied", "deleted", "unchanged", "skipped", "failed")
"""What is counted of files, in a run and in each of its mappings."""

ExitCode: TypeAlias = int
T = TypeVar("T")
_IDENTITY = ("schema_version", "agent_version", "hostname", "run_id", "role", "started")
"""What is known of a run from its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingResult:
    """How one mapping ended."""

    name: str
    s3: str = ""
    """`bucket/prefix`; "" when the mapping itself is wrong, as is `directory`."""
    directory: str = ""
    exit_code: ExitCode = 0
    """The exit status that this mapping alone would give."""
    cause: str = ""
    """The name of that status; "" when the mapping is in sync."""
    error: str = ""
    """What ended the mapping before its work was done."""
    copied: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    """Of the files that were copied."""
    withheld: int = 0
    """Deletes that a guard held back."""
    seconds: float | None = 0.0
    snapshot: str = ""
    """The snapshot that was followed or published; "" without snapshots, or when none could be read."""
    channel: str = ""
    """The channel of the mapping; "" without snapshots."""
    pinned: str = ""
    """The snapshot to which the mapping is pinned; "" when it follows its channel."""

    def __post_init__(self) -> None:
        _make_printable(self)

    @property
    def outcome(self) -> str:
        """How the mapping ended, for people."""
        return _outcome(self.exit_code, self.cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All mappings together."""

    mappings: int = 0
    failed_mappings: int = 0
    copied: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunError:
    """One error of a run."""

    mapping: str
    """The mapping's name; "" for an error of the whole run."""
    key: str
    """The entry's; "" when the error concerns more than one entry."""
    error: str
    remedy: str = ""
    """What the operator can do; "" when the error says it."""

    def __post_init__(self) -> None:
        _make_printable(self)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A run that did nothing, because another run held the lock."""

    when: datetime | None
    holder: Mapping[str, object]
    """What is known of the run that held the lock: `pid`, `run_id`, `started`."""

    def __post_init__(self) -> None:
        holder = {
            _short(name): value if isinstance(value, int) else _short(as_text(value))
            for name, value in self.holder.items()
        }
        object.__setattr__(self, "holder", holder)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Skipped:
        """Read what an object says of a run that was skipped."""
        return cls(as_time(document.get("when")), as_object(document.get("holder")))


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """What a run did, and the history before it. Empty, it says that no run has ended yet.

    Times are in UTC, and None when they are not known. The order of the fields is that of the file.
    """

    schema_version: int = SCHEMA_VERSION
    agent_version: str = ""
    hostname: str = ""
    run_id: str = ""
    role: str = ""
    started: datetime | None = None
    only: tuple[str, ...] = ()
    """The names of the mappings, when the run left others out; () for a full run."""
    finished: datetime | None = None
    seconds: float | None = None
    exit_code: ExitCode | None = None
    """None before a run has ended."""
    cause: str = ""
    """The name of the exit status; "" when everything is in sync."""
    mappings: tuple[MappingResult, ...] = ()
    totals: Totals = Totals()
    errors: tuple[RunError, ...] = ()
    last_success: datetime | None = None
    """When the last full run that ended in sync had finished; None for never."""
    consecutive_failures: int = 0
    """Full runs that failed since then."""
    last_skipped: Skipped | None = None

    def __post_init__(self) -> None:
        _make_printable(self)
        object.__setattr__(self, "only", tuple(map(_short, self.only)))
        object.__setattr__(self, "errors", self.errors[:MAX_ERRORS])

    @property
    def has_ended(self) -> bool:
        """Whether a run has ended; before the first one, only `last_skipped` may be known."""
        return self.exit_code is not None

    @property
    def outcome(self) -> str:
        """How the run ended, for people."""
        return _outcome(self.exit_code, self.cause)

    def file_counts(self) -> dict[str, int]:
        """Return what became of files in all mappings, with the deletes that were withheld."""
        counts: dict[str, int] = {name: getattr(self.totals, name) for name in COUNTS}
        return {**counts, "withheld": sum(mapping.withheld for mapping in self.mappings)}

    def following(self, previous: LastRun | None) -> LastRun:
        """Return this record with the history that follows from the record of the run before.

        A run over some mappings says nothing of the others, so it changes neither the last success nor the count of
        failures.
        """
        before = previous or LastRun()
        success, failures = before.last_success, before.consecutive_failures
        if not self.only:
            success = self.finished if self.exit_code == 0 else success
            failures = 0 if self.exit_code == 0 else failures + 1
        return replace(
            self,
            last_success=success,
            consecutive_failures=failures,
            last_skipped=before.last_skipped,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> LastRun:
        """Read a record, of whatever version and from whatever writer."""
        only = document.get("only")
        exit_code = document.get("exit_code")
        skipped = as_object(document.get("last_skipped"))
        return cls(
            **_read_fields(cls, document),
            only=tuple(map(as_text, only)) if isinstance(only, list) else (),
            exit_code=_as_exit_code(exit_code) if "exit_code" in document else None,
            mappings=_read_all(MappingResult, document.get("mappings")),
            totals=Totals(**_read_fields(Totals, as_object(document.get("totals")))),
            errors=_read_all(RunError, document.get("errors")),
            last_skipped=Skipped.from_json(skipped) if skipped else None,
        )

    def to_json(self) -> dict[str, object]:
        """Return the record as plain values; of a run that has not ended, only which one it is."""
        document: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            is_optional = field.name in ("only", "last_skipped")
            if value if is_optional else self.has_ended or field.name in _IDENTITY:
                document[field.name] = _plain(value)
        return document


# --- the files ---


def write_last_run(state_dir: str, run: LastRun) -> None:
    """Replace `last_run.json`; a reader sees the old record or the new one, whole.

    Raises:
        DirectoryError: `state_dir` cannot be written; `DiskFull` when it is full. The old record stays.
    """
    _replace(Path(state_dir, LAST_RUN), run.to_json())


def write_last_skipped(state_dir: str, skipped: Skipped) -> None:
    """Write that a run found the lock held; `read_last_run` adds it to the last record.

    Raises:
        DirectoryError: `state_dir` cannot be written; `DiskFull` when it is full.
    """
    _replace(Path(state_dir, LAST_SKIPPED), _plain(skipped))


def read_last_run(state_dir: str) -> LastRun | None:
    """Read what the last run did, and when a run last found the lock held; None when there was neither.

    Raises:
        DirectoryError: A file is there but cannot be read, or is not what this program writes.
    """
    document = read_document(state_dir)
    return None if document is None else LastRun.from_json(document)


def read_document(state_dir: str) -> dict[str, Any] | None:
    """Read the same as the JSON object that it is, with the fields that only other versions know.

    Raises:
        DirectoryError: A file is there but cannot be read, or is not what this program writes.
    """
    document = _read(Path(state_dir, LAST_RUN))
    skipped = _read(Path(state_dir, LAST_SKIPPED))
    if skipped is None:
        return document
    document = {"schema_version": SCHEMA_VERSION} if document is None else document
    return {**document, "last_skipped": _plain(Skipped.from_json(skipped))}


def _read(path: Path) -> dict[str, Any] | None:
    remedy = "remove the file; the next run writes a new one"
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
        message = f"{_quoted(path)}: not JSON, expected what a run wrote"
        raise DirectoryError(message, remedy=remedy) from error
    if not isinstance(document, dict):
        message = f"{_quoted(path)}: not a JSON object, expected what a run wrote"
        raise DirectoryError(message, remedy=remedy)
    return document


def _replace(path: Path, document: object) -> None:
    data = (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
    # Readable by everyone: `--status` needs no rights.
    replace_file(path, data, mode=0o644)


def _quoted(path: Path) -> str:
    return f'"{printable(str(path))}"'


# --- values ---


def _read_fields(record: type[Any], document: Mapping[str, object]) -> dict[str, Any]:
    """Read the fields of a record that hold one value; each type has one reader."""
    return {
        field.name: _READERS[field.type](document.get(field.name))
        for field in fields(record)
        if field.type in _READERS
    }


def _read_all(record: type[T], documents: object) -> tuple[T, ...]:
    """Read a list of records."""
    return tuple(record(**_read_fields(record, each)) for each in as_objects(documents))


def _as_exit_code(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_EXIT_CODE:
        return value
    return UNREADABLE


_READERS: dict[Any, Callable[[object], object]] = {
    "str": as_text,
    "int": as_count,
    "ExitCode": _as_exit_code,
    "float | None": as_number,
    "datetime | None": as_time,
}


def _plain(value: object) -> object:
    """Return a value, or the fields of a record, as JSON has them."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    if isinstance(value, (MappingResult, Totals, RunError, Skipped)):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _make_printable(record: MappingResult | RunError | LastRun) -> None:
    """Make every text of a record printable, since people read it on terminals, and short."""
    for field in fields(record):
        if field.type == "str":
            object.__setattr__(record, field.name, _short(getattr(record, field.name)))


def _short(text: str) -> str:
    return shortened(printable(text), MAX_TEXT)


def _outcome(exit_code: int | None, cause: str) -> str:
    if exit_code == 0:
        return "in sync"
    status = "?" if exit_code in (None, UNREADABLE) else exit_code
    return f"{cause or '?'} (exit status {status})"
