"""A plan whose run is cancelled while workers carry it out: no entry is blamed, and nothing more is decided."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.contents import copy_of, entry_of, md5

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import Interrupted, RunTimedOut
from s32s_agent.model import (
    Check,
    Delete,
    Entry,
    IndexRow,
    Outcome,
    Plan,
    Stamp,
    Why,
    Withheld,
)
from s32s_agent.run.context import MappingContext
from s32s_agent.run.execute import carry_out
from s32s_agent.run.hashing import equal_by_hash
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.state.index import Index
from s32s_agent.stores.memory import MemoryStore

STAMP = Stamp(1, 2, 3, 4)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MappingContext]:
    """A mapping with one worker, and "old" at its target alone."""
    token = CancelToken()
    meter = Meter(Throttle(None, token), token, lambda _entries, _size: None)
    with contextlib.closing(Index(tmp_path / "index.db")) as index:
        rows = index.of_mapping("m")
        rows.remember([IndexRow("old", "e", STAMP)])
        source = MemoryStore({f"f{number}": b"data" for number in range(9)})
        yield MappingContext(source, MemoryStore({"old": b""}), rows, 1, meter)


def cancelling(cancellation: BaseException, key: str) -> Callable[..., object]:
    """Return a method of a store that is cancelled when it comes to a key."""

    def method(subject: object, *_: object) -> bool:
        found = getattr(subject, "entry", subject)
        if getattr(found, "key", found) == key:
            raise cancellation
        return True

    return method


@pytest.mark.parametrize("cancellation", [Interrupted(15), RunTimedOut("time is up")])
@pytest.mark.parametrize("verb", ["open", "put", "confirm_absent", "delete"])
def test_a_sigterm_that_is_taken_for_a_broken_entry_after_which_the_run_goes_on_deleting(
    context: MappingContext,
    monkeypatch: pytest.MonkeyPatch,
    cancellation: BaseException,
    verb: str,
) -> None:
    """Wherever a worker hears of it, the run ends with it: no outcome blames the entry, and no later delete is made."""
    copies = tuple(copy_of(key, b"data") for key in ("f3", "f4"))
    plan = Plan(copies=copies, deletes=(Delete(entry_of("old")),))
    store, key = {
        "open": (context.source, "f3"),
        "put": (context.target, "f3"),
        "confirm_absent": (context.source, "old"),
        "delete": (context.target, "old"),
    }[verb]
    monkeypatch.setattr(store, verb, cancelling(cancellation, key))
    found: list[Outcome | Withheld] = []

    with pytest.raises(type(cancellation)):
        found.extend(carry_out(plan, context))

    assert [each for each in found if isinstance(each, Withheld)] == []
    assert [each.error for each in found if isinstance(each, Outcome) and each.error] == []
    assert context.cancel_token.cancelled
    assert [row.key for row in context.index.rows() if row.key == "old"] == ["old"]
    assert isinstance(context.target, MemoryStore)
    assert "old" in context.target.entries


def test_a_sigterm_while_hashing_that_makes_files_look_changed(
    context: MappingContext,
) -> None:
    """A file that was not read to its end is neither equal nor different."""
    check = Check(Entry("a", 4, md5(b"data")), Entry("a", 4), Why.ETAG)

    def open_local(_: Check) -> contextlib.AbstractContextManager[MemoryStore]:
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        equal_by_hash(
            [check],
            open_local,  # type: ignore[arg-type]
            lambda each: (each.entry.etag or "", ()),
            1,
            context.meter,
        )
