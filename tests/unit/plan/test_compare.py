"""Two scans are compared: what is copied, hashed, removed or left, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Self

import pytest
from support.plans import (
    BELIEVE_ALL,
    MAPPING,
    MOUNT_STAYS,
    ONE,
    PARTS,
    SPECIAL_STAYS,
    TWO,
    Shape,
    file,
    plan_of,
    shape,
    thing,
    tree,
)

from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    ListingInconsistent,
    StoreUnavailable,
)
from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    Extras,
    Kind,
    Plan,
    Problem,
    Why,
)
from s32s_agent.plan.compare import (
    Difference,
    OutOfOrder,
    difference,
    leave_out_directories,
    pair_up,
)
from s32s_agent.plan.plan import make_plan

# --- what a master tries out ---


def scanned(*source: Entry | Problem) -> Difference:
    """Compare a source with an empty target."""
    return difference(source, (), MAPPING)


def test_a_slave_that_meets_a_probe_and_deletes_its_files_for_it() -> None:
    """The objects with which a master tries out the store are not mirrored, and make no source of an empty prefix."""
    probes = [file(".s32s/probe-0a/large"), file(".s32s/probe-0a/order/a")]

    assert plan_of([*probes, file("k")], [file("k")]) == plan_of([file("k")], [file("k")])
    assert scanned(*probes).is_source_bare


def test_a_store_that_keeps_no_directories_is_sent_none() -> None:
    """Empty directories are left out as something expected, and files are copied as ever."""
    found = scanned(*tree("a d/ e/f"))
    leave_out_directories(found)

    assert [each.entry.key for each in found.copies] == ["a", "e/f"]
    assert [(each.key, each.expected, each.scope) for each in found.problems] == [
        ("d/", True, None)
    ]


@pytest.mark.parametrize("key", ["/", "a//", "a//b/"])
def test_an_empty_object_of_s3fs_that_no_run_gets_over(key: str) -> None:
    """A marker with an empty part holds no data: a slave leaves it out as expected, a master does not remove it."""
    marker = thing(key, Kind.DIRECTORY)

    pulled, pushed = (
        plan_of([marker, file("k")], [file("k")]),
        plan_of([file("k")], [marker, file("k")]),
    )

    assert [(each.key, each.expected) for each in pulled.skipped] == [(key, True)]
    assert pushed == Plan(unchanged=1)


# --- pair_up ---


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("", "", []),
        ("a", "", ["a|"]),
        ("", "a", ["|a"]),
        ("a b", "a b", ["a|a", "b|b"]),
        ("a c", "b c d", ["a|", "|b", "c|c", "|d"]),
        ("b", "a", ["|a", "b|"]),
        ("a-b a/b a0", "a.b a/b", ["a-b|", "|a.b", "a/b|a/b", "a0|"]),
        ("\ue000", "\U00010000", ["\ue000|", "|\U00010000"]),
    ],
)
def test_pair_up(source: str, target: str, expected: list[str]) -> None:
    """Two listings are walked in lock step, in the order of code points."""
    pairs = pair_up(map(file, source.split()), map(file, target.split()))
    found = [f"{a.key if a else ''}|{b.key if b else ''}" for a, b in pairs]

    assert found == expected


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("b a", "", 'the source lists "a" after "b"'),
        ("a a", "", 'the source lists "a" after "a"'),
        ("", "b a", 'the target lists "a" after "b"'),
        ("a b", "b b", 'the target lists "b" after "b"'),
        ("a/b a-b", "x", 'the source lists "a-b" after "a/b"'),
        ("a c b", "a c b", 'the source lists "b" after "c"'),
    ],
)
def test_a_listing_without_order_never_deletes(source: str, target: str, message: str) -> None:
    """Disorder would make pairs be missed, so it ends the comparison, on either side."""
    with pytest.raises(OutOfOrder) as caught:
        difference(map(file, source.split()), map(file, target.split()), MAPPING)

    assert str(caught.value) == message
    assert isinstance(caught.value, ListingInconsistent)


# --- the truth table ---

NOTHING: Entry | None = None
TABLE: list[tuple[Entry | None, Entry | None, Plan]] = [
    (file("k"), NOTHING, Plan(copies=(Copy(file("k"), Why.NEW),))),
    (
        file("k"),
        thing("k", Kind.MISSING),
        Plan(copies=(Copy(file("k"), Why.MISSING_LOCALLY),)),
    ),
    (
        file("k", 1),
        file("k", 2),
        Plan(copies=(Copy(file("k", 1), Why.SIZE, file("k", 2)),)),
    ),
    (
        file("k", 1),
        file("k", 2, None, edited=True),
        Plan(copies=(Copy(file("k", 1), Why.LOCAL_CHANGED, file("k", 2, None, edited=True)),)),
    ),
    (
        file("k", 1, None, edited=True),
        file("k", 2),
        Plan(copies=(Copy(file("k", 1, None, edited=True), Why.LOCAL_CHANGED, file("k", 2)),)),
    ),
    (file("k"), file("k"), Plan(unchanged=1)),
    (
        file("k", 1, ONE),
        file("k", 1, TWO),
        Plan(copies=(Copy(file("k", 1, ONE), Why.ETAG, file("k", 1, TWO)),)),
    ),
    (
        file("k", 1, ONE),
        file("k", 1, PARTS),
        Plan(copies=(Copy(file("k", 1, ONE), Why.ETAG, file("k", 1, PARTS)),)),
    ),
    (
        file("k"),
        file("k", etag=None),
        Plan(copies=(Copy(file("k"), Why.ETAG, file("k", etag=None)),)),
    ),
    (
        file("k"),
        file("k", etag=None, edited=True),
        Plan(copies=(Copy(file("k"), Why.LOCAL_CHANGED, file("k", etag=None, edited=True)),)),
    ),
    (
        file("k"),
        thing("k", Kind.LINK),
        Plan(copies=(Copy(file("k"), Why.NEW, thing("k", Kind.LINK)),)),
    ),
    (
        file("k"),
        thing("k", Kind.SPECIAL),
        Plan(skipped=(Problem("k", SPECIAL_STAYS, "k"),)),
    ),
    (
        thing("k/", Kind.DIRECTORY),
        NOTHING,
        Plan(copies=(Copy(thing("k/", Kind.DIRECTORY), Why.NEW),)),
    ),
    (thing("k/", Kind.DIRECTORY), thing("k/", Kind.DIRECTORY), Plan()),
    (
        thing("k/", Kind.DIRECTORY),
        thing("k/", Kind.MOUNT),
        Plan(skipped=(Problem("k/", MOUNT_STAYS, "k/"),)),
    ),
    (NOTHING, file("k"), Plan(deletes=(Delete(file("k")),))),
    (NOTHING, thing("k", Kind.LINK), Plan(deletes=(Delete(thing("k", Kind.LINK)),))),
    (
        NOTHING,
        thing("k/", Kind.DIRECTORY),
        Plan(deletes=(Delete(thing("k/", Kind.DIRECTORY)),)),
    ),
    (
        NOTHING,
        thing("k", Kind.SPECIAL),
        Plan(skipped=(Problem("k", SPECIAL_STAYS, "k"),)),
    ),
    (
        NOTHING,
        thing("k/", Kind.MOUNT),
        Plan(skipped=(Problem("k/", MOUNT_STAYS, "k/"),)),
    ),
    (NOTHING, thing("k", Kind.MISSING), Plan(forgotten=("k",))),
    (thing("k", Kind.MISSING), NOTHING, Plan(forgotten=("k",))),
    (thing("k", Kind.MISSING), file("k"), Plan(deletes=(Delete(file("k")),))),
]


@pytest.mark.parametrize(("source", "target", "expected"), TABLE)
def test_the_truth_table(source: Entry | None, target: Entry | None, expected: Plan) -> None:
    """Each pair of the table in `_Comparison` gives exactly one plan; checks are taken to find other bytes."""
    beside = file("zz")
    found = plan_of(
        [each for each in (source, beside) if each],
        [each for each in (target, beside) if each],
    )

    assert replace(found, unchanged=found.unchanged - 1) == expected


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (file("k"), file("k", etag=None), Why.ETAG),
        (file("k"), file("k", etag=None, edited=True), Why.LOCAL_CHANGED),
        (file("k", etag=None), file("k"), Why.ETAG),
        (file("k", etag=None, edited=True), file("k"), Why.LOCAL_CHANGED),
        (file("k", 1, ONE), file("k", 1, PARTS), Why.ETAG),
    ],
)
def test_what_nothing_vouches_for_is_hashed_and_not_sent(
    source: Entry, target: Entry, why: Why
) -> None:
    """Same size and no proof is a check; equal bytes are adopted, without a copy."""
    found = difference([source], [target], MAPPING)
    check = Check(source, target, why)

    assert found.checks == [check]
    assert make_plan(found, {"k"}, Extras.DELETE, BELIEVE_ALL) == Plan(adopted=(check,))


def test_another_size_behind_the_same_etag_is_a_change() -> None:
    """The ETag alone never makes two entries equal."""
    plan = plan_of([file("k", 1, ONE)], [file("k", 2, ONE)])

    assert shape(plan) == Shape(copies="k")


# --- directories ---


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("d/", "", Shape(copies="d/")),
        ("d/ d/e/", "", Shape(copies="d/e/")),
        ("d/ d/b", "", Shape(copies="d/b")),
        ("d/ e/", "", Shape(copies="d/ e/")),
        ("d/ d0", "", Shape(copies="d/ d0")),
        ("d/", "d/", Shape()),
        ("d/b", "d/ d/b", Shape()),
        ("d/b", "d/b", Shape()),
        ("d/e/b", "d/ d/e/ d/e/b", Shape()),
        ("d/ x", "d/ d/b x", Shape(deletes="d/b")),
        ("x", "d/ d/b d/e/ d/e/b x", Shape(deletes="d/e/b d/e/ d/b d/")),
        ("d/e/b x", "d/ d/c/ d/c/b d/e/ d/e/b x", Shape(deletes="d/c/b d/c/")),
        ("d/b x", "d/ d/a/ d/a/a/ d/b d/z/ x", Shape(deletes="d/z/ d/a/a/ d/a/")),
    ],
)
def test_directories(source: str, target: str, expected: Shape) -> None:
    """A directory is made when nothing else makes it, and goes, after its content, when nothing is in it."""

    assert shape(plan_of(tree(source), tree(target))) == expected


def test_copies_come_outermost_first_and_deletes_innermost_first() -> None:
    """The plan is in an order in which each of its actions can be done."""
    plan = plan_of(tree("a/ b/ b/c/ x/y"), tree("m/ m/n/ m/n/o z"))

    assert shape(plan) == Shape(copies="a/ b/c/ x/y", deletes="z m/n/o m/n/ m/")


# --- clashes ---


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a a/b", "", Shape(skipped="a a/b")),
        ("a a-b a/b", "", Shape(copies="a-b", skipped="a a/b")),
        ("a a/", "", Shape(skipped="a a/")),
        ("a a/b/c a/d", "", Shape(skipped="a a/b/c a/d")),
        ("a a/b", "a", Shape(skipped="a a/b")),
        ("a a/b x", "a/ a/b a/c x", Shape(skipped="a a/b", withheld=2)),
        ("a a/b x", "a/ x", Shape(skipped="a a/b")),
        ("a a/b x", "x y", Shape(skipped="a a/b", deletes="y")),
        ("d/a d/a/b x", "d/ d/a/ d/a/c d/z x", Shape("", "", "d/z", "d/a d/a/b", 1)),
    ],
)
def test_a_file_that_is_a_directory_too_destroys_neither(
    source: str, target: str, expected: Shape
) -> None:
    """A key below another file's key has no place in a directory: both are told, and what is there stays."""

    assert shape(plan_of(tree(source), tree(target))) == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a/b", "a", Shape("a", "a/b")),
        ("a/ b", "a b", Shape("a", "a/")),
        ("a/b/c", "a", Shape("a", "a/b/c")),
        ("a/b/c a/d", "a/ a/b", Shape("a/b", "a/b/c a/d")),
        ("a", "a/ a/b a/c/ a/c/d", Shape("a/c/d a/c/ a/b a/", "a")),
        ("a b", "a/ a/b b c", Shape("a/b a/", "a", "c")),
        ("a/b a/c", "a", Shape("a", "a/b a/c")),
    ],
)
def test_a_target_s_file_gives_way_to_a_directory_and_the_reverse(
    source: str, target: str, expected: Shape
) -> None:
    """What stands in a copy's way is cleared first, and only that."""

    assert shape(plan_of(tree(source), tree(target))) == expected


# --- streaming, and scans that end early ---


def test_an_unreadable_directory_at_the_target_ends_the_mapping() -> None:
    """A target that was not seen whole gets no plan at all."""
    target: list[Entry | Problem] = [Problem("d/", "cannot be read", "d/", fatal=True)]

    with pytest.raises(DirectoryError) as caught:
        difference(tree("a d/b"), target, MAPPING)

    assert str(caught.value) == 'target "d/": cannot be read'


def test_a_target_s_lesser_problem_is_reported() -> None:
    """What the target cannot say of one key keeps that key out of the plan."""
    problem = Problem("a", "odd", "a")

    plan = plan_of(tree("a b"), [problem])

    assert shape(plan) == Shape(copies="b", skipped="a")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_listing_that_breaks_off_is_no_shorter_listing(side: str) -> None:
    """An exception of a scan is raised, so nothing is decided on half of it."""

    def broken() -> Iterator[Entry | Problem]:
        yield file("a")
        raise StoreUnavailable("page 2")

    sides: dict[str, Iterable[Entry | Problem]] = {"source": [], "target": tree("a b")}
    sides[side] = broken()

    with pytest.raises(AgentError, match="page 2"):
        difference(sides["source"], sides["target"], MAPPING)


def test_nothing_is_decided_before_both_listings_ended() -> None:
    """The difference holds no conclusion that a later entry could contradict: only whole scans give one."""
    taken: list[str] = []

    def slowly(names: str) -> Iterator[Entry]:
        for name in names.split():
            taken.append(name)
            yield file(name)

    found = difference(slowly("a c"), slowly("b d"), MAPPING)

    assert sorted(taken) == ["a", "b", "c", "d"]
    assert sorted(found.removals) == ["b", "d"]


def test_the_difference_streams() -> None:
    """Equal entries leave nothing behind, however many there are."""
    names = [f"{number:06}" for number in range(20_000)]

    found = difference(map(file, names), map(file, names), MAPPING)

    expected = Difference(
        unchanged=20_000, is_source_bare=False, source_entries=20_000, target_entries=20_000
    )
    assert found == expected


@pytest.mark.parametrize("pattern", ["private*", "private/*"])
def test_what_is_ignored_need_not_be_readable(pattern: str) -> None:
    """An ignored directory that cannot be read is invisible on both sides, as ignored things are."""
    unreadable: list[Entry | Problem] = [Problem("private/", "no", "private/", fatal=True)]
    mapping = replace(MAPPING, ignore=(pattern,))

    as_target = plan_of(tree("a"), [*tree("b"), *unreadable], mapping=mapping)
    as_source = plan_of([*tree("a"), *unreadable], tree("b"), mapping=mapping)

    assert [shape(as_target), shape(as_source)] == [Shape(copies="a", deletes="b")] * 2


class _Counted(Entry):
    """Counts how many of it exist."""

    alive = 0
    most = 0

    def __new__(cls, key: str, size: int, etag: str) -> Self:
        made = super().__new__(cls, key, size, etag)
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return made

    def __del__(self) -> None:
        _Counted.alive -= 1


def test_memory_follows_the_changes_and_not_the_entries() -> None:
    """Of ten thousand unchanged entries hardly any exist at a time; of the changed ones all do, until they are done."""

    def side(etags: str) -> Iterator[Entry]:
        for number in range(10_000):
            changed = number % 1000 == 0
            yield _Counted(f"d{number // 100:03}/{number:05}", 1, etags[changed])

    found = difference(side("ab"), side("ac"), MAPPING)

    assert (found.unchanged, len(found.copies) + len(found.checks)) == (9990, 10)
    assert _Counted.most < 50
