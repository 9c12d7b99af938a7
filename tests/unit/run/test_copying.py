"""Many entries are copied: what ends it, what is published together, how many are under way."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from support.contents import Bytes
from support.mapping_rig import (
    MappingRig,
    Source,
    Target,
    brief,
    copies,
    deletes,
    many,
)

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DirectoryError,
    EntryError,
)
from s32s_agent.model import (
    Entry,
    Plan,
    Stamp,
)
from s32s_agent.run.copying import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    SMALL_BYTES,
)
from s32s_agent.run.waiting import MAX_CONSECUTIVE_FAILURES, PROBES
from s32s_agent.stores.base import Content, Published, Staged
from s32s_agent.stores.local.translate import translate
from s32s_agent.workers import IDLE_SECONDS

# --- hopeless ---


@pytest.mark.parametrize("failure", [AccessDenied("403"), DirectoryError("EIO")])
def test_a_store_that_refuses_everything_is_left_alone(
    rig: MappingRig, failure: AgentError
) -> None:
    """So many failures in a row end the mapping with their cause, instead of a million requests."""
    rig.workers = 1
    plan = Plan(copies=many(rig.source, 5000), deletes=deletes("old"))
    rig.source.failures = {copy.entry.key: [failure] for copy in plan.copies}
    # A refusal takes as long as a request, so that the workers are not far ahead of whoever counts.
    rig.source.when_opened = lambda: time.sleep(0.005)
    found, message = rig.run_to_its_end(plan, type(failure))

    assert MAX_CONSECUTIVE_FAILURES + PROBES <= len(found) < 1000
    assert message == str(failure)
    assert "old" in rig.target.entries


@pytest.mark.parametrize(
    "failure",
    [
        AccessDenied("403 a policy on uploads/"),
        translate(PermissionError(errno.EACCES, "no"), "key"),
    ],
)
def test_forty_bad_files_in_one_directory_starve_no_other(
    rig: MappingRig, failure: AgentError
) -> None:
    """Their directory comes first and is all that fails; the website behind it arrives, run after run."""
    rig.workers = 1
    names = [f"uploads/{number:03}" for number in range(400)]
    names += [f"www/{number:03}" for number in range(200)]
    rig.source.entries.update(dict.fromkeys(names, b"data"))
    bad, good = copies(rig.source, *names[:400]), copies(rig.source, *names[400:])
    rig.source.failures = {copy.entry.key: [failure] * 99 for copy in bad}

    found = brief(rig.run(Plan(copies=(*bad, *good))))

    assert {found[copy.entry.key] for copy in good} == {"copied"}
    assert {found[copy.entry.key] for copy in bad} == {"failed"}


def test_failures_with_successes_between_are_not_hopeless(rig: MappingRig) -> None:
    """One that works shows that the store is there."""
    rig.workers = 1
    plan = Plan(copies=many(rig.source, 100))
    refused = [copy.entry.key for copy in plan.copies if not copy.entry.key.endswith("9")]
    rig.source.failures = {key: [AccessDenied("403")] for key in refused}
    found = rig.run(plan)

    assert list(brief(found).values()).count("failed") == 90


def test_failures_of_the_entries_themselves_are_not_hopeless(rig: MappingRig) -> None:
    """However many names are impossible, the others may not be."""
    plan = Plan(copies=many(rig.source, 100))
    rig.source.failures = {copy.entry.key: [EntryError("x")] for copy in plan.copies}

    assert set(brief(rig.run(plan)).values()) == {"failed"}


# --- batches ---


def test_many_small_entries_are_shown_together(rig: MappingRig) -> None:
    """One sync serves a batch, and no batch outgrows its number."""
    rig.run(Plan(copies=many(rig.source, 3 * BATCH_ENTRIES + 5)))

    assert sum(rig.target.batches) == 3 * BATCH_ENTRIES + 5
    assert max(rig.target.batches) <= BATCH_ENTRIES
    assert len(rig.target.batches) < BATCH_ENTRIES


def under_way(rig: MappingRig, plan: Plan) -> int:
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

    rig.target.when_put = wait
    rig.run(plan)
    return most


def test_more_small_entries_than_workers_wait_at_once(rig: MappingRig) -> None:
    """A round trip takes as long for a small entry as for a large one, and costs nothing meanwhile."""
    rig.workers = 2

    assert under_way(rig, Plan(copies=many(rig.source, 40))) > rig.workers


def test_no_more_large_entries_than_workers_are_under_way(rig: MappingRig) -> None:
    """Each holds memory, however long it waits."""
    rig.workers = 2
    large = tuple(
        copy._replace(entry=copy.entry._replace(size=SMALL_BYTES + 1))
        for copy in many(rig.source, 16)
    )

    assert under_way(rig, Plan(copies=large)) == rig.workers


def test_small_entries_do_not_wait_for_a_large_one(rig: MappingRig) -> None:
    """What is staged shows soon, however long the next result takes; a run that is ended then loses none of it."""
    shown = threading.Event()

    def put(key: str) -> None:
        if key == "b":
            assert shown.wait(30)

    class Showing(Target):
        def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
            yield from super().publish(staged)
            shown.set()

    rig.target = Showing({})
    rig.target.when_put = put
    outcomes = rig.run(Plan(copies=copies(rig.source, "a", "b")))

    assert brief(outcomes) == {"a": "copied", "b": "copied"}
    assert rig.target.batches == [1, 1]


def test_a_batch_is_bounded_in_bytes(rig: MappingRig) -> None:
    """Large entries do not wait for many others."""
    rig.source.entries["a"] = rig.source.entries["b"] = b"large"
    large = [
        copy._replace(entry=copy.entry._replace(size=BATCH_BYTES))
        for copy in copies(rig.source, "a", "b")
    ]
    rig.run(Plan(copies=tuple(large)))

    assert rig.target.batches[:2] == [1, 1]


def test_an_entry_whose_edit_could_hide_is_not_remembered(rig: MappingRig) -> None:
    """Without a stamp the entry gets no row in the index, so the next run looks at it again."""

    class Coarse(Target):
        def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
            for each in super().publish(staged):
                yield replace(each, stamp=None)

    rig.target = Coarse()
    found = rig.run(Plan(copies=copies(rig.source, "a")))

    assert brief(found) == {"a": "copied"}
    assert rig.known() == ["old", "x"]


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


def test_stop_ends_endless_copies(rig: MappingRig) -> None:
    """Workers that read without end stop between two chunks, and nothing of theirs stays."""
    begun = threading.Event()

    class Slow(Source):
        @contextlib.contextmanager
        def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
            assert entry
            yield Endless(begun)

    before = set(threading.enumerate())
    rig.source = Slow(rig.source.entries)
    plan = Plan(copies=copies(rig.source, "a", "b"), deletes=deletes("old"))

    def stop() -> None:
        begun.wait()
        rig.cancel_token.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    rig.run_to_its_end(plan, Cancelled)
    stopper.join()

    assert "old" in rig.target.entries
    assert rig.target.staged == {}
    assert set(threading.enumerate()) <= before


def test_what_was_done_when_somebody_asked_to_stop_is_kept(rig: MappingRig) -> None:
    """Entries that are whole are shown and remembered, so that the next run resumes from there."""
    rig.workers = 1
    plan = Plan(copies=many(rig.source, 10))

    def stop(key: str) -> None:
        if key.endswith("4"):
            rig.cancel_token.cancel()

    rig.target.when_put = stop
    found, _ = rig.run_to_its_end(plan, Cancelled)

    done = [key for key, status in brief(found).items() if status == "copied"]
    assert done == [f"f{number:05}" for number in range(4)]
    assert set(done) < set(rig.known())
    assert set(done) <= set(rig.target.entries)
