"""A plan is carried out: in which order, and what is withheld or kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.contents import entry_of, md5
from support.mapping_rig import (
    STAMP,
    MappingRig,
    blocked,
    brief,
    copies,
    deletes,
)

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DirectoryError,
    EntryError,
    EntryUnreadable,
    ListingInconsistent,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import (
    Copy,
    Delete,
    Entry,
    IndexRow,
    Kind,
    Outcome,
    Plan,
    Status,
    Why,
    Withheld,
)
from s32s_agent.run.execute import carry_out
from s32s_agent.run.staging import ATTEMPTS

# --- order ---


def test_the_whole_of_a_plan(rig: MappingRig) -> None:
    """Entries are copied; then way is made for those that are here already; then the rest goes, directories last."""
    rig.workers = 1
    rig.target.entries["b/in"] = b""
    plan = Plan(
        clears=deletes("b/in"),
        copies=(*copies(rig.source, "a", "d/"), *blocked(rig.source, "b")),
        deletes=deletes("old", "e/"),
        forgotten=("unknown",),
    )
    found = rig.run(plan)

    assert rig.target.log == [
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
    assert rig.target.entries == {"a": b"aaaa", "b": b"bbbb", "d/": b"", "x": b""}
    assert rig.known() == ["a", "b", "d/", "x"]
    assert rig.source.asked == ["b/in", "b/in", "old"]


def test_a_copy_is_told_with_what_proved_it(rig: MappingRig) -> None:
    """An outcome has the size, the reason and the proof, and the index learns the version and the stamp."""
    (outcome,) = rig.run(Plan(copies=copies(rig.source, "a")))
    assert isinstance(outcome, Outcome)

    assert replace(outcome, seconds=0) == Outcome(
        Status.COPIED, "a", 4, Why.NEW, verified="md5"
    )
    assert next(rig.index.rows()) == IndexRow("a", md5(b"aaaa"), STAMP)


def test_progress(rig: MappingRig) -> None:
    """Every entry counts once, and so does every byte that is transferred."""
    plan = Plan(
        clears=deletes("b/in"),
        copies=(*copies(rig.source, "a"), *blocked(rig.source, "b")),
    )
    rig.run(plan)

    assert sum(entries for entries, _ in rig.progress) == 3
    assert sum(size for _, size in rig.progress) == 8


def test_an_empty_plan_removes_leftovers_all_the_same(rig: MappingRig) -> None:
    """What a killed run left is removed, also when there is nothing to do."""

    assert rig.run(Plan()) == []
    assert rig.target.log == ["remove leftovers"]


def test_a_leftover_that_stays_is_reported_and_keeps_nothing_back(rig: MappingRig) -> None:
    """A leftover that stays is skipped with its error; everything else is done, deletes too."""
    rig.target.stuck["left"] = stuck = EntryError("stuck")

    found = rig.run(Plan(copies=copies(rig.source, "a"), deletes=deletes("old")))

    assert found[0] == Outcome(Status.SKIPPED, "left", error=stuck)
    assert brief(found[1:]) == {"a": "copied", "old": "deleted"}


def test_a_directory_is_never_opened(rig: MappingRig) -> None:
    """A directory has no bytes to ask the source for."""
    rig.run(Plan(copies=(Copy(entry_of("d/"), Why.NEW),)))

    assert rig.source.opened == []
    assert rig.target.entries["d/"] == b""


def test_a_directory_that_is_not_empty_stays_without_a_word(rig: MappingRig) -> None:
    """Another program put something in it: the next run looks again, and this one has not failed."""
    rig.target.entries["e/new"] = b"precious"

    assert rig.run(Plan(deletes=deletes("e/"))) == []
    assert "e/new" in rig.target.entries


# --- what holds deletes back ---


@pytest.mark.parametrize(
    "failure", [EntryError("x"), SourceChanged("x"), DirectoryError("x"), AccessDenied("x")]
)
def test_a_failed_copy_deletes_nothing(rig: MappingRig, failure: AgentError) -> None:
    """When something could not be brought, nothing is taken away."""
    rig.source.failures["a"] = [failure] * ATTEMPTS
    found = rig.run(Plan(copies=copies(rig.source, "a", "b"), deletes=deletes("old", "e/")))

    assert brief(found) == {"a": "failed", "b": "copied"}
    assert found[-1] == Withheld(1, "1 entries could not be copied", is_consequence=True)
    assert "old" in rig.target.entries


def test_a_copy_that_cannot_be_shown_deletes_nothing(rig: MappingRig) -> None:
    """A failure at the last step is one as well, and the index does not learn of the entry."""
    rig.target.refused.add("a")
    found = rig.run(Plan(copies=copies(rig.source, "a"), deletes=deletes("old")))

    assert brief(found) == {"a": "failed"}
    assert found[-1] == Withheld(1, "1 entries could not be copied", is_consequence=True)
    assert rig.known() == ["old", "x"]


def test_an_archived_object_holds_nothing_back(rig: MappingRig) -> None:
    """What is there but cannot be had is skipped, and its copy at the target is no extra."""
    rig.source.failures["a"] = [EntryUnreadable("archived")]
    found = rig.run(Plan(copies=copies(rig.source, "a"), deletes=deletes("old")))

    assert brief(found) == {"a": "skipped", "old": "deleted"}


def test_a_key_that_a_listing_left_out_is_not_deleted(rig: MappingRig) -> None:
    """The source is asked for each key itself; one that exists discredits the listing."""
    rig.source.missed.add("old")
    found = rig.run(Plan(copies=copies(rig.source, "a"), deletes=deletes("x", "old")))

    reason = 'incomplete listing: "old" still exists at the source'
    assert found[1:] == [Withheld(2, reason)]
    assert {"old", "x"} <= set(rig.target.entries)


def test_a_key_that_a_listing_left_out_is_not_cleared_away(rig: MappingRig) -> None:
    """What stands in the way is asked for too, before anything is done."""
    rig.source.missed.add("x")
    plan = Plan(clears=deletes("x"), copies=copies(rig.source, "a"), deletes=deletes("old"))
    found, message = rig.run_to_its_end(plan, ListingInconsistent)

    assert (found, message) == ([], 'incomplete listing: "x" still exists at the source')
    assert rig.target.log == ["remove leftovers"]


@pytest.mark.parametrize("kind", ["clears", "deletes"])
def test_a_source_that_does_not_answer_confirms_nothing(rig: MappingRig, kind: str) -> None:
    """An error is not the answer that a key is gone."""

    def fail() -> None:
        raise StoreUnavailable("no answer")

    rig.source.when_asked = fail
    plan = Plan(**{kind: deletes("x", "old")})  # type: ignore[arg-type]
    _, message = rig.run_to_its_end(plan, StoreUnavailable)

    assert message == "no answer"
    assert {"old", "x"} <= set(rig.target.entries)


def test_a_delete_of_many_that_left_some_out_is_not_believed_for_them(
    rig: MappingRig,
) -> None:
    """What the store does not name as gone is deleted on its own; directories are never deleted together."""
    rig.target.entries["e/in/"] = b""
    rig.target.deletes_at_once = 2
    rig.target.together = [{"old"}]

    found = rig.run(Plan(deletes=deletes("old", "x", "e/in/", "e/")))

    assert brief(found) == dict.fromkeys(("old", "x", "e/in/", "e/"), "deleted")
    alone = ["delete x", "delete e/in/", "delete e/"]
    assert rig.target.log[1:] == ["delete together old x", *alone]
    assert rig.target.entries == {}


def test_a_delete_of_many_that_fails_is_no_end_of_the_mapping(rig: MappingRig) -> None:
    """Each of its entries fails with the cause, and stays in the index; a later request is made all the same."""
    rig.target.entries["y"] = b""
    rig.target.deletes_at_once = 2
    rig.target.together = [StoreUnavailable("no answer")]

    found = rig.run(Plan(deletes=deletes("old", "x", "y")))

    assert brief(found) == {"old": "failed", "x": "failed", "y": "deleted"}
    assert rig.known() == ["old", "x"]


def test_a_delete_that_fails_stops_no_other(rig: MappingRig) -> None:
    """Each delete is for itself; the index keeps what is still there."""
    rig.target.failures["old"] = [EntryError("immutable")]
    found = rig.run(Plan(deletes=deletes("old", "x")))

    assert brief(found) == {"old": "failed", "x": "deleted"}
    assert rig.known() == ["old"]


def test_a_stop_between_deletes_leaves_the_index_right(rig: MappingRig) -> None:
    """What was deleted before somebody asked to stop is forgotten, the rest is not."""
    rig.workers = 1
    found = carry_out(Plan(deletes=deletes("x", "old")), rig.context)
    first = next(found)
    assert isinstance(first, Outcome)
    rig.cancel_token.cancel()
    with pytest.raises(Cancelled):
        list(found)

    assert "x" not in rig.known()
    assert set(rig.known()) == set(rig.target.entries) & {"x", "old"}


def test_kinds_are_no_part_of_the_count(rig: MappingRig) -> None:
    """Withheld deletes are counted without directories, unless there is nothing else."""
    rig.source.failures["a"] = [EntryError("x"), EntryError("x")]
    both = rig.run(Plan(copies=copies(rig.source, "a"), deletes=deletes("old", "e/")))
    one = rig.run(
        Plan(
            copies=copies(rig.source, "a"),
            deletes=(Delete(Entry("e/", kind=Kind.DIRECTORY)),),
        )
    )

    assert [each.count for each in (*both, *one) if isinstance(each, Withheld)] == [1, 1]


# --- what stands in the way ---


@pytest.fixture
def in_the_way(rig: MappingRig) -> Plan:
    """A local `b/in` where the object `b` is to go; `a` goes where nothing is."""
    rig.workers = 1
    rig.target.entries["b/in"] = b"precious"
    return Plan(
        clears=deletes("b/in"),
        copies=(*copies(rig.source, "a"), *blocked(rig.source, "b")),
    )


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_failed_copy_clears_nothing_away(
    rig: MappingRig, in_the_way: Plan, name: str
) -> None:
    """What stands in the way is as dear as any file: it stays when anything could not be brought."""
    rig.source.failures[name] = [AccessDenied("x")] * ATTEMPTS
    found = rig.run(in_the_way)

    assert rig.target.entries["b/in"] == b"precious"
    reason = "1 entries could not be copied"
    assert found[-1] == Withheld(1, reason, is_consequence=True)
    assert brief(found) == (
        {"a": "failed", "b": "skipped"} if name == "a" else {"a": "copied", "b": "failed"}
    )
    errors = [each.error for each in found if isinstance(each, Outcome) and each.error]
    assert {error.exit_status for error in errors if isinstance(error, AgentError)} == {77}
    if name == "a":
        assert (
            str(errors[1])
            == f'"b" not written: what it would replace was kept because {reason}'
        )


def test_an_archived_object_clears_nothing_away(rig: MappingRig, in_the_way: Plan) -> None:
    """What cannot be had takes nobody's place; what others wait for goes all the same."""
    rig.source.entries["c"] = b"cccc"
    rig.target.entries |= {"c/": b"", "c/d/in": b"in the way too"}
    rig.source.failures["b"] = [EntryUnreadable("archived")]
    plan = replace(
        in_the_way,
        clears=deletes("c/d/in", "c/", "b/in"),
        copies=(*in_the_way.copies, *blocked(rig.source, "c")),
    )
    found = rig.run(plan)

    assert brief(found) == {
        "a": "copied",
        "b": "skipped",
        "c": "copied",
        "c/d/in": "deleted",
        "c/": "deleted",
    }
    assert (
        Withheld(1, "the entries that would replace them were skipped", is_consequence=True)
        in found
    )
    assert rig.target.entries["b/in"] == b"precious"


def test_a_file_gives_way_to_what_goes_below_it(rig: MappingRig) -> None:
    """A file stands in the way of every key below its name, and of none beside."""
    rig.source.entries["x/y/z"] = b"zzzz"
    rig.target.entries["x/y"] = b"gone"
    plan = Plan(clears=deletes("x/y"), copies=blocked(rig.source, "x/y/z"))

    assert brief(rig.run(plan)) == {"x/y": "deleted", "x/y/z": "copied"}


def test_what_came_back_meanwhile_is_not_cleared_away(
    rig: MappingRig, in_the_way: Plan
) -> None:
    """Copies take hours: right before something goes, the source is asked again."""
    rig.target.when_put = lambda _key: rig.source.missed.add("b/in")
    found = rig.run(in_the_way)

    reason = 'incomplete listing: "b/in" still exists at the source'
    assert brief(found) == {"a": "copied", "b": "skipped"}
    assert found[-1] == Withheld(1, reason)
    assert rig.target.entries["b/in"] == b"precious"
    assert rig.target.discarded == ["b"]


def test_a_stop_never_leaves_a_place_empty(rig: MappingRig, in_the_way: Plan) -> None:
    """Once something has gone for it, an entry that is here already shows, whoever asks to stop."""
    delete = rig.target.delete

    def stop_then_delete(entry: Entry) -> bool:
        rig.cancel_token.cancel()
        return delete(entry)

    rig.target.delete = stop_then_delete  # type: ignore[method-assign]
    rig.run_to_its_end(in_the_way, Cancelled)

    assert rig.target.entries["b"] == b"bbbb"


def test_a_store_that_publishes_on_put_is_cleared_first(
    rig: MappingRig, in_the_way: Plan
) -> None:
    """S3 takes the bytes only when the place is free, and that is after all other copies."""
    rig.target.publishes_on_put = True
    rig.run(in_the_way)

    assert rig.target.log[-4:] == ["show a", "delete b/in", "put b", "show b"]
