"""A difference becomes a plan: what is never touched, what is withheld, what must go first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.calls import counted_calls
from support.plans import (
    BELIEVE_ALL,
    MAPPING,
    MAY_BELONG,
    Shape,
    file,
    plan_of,
    shape,
    thing,
    tree,
)

from s32s_agent.model import (
    Copy,
    Entry,
    Extras,
    Kind,
    Plan,
    Problem,
    Why,
    Withheld,
)
from s32s_agent.plan import plan
from s32s_agent.plan.compare import difference
from s32s_agent.plan.plan import DeleteGuards, lifted, make_plan

# --- what is never touched ---


@pytest.mark.parametrize(
    ("target", "kinds", "source", "expected"),
    [
        ("a", {"a": Kind.LINK}, "a/b", Shape(skipped="a/b")),
        ("a", {"a": Kind.LINK}, "a/b a/c", Shape(skipped="a/b a/c")),
        ("a", {"a": Kind.SPECIAL}, "a/b", Shape(skipped="a a/b")),
        ("a/", {"a/": Kind.MOUNT}, "a/b", Shape(skipped="a/ a/b")),
        ("a/", {"a/": Kind.MOUNT}, "a/ a/b", Shape(skipped="a/ a/b")),
        ("a/", {"a/": Kind.MOUNT}, "a", Shape(skipped="a/ a")),
        ("d/ d/x", {"d/x": Kind.SPECIAL}, "d", Shape(skipped="d/x d")),
        ("d/ d/e/ d/e/m/", {"d/e/m/": Kind.MOUNT}, "d", Shape(skipped="d/e/m/ d")),
        ("d/ d/e/ d/l", {"d/l": Kind.LINK}, "d", Shape("d/l d/e/ d/", "d")),
        ("d/ d/x", {"d/x": Kind.SPECIAL}, "z", Shape(copies="z", skipped="d/x")),
        ("a b", {"a": Kind.LINK}, "a", Shape("", "a", "b")),
    ],
)
def test_nothing_is_written_through_links_mounts_and_special_files(
    target: str, kinds: dict[str, Kind], source: str, expected: Shape
) -> None:
    """A link in a directory's place stops what must go below it, and stays; so do mounts and special files."""

    assert shape(plan_of(tree(source), tree(target, kinds))) == expected


def test_what_blocks_a_copy_is_named() -> None:
    """The report says which entry stands in whose way."""
    plan = plan_of(tree("a/b"), tree("a", {"a": Kind.LINK}))

    assert plan.skipped == (Problem("a/b", 'link "a" is in the way and is kept', "a/b"),)


def test_an_ignored_file_keeps_its_directory_from_being_cleared() -> None:
    """Where a directory holds something invisible, no file can take its place."""
    mapping = replace(MAPPING, ignore=("*.bak",))

    plan = plan_of(tree("d"), tree("d/ d/x.bak d/y"), mapping=mapping)

    assert shape(plan) == Shape(skipped="d", deletes="d/y")


# --- keys that no file can have, and their scopes ---


def test_a_key_that_escapes_is_skipped_and_the_rest_goes_on() -> None:
    """An impossible name stops nothing else, deletes neither."""
    plan = plan_of([*map(file, ("../esc", "a", "b//c"))], tree("b/ b/c x"))

    assert shape(plan) == Shape(copies="a", deletes="x b/c b/", skipped="../esc b//c")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("d/\ufffd x", "d/ d/a d/e/ d/e/f x y", Shape("", "", "y", "d/\ufffd", 2)),
        ("\ufffd x", "a x", Shape("", "", "", "\ufffd", 1)),
        ("d\ufffd/b x", "d\xe9/ d\xe9/b x", Shape("", "", "", "d\ufffd/b", 1)),
        ("d/e\ufffd/b x", "a d/ d/e\xe9/ d/e\xe9/b x", Shape("", "", "a", "d/e\ufffd/b", 1)),
    ],
)
def test_a_mangled_name_never_deletes_the_file_that_it_may_stand_for(
    source: str, target: str, expected: Shape
) -> None:
    """A key with U+FFFD may be any file beside its first mangled part: those stay."""

    assert shape(plan_of(tree(source), tree(target))) == expected


def test_a_local_name_that_is_no_text_deletes_nothing_in_s3() -> None:
    """A master cannot say which key a name stands for that is not UTF-8, so it believes no absence."""
    plan = plan_of([file("a"), file("\udcff")], tree("a b"))

    assert shape(plan) == Shape(skipped="\udcff", withheld=1)


def test_a_skipped_link_of_the_source_keeps_what_its_name_has_at_the_target() -> None:
    """A master that skips links does not delete what they led to when they were followed, nor fails."""
    source = tree("a x", {"a": Kind.LINK})

    plan = plan_of(source, tree("a/b x y"))

    assert shape(plan) == Shape(deletes="y", skipped="a", withheld=1)
    assert plan.skipped[0].expected


def test_a_special_file_of_the_source_is_told_and_not_read() -> None:
    """A FIFO at the source is skipped, and its name keeps what it has."""
    plan = plan_of(tree("a x", {"a": Kind.SPECIAL}), tree("a x"))

    assert shape(plan) == Shape(skipped="a", withheld=1)


@pytest.mark.parametrize(
    ("scope", "deletes", "withheld"),
    [
        (None, "z d/e/f d/e/ d/b d/ a", 0),
        ("", "", 4),
        ("d/", "z a", 2),
        ("d", "z a", 2),
        ("d/e/", "z d/b a", 1),
        ("d/e", "z d/b a", 1),
        ("d/e/f", "z d/b a", 1),
        ("a", "z d/e/f d/e/ d/b d/", 1),
        ("nowhere", "z d/e/f d/e/ d/b d/ a", 0),
    ],
)
def test_scopes(scope: str | None, deletes: str, withheld: int) -> None:
    """A problem holds back the deletes in its scope, with the directories around them, and no others."""
    source: list[Entry | Problem] = [Problem("?", "whatever", scope), file("x")]

    plan = plan_of(source, tree("a d/ d/b d/e/ d/e/f x z"))

    assert shape(plan) == Shape(deletes=deletes, skipped="?", withheld=withheld)
    assert {each.reason for each in plan.withheld} <= {MAY_BELONG}


def test_an_empty_directory_in_a_scope_stays_too() -> None:
    """A scope names a key with or without its slash."""
    source: list[Entry | Problem] = [Problem("d", "whatever", "d"), file("x")]

    assert shape(plan_of(source, tree("d/ x"))) == Shape(skipped="d")


# --- the guards ---


def quarter(total: int) -> int:
    """The default of `sync.max_delete`."""
    return max(10, total // 4)


@pytest.mark.parametrize(
    ("total", "extra", "withheld"),
    [(12, 10, 0), (12, 11, 11), (100, 25, 0), (100, 26, 26), (4, 3, 0)],
)
def test_a_bucket_that_lost_much_does_not_empty_the_disk(
    total: int, extra: int, withheld: int
) -> None:
    """A share above `max_delete` is withheld, all of it; up to ten are always allowed."""
    names = [f"f{number:03}" for number in range(total)]
    guards = DeleteGuards(quarter)

    plan = plan_of(map(file, names[extra:]), map(file, names), guards=guards)

    assert len(plan.deletes) == extra - withheld
    reason = f"sync.max_delete allows {quarter(total)} of {total} entries (--allow-deletes lifts it)"
    assert plan.withheld == ((Withheld(withheld, reason),) if withheld else ())


def test_the_guard_counts_files_and_links_but_no_directories() -> None:
    """A percentage is taken of what people call files; empty directories go along."""
    target = tree("a b d/ d/e/ l s x y/", {"l": Kind.LINK, "s": Kind.SPECIAL})
    seen: list[int] = []

    def allow(total: int) -> int:
        seen.append(total)
        return 3

    plan = plan_of(tree("x"), target, guards=DeleteGuards(allow))

    assert seen == [4]
    assert shape(plan) == Shape(deletes="y/ l d/e/ d/ b a", skipped="s")


def test_a_count_of_none_holds_everything_back() -> None:
    """`max_delete: 0` means none, not without limit."""
    plan = plan_of(tree("a"), tree("a b"), guards=DeleteGuards(lambda _total: 0))

    assert shape(plan) == Shape(withheld=1)


def test_allow_deletes_lifts_the_guard() -> None:
    """The operator's word for this run counts more than the number."""
    guards = lifted(DeleteGuards(lambda _total: 0))

    assert shape(plan_of(tree("a"), tree("a b"), guards=guards)) == Shape(deletes="b")


@pytest.mark.parametrize("guards", [BELIEVE_ALL, lifted(BELIEVE_ALL)])
def test_an_empty_bucket_does_not_empty_the_disk(guards: DeleteGuards) -> None:
    """An empty source holds all deletes back, `--allow-deletes` or not."""
    plan = plan_of([], tree("a d/ d/b"), guards=guards)

    reason = "the source is empty (sync.allow_empty_source: true accepts that)"
    assert plan == Plan(withheld=(Withheld(2, reason),))


def test_an_empty_source_that_is_allowed() -> None:
    """Who says that empty is right gets an empty target."""
    guards = replace(BELIEVE_ALL, allow_empty_source=True)

    assert shape(plan_of([], tree("a"), guards=guards)) == Shape(deletes="a")


def test_an_unmounted_source_with_an_index_is_empty_too() -> None:
    """Rows of the index are no entries of a source."""
    plan = plan_of([thing("a", Kind.MISSING)], tree("a b"))

    assert shape(plan) == Shape(withheld=2)


def test_an_ignored_source_is_an_empty_source() -> None:
    """A pattern that hides everything must not delete everything."""
    mapping = replace(MAPPING, ignore=("a*",))

    assert shape(plan_of(tree("a ab"), tree("x"), mapping=mapping)) == Shape(withheld=1)


def test_an_empty_source_and_target_are_in_sync() -> None:
    """Nothing to delete is nothing to refuse."""

    assert plan_of([], []) == Plan()


def test_an_unreadable_directory_at_the_source_deletes_nothing() -> None:
    """Something may be there that was not seen: no deletes anywhere, and the index keeps its rows."""
    unread = Problem("d/", "cannot be read", "d/", fatal=True)
    source: list[Entry | Problem] = [file("a"), unread, file("new")]
    target = [*tree("a"), thing("d/gone", Kind.MISSING), *tree("x y")]

    plan = plan_of(source, target, guards=lifted(BELIEVE_ALL))

    reason = 'incomplete listing of the source: "d/": cannot be read'
    assert plan == Plan(
        copies=(Copy(file("new"), Why.NEW),),
        skipped=(unread,),
        withheld=(Withheld(2, reason),),
        unchanged=1,
    )


@pytest.mark.parametrize(
    "guards",
    [DeleteGuards(lambda _total: 0), replace(BELIEVE_ALL, allow_empty_source=False)],
    ids=["max_delete", "problem"],
)
def test_what_a_guard_holds_back_is_not_cleared_away_either(guards: DeleteGuards) -> None:
    """A guard that keeps a file keeps it from a copy that needs its place, too."""
    fatal: list[Entry | Problem] = [Problem("zz", "cannot be read", "zz", fatal=True)]

    plan = plan_of([*tree("a/b c"), *fatal], tree("a c/ c/d"), guards=guards)

    assert shape(plan) == Shape(skipped="zz a/b c", withheld=2)


def test_a_scope_keeps_what_is_in_a_copy_s_way() -> None:
    """What may belong to a skipped entry is not cleared for another one."""
    source: list[Entry | Problem] = [Problem("c/\ufffd", "mangled", "c/"), file("c")]

    plan = plan_of(source, tree("c/ c/d"))

    assert shape(plan) == Shape(skipped="c/\ufffd c", withheld=1)


def test_the_bytes_of_a_plan() -> None:
    """A plan knows how much it will move."""
    plan = plan_of([file("a", 3), file("b", 4), file("c", 5)], [file("b", 4)])

    assert plan.bytes == 8


def test_many_clashes_cost_no_more_than_their_number() -> None:
    """A listing full of files that are directories too is not gone through anew for each of them."""
    names = [name for each in range(2000) for name in (f"{each:04}", f"{each:04}/x")]
    with counted_calls() as calls:
        plan = plan_of(tree(" ".join(names)), [])

    assert [problem.key for problem in plan.skipped] == names
    assert calls.count < 200 * len(names)


@pytest.mark.parametrize("shape", ["{}/x", "{}/ {}/x"])
def test_many_directories_in_the_way_cost_no_more_than_their_number(shape: str) -> None:
    """Copies in the place of directories do not each go through all that is to be removed."""
    places = [f"{each:04}" for each in range(2000)]
    source = tree(" ".join(places))
    target = tree(" ".join(shape.format(each, each) for each in places))
    with counted_calls() as calls:
        plan = plan_of(source, target)

    assert len(plan.copies) == len(places)
    assert len(plan.clears) == len(target)
    assert calls.count < 200 * len(places)


def test_a_troubled_check_is_not_copied() -> None:
    """A key with a problem gets no action, not even after its bytes were compared."""
    found = difference([file("a")], [file("a", etag=None)], MAPPING)
    found.problems.append(Problem("a", "odd", "a"))

    assert shape(make_plan(found, (), Extras.DELETE, BELIEVE_ALL)) == Shape(skipped="a")


def test_the_only_place_with_rules_is_pure() -> None:
    """The planner imports nothing that reaches a disk, a network or a clock."""
    names = vars(plan)

    assert {"os", "time", "pathlib", "socket", "sqlite3"}.isdisjoint(names)


def test_a_left_over_directory_does_not_prove_the_disk_to_be_mounted() -> None:
    """A source with directories and no file is empty: nothing is deleted on its account."""
    guards = replace(BELIEVE_ALL, allow_empty_source=False)

    plan = plan_of(tree("d/"), tree("a b d/"), guards=guards)

    assert shape(plan) == Shape(withheld=2)
