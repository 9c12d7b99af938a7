"""A plan is carried out: in which order, what ends it, and what is held back."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.contents import Bytes, copy_of, entry_of, md5

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DirectoryError,
    DiskFull,
    EntryError,
    EntryUnreadable,
    IntegrityError,
    ListingInconsistent,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    IndexRow,
    Kind,
    Outcome,
    Plan,
    Stamp,
    Status,
    Why,
    Withheld,
)
from s32s_agent.run.context import MappingContext
from s32s_agent.run.copying import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    MAX_CONSECUTIVE_FAILURES,
    SMALL_BYTES,
)
from s32s_agent.run.execute import carry_out
from s32s_agent.run.hashing import equal_by_hash
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.run.staging import ATTEMPTS, ONE_PIECE
from s32s_agent.state.index import Index, MappingIndex
from s32s_agent.stores.base import Content, File, Published, RangedContent, Staged
from s32s_agent.stores.memory import MemoryStore
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.workers import IDLE_SECONDS

STAMP = Stamp(4, 1, 2, 3)


class Sleepless(CancelToken):
    """Counts the seconds instead of sleeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float, _heartbeat: Heartbeat | None = None) -> None:
        self.check()
        self.slept.append(seconds)


class Source(MemoryStore):
    """A store whose versions can be made to fail, by key."""

    def __init__(self, entries: dict[str, bytes] | None = None) -> None:
        super().__init__(entries)
        self.failures: dict[str, list[Exception]] = {}
        self.opened: list[str] = []
        self.asked: list[str] = []
        self.missed: set[str] = set()
        """What exists although no listing showed it."""
        self.when_asked: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        self.opened.append(entry.key)
        if failures := self.failures.get(entry.key):
            raise failures.pop(0)
        with super().open(entry) as content:
            yield content

    def confirm_absent(self, key: str) -> bool:
        self.asked.append(key)
        self.when_asked()
        return super().confirm_absent(key) and key not in self.missed


class Target(MemoryStore):
    """A store that notes what is done to it, in order."""

    def __init__(self, entries: dict[str, bytes] | None = None) -> None:
        super().__init__(entries)
        self.log: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.batches: list[int] = []
        self.discarded: list[str] = []
        self.refused: set[str] = set()
        """Keys that cannot be published."""
        self.stuck: dict[str, AgentError] = {}
        """What cannot be swept."""
        self.room = 0
        self.when_put: Callable[[str], None] = lambda _key: None

    def put(self, copy: Copy, content: Content, _heartbeat: Heartbeat = UNWATCHED) -> Staged:
        key = copy.entry.key
        self.when_put(key)
        if failures := self.failures.get(key):
            raise failures.pop(0)
        staged = super().put(copy, content)
        self.log.append(f"put {key}")
        return replace(staged, stamp=STAMP)

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        self.batches.append(len(staged))
        self.log += [f"show {each.copy.entry.key}" for each in staged]
        for each in staged:
            if each.copy.entry.key in self.refused:
                yield Published(each, None, EntryError("in the way"))
            else:
                yield from super().publish([each])

    def discard(self, staged: Staged) -> None:
        self.discarded.append(staged.copy.entry.key)
        super().discard(staged)

    def delete(self, entry: Entry) -> bool:
        self.log.append(f"delete {entry.key}")
        if failures := self.failures.get(entry.key):
            raise failures.pop(0)
        return super().delete(entry)

    def remove_leftovers(
        self, leftovers: Sequence[str] = (), copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        self.log.append("remove leftovers")
        return super().remove_leftovers(leftovers, copies) | self.stuck

    def free_space(self) -> bool:
        self.log.append("free space")
        self.room -= 1
        return self.room >= 0


@dataclass
class Bench:
    """A source, a target, an index, and what carries out plans between them."""

    source: Source
    target: Target
    index: MappingIndex
    cancel_token: Sleepless = field(default_factory=Sleepless)
    workers: int = 4
    progress: list[tuple[int, int]] = field(default_factory=list)

    @property
    def context(self) -> MappingContext:
        return MappingContext(
            self.source,
            self.target,
            self.index,
            self.workers,
            Meter(
                Throttle(None, self.cancel_token),
                self.cancel_token,
                lambda entries, size: self.progress.append((entries, size)),
            ),
        )

    def throttled(self, throttle: Throttle) -> MappingContext:
        """The same with another throttle."""
        context = self.context
        return replace(context, meter=replace(context.meter, throttle=throttle))

    def run(self, plan: Plan) -> list[Outcome | Withheld]:
        return list(carry_out(plan, self.context))

    def run_to_its_end(
        self, plan: Plan, error: type[BaseException]
    ) -> tuple[list[Outcome | Withheld], str]:
        """Carry out a plan that ends early; also give the error's message."""
        found: list[Outcome | Withheld] = []
        with pytest.raises(error) as caught:
            found.extend(carry_out(plan, self.context))
        return found, str(caught.value)

    def known(self) -> list[str]:
        return [row.key for row in self.index.rows()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with contextlib.closing(Index(tmp_path / "index.db")) as index:
        part = index.of_mapping("m")
        part.remember([IndexRow("old", "e", STAMP), IndexRow("x", "e", STAMP)])
        source = Source({"a": b"aaaa", "b": b"bbbb", "d/": b""})
        target = Target({"old": b"", "x": b"", "e/": b""})
        yield Bench(source, target, part)


def copies(source: MemoryStore, *names: str) -> tuple[Copy, ...]:
    return tuple(copy_of(name, source.entries[name]) for name in names)


def blocked(source: MemoryStore, *names: str) -> tuple[Copy, ...]:
    """Make copies in whose way something stands."""
    return tuple(each._replace(blocked=True) for each in copies(source, *names))


def deletes(*names: str) -> tuple[Delete, ...]:
    return tuple(Delete(entry_of(name)) for name in names)


def brief(found: Sequence[Outcome | Withheld]) -> dict[str, str]:
    return {each.key: each.status.value for each in found if isinstance(each, Outcome)}


# --- order ---


def test_the_whole_of_a_plan(bench: Bench) -> None:
    """Entries are copied; then way is made for those that are here already; then the rest goes, directories last."""
    bench.workers = 1
    bench.target.entries["b/in"] = b""
    plan = Plan(
        clears=deletes("b/in"),
        copies=(*copies(bench.source, "a", "d/"), *blocked(bench.source, "b")),
        deletes=deletes("old", "e/"),
        forgotten=("unknown",),
    )
    found = bench.run(plan)

    assert bench.target.log == [
        "remove leftovers",
        "put a",
        "put d/",
        "show a",
        "show d/",
        "put b",
        "delete b/in",
        "show b",
        "delete old",
        "delete e/",
    ]
    assert brief(found) == {
        "a": "copied",
        "d/": "copied",
        "b/in": "deleted",
        "b": "copied",
        "old": "deleted",
        "e/": "deleted",
    }
    assert bench.target.entries == {"a": b"aaaa", "b": b"bbbb", "d/": b"", "x": b""}
    assert bench.known() == ["a", "b", "d/", "x"]
    assert bench.source.asked == ["b/in", "b/in", "old"]


def test_a_copy_is_told_with_what_proved_it(bench: Bench) -> None:
    """An outcome has the size, the reason and the proof, and the index learns the version and the stamp."""
    (outcome,) = bench.run(Plan(copies=copies(bench.source, "a")))
    assert isinstance(outcome, Outcome)

    assert replace(outcome, seconds=0) == Outcome(
        Status.COPIED, "a", 4, Why.NEW, verified="md5"
    )
    assert next(bench.index.rows()) == IndexRow("a", md5(b"aaaa"), STAMP)


def test_progress(bench: Bench) -> None:
    """Every entry counts once, and every byte that passes."""
    plan = Plan(
        clears=deletes("b/in"),
        copies=(*copies(bench.source, "a"), *blocked(bench.source, "b")),
    )
    bench.run(plan)

    assert sum(entries for entries, _ in bench.progress) == 3
    assert sum(size for _, size in bench.progress) == 8


def test_an_empty_plan_removes_leftovers_all_the_same(bench: Bench) -> None:
    """What a killed pass left goes, also when there is nothing to do."""

    assert bench.run(Plan()) == []
    assert bench.target.log == ["remove leftovers"]


def test_a_leftover_that_stays_is_reported_and_keeps_nothing_back(bench: Bench) -> None:
    """A leftover that stays is skipped with its error; everything else is done, deletes too."""
    bench.target.stuck["left"] = stuck = EntryError("stuck")

    found = bench.run(Plan(copies=copies(bench.source, "a"), deletes=deletes("old")))

    assert found[0] == Outcome(Status.SKIPPED, "left", error=stuck)
    assert brief(found[1:]) == {"a": "copied", "old": "deleted"}


def test_a_directory_is_never_opened(bench: Bench) -> None:
    """A directory has no bytes to ask the source for."""
    bench.run(Plan(copies=(Copy(entry_of("d/"), Why.NEW),)))

    assert bench.source.opened == []
    assert bench.target.entries["d/"] == b""


def test_a_directory_that_is_not_empty_stays_without_a_word(bench: Bench) -> None:
    """Somebody put something in it: the next pass looks again, and this one has not failed."""
    bench.target.entries["e/new"] = b"precious"

    assert bench.run(Plan(deletes=deletes("e/"))) == []
    assert "e/new" in bench.target.entries


# --- what holds deletes back ---


@pytest.mark.parametrize(
    "failure", [EntryError("x"), SourceChanged("x"), DirectoryError("x"), AccessDenied("x")]
)
def test_a_failed_copy_deletes_nothing(bench: Bench, failure: AgentError) -> None:
    """When something could not be brought, nothing is taken away."""
    bench.source.failures["a"] = [failure] * ATTEMPTS
    found = bench.run(
        Plan(copies=copies(bench.source, "a", "b"), deletes=deletes("old", "e/"))
    )

    assert brief(found) == {"a": "failed", "b": "copied"}
    assert found[-1] == Withheld(1, "1 entries could not be copied", is_consequence=True)
    assert "old" in bench.target.entries


def test_a_copy_that_cannot_be_shown_deletes_nothing(bench: Bench) -> None:
    """A failure at the last step is one as well, and the index does not learn of the entry."""
    bench.target.refused.add("a")
    found = bench.run(Plan(copies=copies(bench.source, "a"), deletes=deletes("old")))

    assert brief(found) == {"a": "failed"}
    assert found[-1] == Withheld(1, "1 entries could not be copied", is_consequence=True)
    assert bench.known() == ["old", "x"]


def test_an_archived_object_holds_nothing_back(bench: Bench) -> None:
    """What is there but cannot be had is skipped, and its copy at the target is no extra."""
    bench.source.failures["a"] = [EntryUnreadable("archived")]
    found = bench.run(Plan(copies=copies(bench.source, "a"), deletes=deletes("old")))

    assert brief(found) == {"a": "skipped", "old": "deleted"}


def test_a_key_that_a_listing_left_out_is_not_deleted(bench: Bench) -> None:
    """The source is asked for each key itself; one that exists discredits the listing."""
    bench.source.missed.add("old")
    found = bench.run(Plan(copies=copies(bench.source, "a"), deletes=deletes("x", "old")))

    reason = 'the source was not listed completely: "old" exists'
    assert found[1:] == [Withheld(2, reason)]
    assert {"old", "x"} <= set(bench.target.entries)


def test_a_key_that_a_listing_left_out_is_not_cleared_away(bench: Bench) -> None:
    """What stands in the way is asked for too, before anything is done."""
    bench.source.missed.add("x")
    plan = Plan(clears=deletes("x"), copies=copies(bench.source, "a"), deletes=deletes("old"))
    found, message = bench.run_to_its_end(plan, ListingInconsistent)

    assert (found, message) == ([], 'the source was not listed completely: "x" exists')
    assert bench.target.log == ["remove leftovers"]


@pytest.mark.parametrize("kind", ["clears", "deletes"])
def test_a_source_that_does_not_answer_confirms_nothing(bench: Bench, kind: str) -> None:
    """An error is not the answer that a key is gone."""

    def fail() -> None:
        raise StoreUnavailable("no answer")

    bench.source.when_asked = fail
    plan = Plan(**{kind: deletes("x", "old")})  # type: ignore[arg-type]
    _, message = bench.run_to_its_end(plan, StoreUnavailable)

    assert message == "no answer"
    assert {"old", "x"} <= set(bench.target.entries)


def test_a_delete_that_fails_stops_no_other(bench: Bench) -> None:
    """Each delete is for itself; the index keeps what is still there."""
    bench.target.failures["old"] = [EntryError("immutable")]
    found = bench.run(Plan(deletes=deletes("old", "x")))

    assert brief(found) == {"old": "failed", "x": "deleted"}
    assert bench.known() == ["old"]


def test_a_stop_between_deletes_leaves_the_index_right(bench: Bench) -> None:
    """What was deleted before somebody asked to stop is forgotten, the rest is not."""
    bench.workers = 1
    found = carry_out(Plan(deletes=deletes("x", "old")), bench.context)
    first = next(found)
    assert isinstance(first, Outcome)
    bench.cancel_token.cancel()
    with pytest.raises(Cancelled):
        list(found)

    assert "x" not in bench.known()
    assert set(bench.known()) == set(bench.target.entries) & {"x", "old"}


# --- what stands in the way ---


@pytest.fixture
def in_the_way(bench: Bench) -> Plan:
    """A local `b/in` where the object `b` is to go; `a` goes where nothing is."""
    bench.workers = 1
    bench.target.entries["b/in"] = b"precious"
    return Plan(
        clears=deletes("b/in"),
        copies=(*copies(bench.source, "a"), *blocked(bench.source, "b")),
    )


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_failed_copy_clears_nothing_away(bench: Bench, in_the_way: Plan, name: str) -> None:
    """What stands in the way is as dear as any file: it stays when anything could not be brought."""
    bench.source.failures[name] = [AccessDenied("x")] * ATTEMPTS
    found = bench.run(in_the_way)

    assert bench.target.entries["b/in"] == b"precious"
    reason = "1 entries could not be copied"
    assert found[-1] == Withheld(1, reason, is_consequence=True)
    assert brief(found) == (
        {"a": "failed", "b": "skipped"} if name == "a" else {"a": "copied", "b": "failed"}
    )
    errors = [each.error for each in found if isinstance(each, Outcome) and each.error]
    assert {error.exit_status for error in errors if isinstance(error, AgentError)} == {77}
    if name == "a":
        assert str(errors[1]) == f'"b": what stands in its way stays, since {reason}'


def test_an_archived_object_clears_nothing_away(bench: Bench, in_the_way: Plan) -> None:
    """What cannot be had takes nobody's place; what others wait for goes all the same."""
    bench.source.entries["c"] = b"cccc"
    bench.target.entries |= {"c/": b"", "c/d/in": b"in the way too"}
    bench.source.failures["b"] = [EntryUnreadable("archived")]
    plan = replace(
        in_the_way,
        clears=deletes("c/d/in", "c/", "b/in"),
        copies=(*in_the_way.copies, *blocked(bench.source, "c")),
    )
    found = bench.run(plan)

    assert brief(found) == {
        "a": "copied",
        "b": "skipped",
        "c": "copied",
        "c/d/in": "deleted",
        "c/": "deleted",
    }
    assert (
        Withheld(1, "what was to take their place was skipped", is_consequence=True) in found
    )
    assert bench.target.entries["b/in"] == b"precious"


def test_a_file_gives_way_to_what_goes_below_it(bench: Bench) -> None:
    """A file stands in the way of every key below its name, and of none beside."""
    bench.source.entries["x/y/z"] = b"zzzz"
    bench.target.entries["x/y"] = b"gone"
    plan = Plan(clears=deletes("x/y"), copies=blocked(bench.source, "x/y/z"))

    assert brief(bench.run(plan)) == {"x/y": "deleted", "x/y/z": "copied"}


def test_what_came_back_meanwhile_is_not_cleared_away(bench: Bench, in_the_way: Plan) -> None:
    """Copies take hours: right before something goes, the source is asked again."""
    bench.target.when_put = lambda _key: bench.source.missed.add("b/in")
    found = bench.run(in_the_way)

    reason = 'the source was not listed completely: "b/in" exists'
    assert brief(found) == {"a": "copied", "b": "skipped"}
    assert found[-1] == Withheld(1, reason)
    assert bench.target.entries["b/in"] == b"precious"
    assert bench.target.discarded == ["b"]


def test_a_stop_never_leaves_a_place_empty(bench: Bench, in_the_way: Plan) -> None:
    """Once something has gone for it, an entry that is here already shows, whoever asks to stop."""
    delete = bench.target.delete

    def stop_then_delete(entry: Entry) -> bool:
        bench.cancel_token.cancel()
        return delete(entry)

    bench.target.delete = stop_then_delete  # type: ignore[method-assign]
    bench.run_to_its_end(in_the_way, Cancelled)

    assert bench.target.entries["b"] == b"bbbb"


def test_a_store_that_publishes_on_put_is_cleared_first(
    bench: Bench, in_the_way: Plan
) -> None:
    """S3 takes the bytes only when the place is free, and that is after all other copies."""
    bench.target.publishes_on_put = True
    bench.run(in_the_way)

    assert bench.target.log[-4:] == ["show a", "delete b/in", "put b", "show b"]


# --- trying again ---


@pytest.mark.parametrize("failure", [IntegrityError("torn"), StoreUnavailable("503")])
def test_what_may_pass_is_tried_again(bench: Bench, failure: AgentError) -> None:
    """A torn or refused transfer is repeated, with growing pauses, and then it is a failure."""
    bench.source.failures["a"] = [failure] * (ATTEMPTS - 1)
    bench.source.failures["b"] = [failure] * ATTEMPTS
    found = bench.run(Plan(copies=copies(bench.source, "a", "b")))

    assert brief(found) == {"a": "copied", "b": "failed"}
    assert sorted(bench.source.opened) == ["a"] * ATTEMPTS + ["b"] * ATTEMPTS
    assert len(bench.cancel_token.slept) == 2 * (ATTEMPTS - 1)
    assert all(0 <= pause <= 0.5 * 2**ATTEMPTS for pause in bench.cancel_token.slept)
    assert len(set(bench.cancel_token.slept)) == len(bench.cancel_token.slept)


def test_pauses_grow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be twice as long as the one before; chance only shortens them, so that agents do not come together."""
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    bench.source.failures["a"] = [StoreUnavailable("503")] * ATTEMPTS

    bench.run(Plan(copies=copies(bench.source, "a")))

    assert bench.cancel_token.slept == [1.0 * 2**each for each in range(ATTEMPTS - 1)]


def test_pauses_of_a_connection_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings and maps are asked for again as the bytes of entries are."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    token, trouble = Sleepless(), StoreUnavailable("503")
    connection = Connection(S3Settings(endpoint_url="http://127.0.0.1:9"), token)
    for _ in range(5):
        connection._pause(0, trouble)
    assert len(set(token.slept)) == 5
    token.slept.clear()
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)

    connection._pause(0, trouble)
    connection._pause(1, trouble)

    assert token.slept == [1.0, 2.0]
    with pytest.raises(StoreUnavailable):
        connection._pause(2, trouble)


@pytest.mark.parametrize("failure", [EntryError("x"), AccessDenied("x"), DirectoryError("x")])
def test_what_stays_wrong_is_not_tried_again(bench: Bench, failure: AgentError) -> None:
    """What another try cannot change is a failure at once."""
    bench.source.failures["a"] = [failure]
    found = bench.run(Plan(copies=copies(bench.source, "a")))

    assert brief(found) == {"a": "failed"}
    assert bench.source.opened == ["a"]
    assert bench.cancel_token.slept == []


def test_a_version_that_came_after_the_listing_is_taken(bench: Bench) -> None:
    """An object that was replaced meanwhile is copied in its new version, which the index gets."""
    plan = Plan(copies=copies(bench.source, "a"))
    bench.source.entries["a"] = b"newer!"
    (outcome,) = bench.run(plan)
    assert isinstance(outcome, Outcome)

    assert (outcome.status, outcome.size) == (Status.COPIED, 6)
    assert bench.target.entries["a"] == b"newer!"
    assert next(bench.index.rows()).etag == md5(b"newer!")


def test_a_version_that_went_after_the_listing_is_a_failure(bench: Bench) -> None:
    """An object that was removed meanwhile leaves the target's copy for the next pass to judge."""
    plan = Plan(copies=copies(bench.source, "a"), deletes=deletes("old"))
    del bench.source.entries["a"]
    found = bench.run(plan)

    assert brief(found) == {"a": "failed"}
    assert "old" in bench.target.entries


def test_a_version_that_changes_all_the_time_is_given_up(bench: Bench) -> None:
    """An object that is never the same twice is a failure after some tries."""
    bench.source.failures["a"] = [SourceChanged("again")] * 99
    found = bench.run(Plan(copies=copies(bench.source, "a")))

    assert brief(found) == {"a": "failed"}
    assert bench.source.opened == ["a"] * ATTEMPTS


def test_a_bug_is_not_swallowed(bench: Bench) -> None:
    """An exception that is none of ours ends the mapping, from a copy as from a delete."""
    bench.source.failures["a"] = [ZeroDivisionError()]
    bench.target.failures["x"] = [ZeroDivisionError()]

    bench.run_to_its_end(Plan(copies=copies(bench.source, "a")), ZeroDivisionError)
    bench.cancel_token = Sleepless()
    bench.run_to_its_end(Plan(deletes=deletes("x")), ZeroDivisionError)


# --- hopeless ---


def many(source: MemoryStore, count: int) -> tuple[Copy, ...]:
    names = [f"f{number:05}" for number in range(count)]
    source.entries.update(dict.fromkeys(names, b"data"))
    return copies(source, *names)


@pytest.mark.parametrize("failure", [AccessDenied("403"), DirectoryError("EIO")])
def test_a_store_that_refuses_everything_is_left_alone(
    bench: Bench, failure: AgentError
) -> None:
    """So many failures in a row end the mapping with their cause, instead of a million requests."""
    bench.workers = 1
    plan = Plan(copies=many(bench.source, 100), deletes=deletes("old"))
    bench.source.failures = {copy.entry.key: [failure] for copy in plan.copies}
    found, message = bench.run_to_its_end(plan, type(failure))

    assert len(found) == MAX_CONSECUTIVE_FAILURES
    assert message == str(failure)
    assert "old" in bench.target.entries


def test_failures_with_successes_between_are_not_hopeless(bench: Bench) -> None:
    """One that works shows that the store is there."""
    bench.workers = 1
    plan = Plan(copies=many(bench.source, 100))
    refused = [copy.entry.key for copy in plan.copies if not copy.entry.key.endswith("9")]
    bench.source.failures = {key: [AccessDenied("403")] for key in refused}
    found = bench.run(plan)

    assert list(brief(found).values()).count("failed") == 90


def test_failures_of_the_entries_themselves_are_not_hopeless(bench: Bench) -> None:
    """However many names are impossible, the others may not be."""
    plan = Plan(copies=many(bench.source, 100))
    bench.source.failures = {copy.entry.key: [EntryError("x")] for copy in plan.copies}

    assert set(brief(bench.run(plan)).values()) == {"failed"}


# --- batches ---


def test_many_small_entries_are_shown_together(bench: Bench) -> None:
    """One sync serves a batch, and no batch outgrows its number."""
    bench.run(Plan(copies=many(bench.source, 3 * BATCH_ENTRIES + 5)))

    assert sum(bench.target.batches) == 3 * BATCH_ENTRIES + 5
    assert max(bench.target.batches) <= BATCH_ENTRIES
    assert len(bench.target.batches) < BATCH_ENTRIES


def under_way(bench: Bench, plan: Plan) -> int:
    """Carry out a plan whose copies wait; give how many were under way at once, at most."""
    lock, inside, most = threading.Lock(), 0, 0

    def wait(_key: str) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(IDLE_SECONDS / 2)
        with lock:
            inside -= 1

    bench.target.when_put = wait
    bench.run(plan)
    return most


def test_more_small_entries_than_workers_wait_at_once(bench: Bench) -> None:
    """A round trip takes as long for a small entry as for a large one, and costs nothing meanwhile."""
    bench.workers = 2

    assert under_way(bench, Plan(copies=many(bench.source, 40))) > bench.workers


def test_no_more_large_entries_than_workers_are_under_way(bench: Bench) -> None:
    """Each holds memory, however long it waits."""
    bench.workers = 2
    large = tuple(
        copy._replace(entry=copy.entry._replace(size=SMALL_BYTES + 1))
        for copy in many(bench.source, 16)
    )

    assert under_way(bench, Plan(copies=large)) == bench.workers


def test_small_entries_do_not_wait_for_a_large_one(bench: Bench) -> None:
    """What is staged shows soon, however long the next result takes; a pass that is ended then loses none of it."""
    shown = threading.Event()

    def put(key: str) -> None:
        if key == "b":
            assert shown.wait(30)

    class Showing(Target):
        def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
            yield from super().publish(staged)
            shown.set()

    bench.target = Showing({})
    bench.target.when_put = put
    outcomes = bench.run(Plan(copies=copies(bench.source, "a", "b")))

    assert brief(outcomes) == {"a": "copied", "b": "copied"}
    assert bench.target.batches == [1, 1]


def test_a_batch_is_bounded_in_bytes(bench: Bench) -> None:
    """Large entries do not wait for many others."""
    bench.source.entries["a"] = bench.source.entries["b"] = b"large"
    large = [
        copy._replace(entry=copy.entry._replace(size=BATCH_BYTES))
        for copy in copies(bench.source, "a", "b")
    ]
    bench.run(Plan(copies=tuple(large)))

    assert bench.target.batches[:2] == [1, 1]


def test_an_entry_whose_edit_could_hide_is_not_remembered(bench: Bench) -> None:
    """Without a stamp the index does not learn of the entry, so the next pass looks at it again."""

    class Coarse(Target):
        def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
            for each in super().publish(staged):
                yield replace(each, stamp=None)

    bench.target = Coarse()
    found = bench.run(Plan(copies=copies(bench.source, "a")))

    assert brief(found) == {"a": "copied"}
    assert bench.known() == ["old", "x"]


# --- a full disk ---


def test_a_full_disk_gives_up_the_trash_first(bench: Bench) -> None:
    """When the disk is full room is made once, and the copy goes on."""
    bench.target.room = 1
    bench.target.failures["a"] = [DiskFull("ENOSPC")]
    found = bench.run(Plan(copies=copies(bench.source, "a", "b"), deletes=deletes("old")))

    assert brief(found) == {"a": "copied", "b": "copied", "old": "deleted"}
    assert bench.target.log.count("free space") == 1


def test_a_full_disk_ends_the_mapping_when_no_room_can_be_made(bench: Bench) -> None:
    """Without a trash to give up the disk stays full: the mapping ends, and nothing is deleted for it."""
    bench.target.failures["a"] = [DiskFull("ENOSPC")]
    plan = Plan(copies=copies(bench.source, "a"), deletes=deletes("old"))
    found, message = bench.run_to_its_end(plan, DiskFull)

    assert (brief(found), message) == ({"a": "failed"}, "ENOSPC")
    assert "old" in bench.target.entries


def test_a_disk_that_stays_full_ends_the_mapping(bench: Bench) -> None:
    """Room that does not suffice is made no more often than an entry is tried."""
    bench.target.room = 99
    bench.target.failures["a"] = [DiskFull("ENOSPC")] * 99
    bench.run_to_its_end(Plan(copies=copies(bench.source, "a")), DiskFull)

    assert bench.target.log.count("free space") == ATTEMPTS - 1


def test_workers_that_find_the_disk_full_together_share_the_room(bench: Bench) -> None:
    """The trash can be given up once only; that serves every worker that met the full disk meanwhile."""
    bench.target.room = 1
    plan = Plan(copies=many(bench.source, bench.workers))
    names = [copy.entry.key for copy in plan.copies]
    bench.target.failures = {name: [DiskFull("ENOSPC")] for name in names}
    together = threading.Barrier(bench.workers)
    waited: set[str] = set()

    def wait(key: str) -> None:
        if key not in waited:
            waited.add(key)
            together.wait(10)

    bench.target.when_put = wait
    found = bench.run(plan)

    assert set(brief(found).values()) == {"copied"}
    assert bench.target.log.count("free space") == 1


def test_nothing_lies_about_when_a_mapping_ends_early(bench: Bench) -> None:
    """What was staged and is not shown is discarded, also what a worker had just finished."""
    plan = Plan(copies=many(bench.source, 40))
    last = plan.copies[20].entry.key
    bench.target.failures[last] = [DiskFull("ENOSPC")]
    bench.run_to_its_end(plan, DiskFull)

    staged = {line[4:] for line in bench.target.log if line.startswith("put")}
    shown = {line[5:] for line in bench.target.log if line.startswith("show")}
    assert staged - shown == set(bench.target.discarded)
    assert bench.target.staged == {}


# --- stopping ---


class Endless:
    """A content that never ends by itself."""

    def __init__(self, begun: threading.Event) -> None:
        self._content = Bytes(())
        self.attributes = self._content.attributes
        self.stamp: Stamp | None = None
        self.verified = ""
        self._begun = begun

    def chunks(self) -> Iterator[bytes]:
        while True:
            self._begun.set()
            yield b""
            time.sleep(0.001)


def test_stop_ends_endless_copies(bench: Bench) -> None:
    """Workers that read without end stop between two chunks, and nothing of theirs stays."""
    begun = threading.Event()

    class Slow(Source):
        @contextlib.contextmanager
        def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
            assert entry
            yield Endless(begun)

    before = set(threading.enumerate())
    bench.source = Slow(bench.source.entries)
    plan = Plan(copies=copies(bench.source, "a", "b"), deletes=deletes("old"))

    def stop() -> None:
        begun.wait()
        bench.cancel_token.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    bench.run_to_its_end(plan, Cancelled)
    stopper.join()

    assert "old" in bench.target.entries
    assert bench.target.staged == {}
    assert set(threading.enumerate()) <= before


def test_what_was_done_when_somebody_asked_to_stop_is_kept(bench: Bench) -> None:
    """Entries that are whole are shown and remembered, so that the next pass goes on from there."""
    bench.workers = 1
    plan = Plan(copies=many(bench.source, 10))

    def stop(key: str) -> None:
        if key.endswith("4"):
            bench.cancel_token.cancel()

    bench.target.when_put = stop
    found, _ = bench.run_to_its_end(plan, Cancelled)

    done = [key for key, status in brief(found).items() if status == "copied"]
    assert done == [f"f{number:05}" for number in range(4)]
    assert set(done) < set(bench.known())
    assert set(done) <= set(bench.target.entries)


# --- the throttle ---


def test_the_throttle_holds_all_workers_to_one_rate() -> None:
    """A second's worth costs a second, and what comes at once queues up behind it."""
    token = Sleepless()
    throttle = Throttle(1000, token)
    for _ in range(3):
        throttle.take(1000)

    assert [round(pause) for pause in token.slept] == [1, 2, 3]


def test_without_a_rate_nobody_waits() -> None:
    """No limit is no waiting."""
    token = Sleepless()
    Throttle(None, token).take(1 << 40)

    assert token.slept == []


def test_bytes_are_paid_for_before_they_come(bench: Bench) -> None:
    """Otherwise every worker would have its first object for nothing; and no byte is paid for twice."""
    told: list[str] = []

    class Watched(Throttle):
        def take(self, size: int, _heartbeat: Heartbeat = UNWATCHED) -> None:
            told.append(f"pay {size}")

    large = b"x" * (ONE_PIECE + 5)
    bench.source.entries["a"] = large
    bench.target.when_put = lambda key: told.append(f"put {key}")
    context = replace(bench.throttled(Watched(None, bench.cancel_token)), workers=1)
    list(carry_out(Plan(copies=copies(bench.source, "a", "b")), context))

    assert told == ["pay 0", "put a", f"pay {len(large)}", "pay 4", "put b", "pay 0"]


def test_a_throttled_pass_can_be_stopped() -> None:
    """Who waits for his turn hears it when somebody asks to stop."""
    token = CancelToken()
    throttle = Throttle(1, token)
    token.cancel()

    with pytest.raises(Cancelled):
        throttle.take(3600)


def test_every_chunk_passes_the_throttle(bench: Bench) -> None:
    """The bytes of all entries are counted, not their number."""
    context = bench.throttled(Throttle(4, bench.cancel_token))
    list(carry_out(Plan(copies=copies(bench.source, "a", "b")), context))

    assert sorted(round(pause) for pause in bench.cancel_token.slept) == [1, 2]


@dataclass
class Ranged(Bytes, RangedContent):
    """A content that writes its pieces to a file, the last one first, and then reads it all."""

    def fill(self, file: File, kept: int) -> None:
        end = kept + sum(map(len, self.pieces))
        for piece in reversed(self.pieces):
            end -= len(piece)
            file.write(piece, end)
        file.read(1 << 20, 0)


@dataclass
class Noted:
    """A file that notes what is done to it."""

    log: list[str] = field(default_factory=list)
    when_written: Callable[[], None] = lambda: None

    def write(self, chunk: bytes, position: int) -> None:
        self.when_written()
        self.log.append(f"write {len(chunk)} at {position}")

    def read(self, size: int, position: int) -> bytes:
        self.log.append(f"read {size} at {position}")
        return b""


@pytest.fixture
def ranged(bench: Bench) -> tuple[Bench, Noted]:
    """A source whose one entry comes in two ranges behind ten bytes that are there already, and the file."""
    content = Ranged((b"123", b"4567"))

    @contextlib.contextmanager
    def opened(_: Entry, __: Heartbeat) -> Iterator[Content]:
        yield content

    bench.source.open = opened  # type: ignore[method-assign, assignment]
    file = Noted()

    def put(copy: Copy, content: Content, _: Heartbeat = UNWATCHED) -> Staged:
        assert isinstance(content, RangedContent)
        content.fill(file, 10)
        bench.target.staged[copy.entry.key] = b""
        return Staged(copy, content.verified, "", None, copy.entry.key)

    bench.target.put = put  # type: ignore[method-assign, assignment]
    return bench, file


def test_every_range_passes_the_throttle_and_is_counted(ranged: tuple[Bench, Noted]) -> None:
    """What passes is held to the rate; what was there already is only counted."""
    bench, file = ranged
    context = bench.throttled(Throttle(1, bench.cancel_token))
    (copy,) = copies(bench.source, "a")
    large = copy._replace(entry=copy.entry._replace(size=ONE_PIECE + 1))

    list(carry_out(Plan(copies=(large,)), context))

    assert sorted(round(pause) for pause in bench.cancel_token.slept) == [4, 7]
    assert sorted(size for entries, size in bench.progress if not entries) == [3, 4, 10]
    assert file.log == ["write 4 at 13", "write 3 at 10", "read 1048576 at 0"]


def test_a_stop_ends_a_download_in_ranges(ranged: tuple[Bench, Noted]) -> None:
    """When somebody asked, not one range more is written, and nothing is hashed."""
    bench, file = ranged
    file.when_written = bench.cancel_token.cancel

    with pytest.raises(Cancelled):
        list(carry_out(Plan(copies=copies(bench.source, "a")), bench.context))

    assert file.log == ["write 4 at 13"]


# --- hashing ---


def check_of(key: str, data: bytes, etag: str) -> Check:
    there = Entry(key, len(data), etag)
    return Check(there, Entry(key, len(data)), Why.ETAG)


@contextlib.contextmanager
def reading(content: Bytes) -> Iterator[Content]:
    yield content


def equal_of(
    bench: Bench,
    check: Check,
    content: Bytes | Callable[[], AbstractContextManager[Content]],
    part_sizes: tuple[int, ...] = (),
) -> dict[str, Stamp]:
    return equal_by_hash(
        [check],
        lambda _: reading(content) if isinstance(content, Bytes) else content(),
        lambda each: (each.entry.etag or "", part_sizes),
        bench.workers,
        bench.context.meter,
    )


def parts_etag(*parts: bytes) -> str:
    digests = b"".join(bytes.fromhex(md5(part)) for part in parts)
    return f"{md5(digests)}-{len(parts)}"


def test_equal_bytes_are_adopted_by_their_md5(bench: Bench) -> None:
    """A file that has the object's MD5 already is not sent, and its stamp is the one of the reading."""
    content = Bytes((b"da", b"ta"), stamp=STAMP)

    assert equal_of(bench, check_of("a", b"data", md5(b"data")), content) == {"a": STAMP}
    assert bench.progress == [(0, 2), (0, 2), (1, 0)]


def test_equal_bytes_are_adopted_by_their_parts(bench: Bench) -> None:
    """A multipart ETag is computed with every part size that it may have, in one reading."""
    content = Bytes((b"da", b"ta"), stamp=STAMP)
    check = check_of("a", b"data", parts_etag(b"dat", b"a"))

    assert equal_of(bench, check, content, (2, 3)) == {"a": STAMP}
    assert equal_of(bench, check, content, (2,)) == {}


@pytest.mark.parametrize(
    ("etag", "sizes"), [(md5(b"other"), ()), ("opaque", ()), (f"{md5(b'')}-3", ())]
)
def test_bytes_without_proof_are_not_adopted(
    bench: Bench, etag: str, sizes: tuple[int, ...]
) -> None:
    """Another digest is no match, and an opaque ETag proves nothing, so it is not even read for."""
    assert (
        equal_of(bench, check_of("a", b"data", etag), Bytes((b"data",), stamp=STAMP), sizes)
        == {}
    )


def test_a_file_whose_edit_could_hide_is_not_adopted(bench: Bench) -> None:
    """Equal bytes without a stamp cannot be remembered, so they count as different."""
    content = Bytes((b"data",), stamp=None)

    assert equal_of(bench, check_of("a", b"data", md5(b"data")), content) == {}


def test_a_file_that_changed_meanwhile_is_not_adopted(bench: Bench) -> None:
    """What cannot be read as one version is copied."""

    def changed() -> AbstractContextManager[Content]:
        raise SourceChanged("gone")

    assert equal_of(bench, check_of("a", b"data", md5(b"data")), changed) == {}


def test_a_disk_that_cannot_be_read_ends_the_mapping(bench: Bench) -> None:
    """An error of the disk is not a difference."""

    def broken() -> AbstractContextManager[Content]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        equal_of(bench, check_of("a", b"data", md5(b"data")), broken)


def test_hashing_can_be_stopped(bench: Bench) -> None:
    """A reading that is not to its end is no proof of anything."""
    content = Bytes((b"da", b"ta"), stamp=STAMP, between=bench.cancel_token.cancel)

    with pytest.raises(Cancelled):
        equal_of(bench, check_of("a", b"data", md5(b"data")), content)


def test_kinds_are_no_part_of_the_count(bench: Bench) -> None:
    """Withheld deletes are counted without directories, unless there is nothing else."""
    bench.source.failures["a"] = [EntryError("x"), EntryError("x")]
    both = bench.run(Plan(copies=copies(bench.source, "a"), deletes=deletes("old", "e/")))
    one = bench.run(
        Plan(
            copies=copies(bench.source, "a"),
            deletes=(Delete(Entry("e/", kind=Kind.DIRECTORY)),),
        )
    )

    assert [each.count for each in (*both, *one) if isinstance(each, Withheld)] == [1, 1]
