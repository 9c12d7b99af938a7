"""One entry is staged: what is tried again, and what a full disk does."""

from __future__ import annotations

import random
import threading

import pytest
from support.contents import md5
from support.mapping_rig import (
    MappingRig,
    Sleepless,
    brief,
    copies,
    deletes,
    many,
)

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    DirectoryError,
    DiskFull,
    EntryError,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import (
    Outcome,
    Plan,
    Status,
)
from s32s_agent.run.staging import ATTEMPTS

# --- trying again ---


@pytest.mark.parametrize("failure", [IntegrityError("torn"), StoreUnavailable("503")])
def test_a_failure_that_may_be_temporary_is_tried_again(
    rig: MappingRig, failure: AgentError
) -> None:
    """A torn or refused transfer is repeated, with growing pauses, and then it is a failure."""
    rig.source.failures["a"] = [failure] * (ATTEMPTS - 1)
    rig.source.failures["b"] = [failure] * ATTEMPTS
    found = rig.run(Plan(copies=copies(rig.source, "a", "b")))

    assert brief(found) == {"a": "copied", "b": "failed"}
    assert sorted(rig.source.opened) == ["a"] * ATTEMPTS + ["b"] * ATTEMPTS
    assert len(rig.cancel_token.slept) == 2 * (ATTEMPTS - 1)
    assert all(0 <= pause <= 0.5 * 2**ATTEMPTS for pause in rig.cancel_token.slept)
    assert len(set(rig.cancel_token.slept)) == len(rig.cancel_token.slept)


def test_pauses_grow(rig: MappingRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be twice as long as the one before; chance only shortens them, so that agents do not come together."""
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    rig.source.failures["a"] = [StoreUnavailable("503")] * ATTEMPTS

    rig.run(Plan(copies=copies(rig.source, "a")))

    assert rig.cancel_token.slept == [1.0 * 2**each for each in range(ATTEMPTS - 1)]


@pytest.mark.parametrize("failure", [EntryError("x"), AccessDenied("x"), DirectoryError("x")])
def test_what_stays_wrong_is_not_tried_again(rig: MappingRig, failure: AgentError) -> None:
    """What another try cannot change is a failure at once."""
    rig.source.failures["a"] = [failure]
    found = rig.run(Plan(copies=copies(rig.source, "a")))

    assert brief(found) == {"a": "failed"}
    assert rig.source.opened == ["a"]
    assert rig.cancel_token.slept == []


def test_a_version_that_came_after_the_listing_is_taken(rig: MappingRig) -> None:
    """An object that was replaced meanwhile is copied in its new version, which the index gets."""
    plan = Plan(copies=copies(rig.source, "a"))
    rig.source.entries["a"] = b"newer!"
    (outcome,) = rig.run(plan)
    assert isinstance(outcome, Outcome)

    assert (outcome.status, outcome.size) == (Status.COPIED, 6)
    assert rig.target.entries["a"] == b"newer!"
    assert next(rig.index.rows()).etag == md5(b"newer!")


def test_a_version_that_went_after_the_listing_is_a_failure(rig: MappingRig) -> None:
    """An object that was removed meanwhile leaves the target's copy for the next run to judge."""
    plan = Plan(copies=copies(rig.source, "a"), deletes=deletes("old"))
    del rig.source.entries["a"]
    found = rig.run(plan)

    assert brief(found) == {"a": "failed"}
    assert "old" in rig.target.entries


def test_a_version_that_changes_all_the_time_is_given_up(rig: MappingRig) -> None:
    """An object that is never the same twice is a failure after some tries."""
    rig.source.failures["a"] = [SourceChanged("again")] * 99
    found = rig.run(Plan(copies=copies(rig.source, "a")))

    assert brief(found) == {"a": "failed"}
    assert rig.source.opened == ["a"] * ATTEMPTS


def test_a_bug_is_not_swallowed(rig: MappingRig) -> None:
    """An exception that is none of ours ends the mapping, from a copy as from a delete."""
    rig.source.failures["a"] = [ZeroDivisionError()]
    rig.target.failures["x"] = [ZeroDivisionError()]

    rig.run_to_its_end(Plan(copies=copies(rig.source, "a")), ZeroDivisionError)
    rig.cancel_token = Sleepless()
    rig.run_to_its_end(Plan(deletes=deletes("x")), ZeroDivisionError)


# --- a full disk ---


def test_a_full_disk_gives_up_the_trash_first(rig: MappingRig) -> None:
    """When the disk is full room is made once, and the copy goes on."""
    rig.target.room = 1
    rig.target.failures["a"] = [DiskFull("ENOSPC")]
    found = rig.run(Plan(copies=copies(rig.source, "a", "b"), deletes=deletes("old")))

    assert brief(found) == {"a": "copied", "b": "copied", "old": "deleted"}
    assert rig.target.log.count("free space") == 1


def test_a_full_disk_ends_the_mapping_when_no_room_can_be_made(rig: MappingRig) -> None:
    """Without a trash to give up the disk stays full: the mapping ends, and nothing is deleted for it."""
    rig.target.failures["a"] = [DiskFull("ENOSPC")]
    plan = Plan(copies=copies(rig.source, "a"), deletes=deletes("old"))
    found, message = rig.run_to_its_end(plan, DiskFull)

    assert (brief(found), message) == ({"a": "failed"}, "ENOSPC")
    assert "old" in rig.target.entries


def test_a_disk_that_stays_full_ends_the_mapping(rig: MappingRig) -> None:
    """Room that does not suffice is made no more often than an entry is tried."""
    rig.target.room = 99
    rig.target.failures["a"] = [DiskFull("ENOSPC")] * 99
    rig.run_to_its_end(Plan(copies=copies(rig.source, "a")), DiskFull)

    assert rig.target.log.count("free space") == ATTEMPTS - 1


def test_workers_that_find_the_disk_full_together_share_the_room(rig: MappingRig) -> None:
    """The trash can be given up once only; that serves every worker that met the full disk meanwhile."""
    rig.target.room = 1
    plan = Plan(copies=many(rig.source, rig.workers))
    names = [copy.entry.key for copy in plan.copies]
    rig.target.failures = {name: [DiskFull("ENOSPC")] for name in names}
    together = threading.Barrier(rig.workers)
    waited: set[str] = set()

    def wait(key: str) -> None:
        if key not in waited:
            waited.add(key)
            together.wait(10)

    rig.target.when_put = wait
    found = rig.run(plan)

    assert set(brief(found).values()) == {"copied"}
    assert rig.target.log.count("free space") == 1


def test_nothing_lies_about_when_a_mapping_ends_early(rig: MappingRig) -> None:
    """What was staged and is not shown is discarded, also what a worker had just finished."""
    plan = Plan(copies=many(rig.source, 40))
    last = plan.copies[20].entry.key
    rig.target.failures[last] = [DiskFull("ENOSPC")]
    rig.run_to_its_end(plan, DiskFull)

    staged = {line[4:] for line in rig.target.log if line.startswith("put")}
    shown = {line[5:] for line in rig.target.log if line.startswith("show")}
    assert staged - shown == set(rig.target.discarded)
    assert rig.target.staged == {}
