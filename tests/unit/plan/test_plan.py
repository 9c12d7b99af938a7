"""The rules: what two listings make the agent do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pytest
from support.calls import counted_calls

from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    ListingInconsistent,
    MapError,
    StoreUnavailable,
)
from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    Extras,
    Kind,
    Location,
    Mapping,
    Plan,
    Problem,
    Why,
    Withheld,
)
from s32s_agent.plan import plan
from s32s_agent.plan.compare import Difference, OutOfOrder, difference, pair_up
from s32s_agent.plan.plan import DeleteGuards, lifted, make_plan

MAPPING = Mapping("m", Location("bucket", "p"), "/srv/m")
BELIEVE_ALL = DeleteGuards(max_delete=lambda count: count)
ONE = "0cc175b9c0f1b6a831c399e269772661"
TWO = "92eb5ffee6ae2fec3ad71c777531578f"
PARTS = f"{TWO}-2"

SPECIAL_STAYS = "a FIFO, socket or device is left alone"
MOUNT_STAYS = "another file system is mounted here, which is left alone"
MAY_BELONG = "they may belong to entries that were skipped"


def file(key: str, size: int = 1, etag: str | None = ONE, *, edited: bool = False) -> Entry:
    return Entry(key, size, etag, edited=edited)


def thing(key: str, kind: Kind) -> Entry:
    return Entry(key, kind=kind)


def tree(text: str, kinds: dict[str, Kind] | None = None) -> list[Entry | Problem]:
    """Make a scan of names: `a d/ d/b`; all files are alike."""
    known = kinds or {}
    return [
        thing(name, known.get(name, Kind.DIRECTORY))
        if name.endswith("/") or name in known
        else file(name)
        for name in text.split()
    ]


def plan_of(
    source: Iterable[Entry | Problem],
    target: Iterable[Entry | Problem],
    *,
    mapping: Mapping = MAPPING,
    guards: DeleteGuards = BELIEVE_ALL,
    same: Sequence[str] = (),
) -> Plan:
    return make_plan(difference(source, target, mapping), same, mapping.extras, guards)


def keys_of(actions: Iterable[Copy | Delete]) -> str:
    return " ".join(action.entry.key for action in actions)


@dataclass(frozen=True)
class Shape:
    """A plan as text."""

    clears: str = ""
    copies: str = ""
    deletes: str = ""
    skipped: str = ""
    withheld: int = 0


def shape(plan: Plan) -> Shape:
    return Shape(
        keys_of(plan.clears),
        keys_of(plan.copies),
        keys_of(plan.deletes),
        " ".join(problem.key for problem in plan.skipped),
        sum(withheld.count for withheld in plan.withheld),
    )


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
        thing("k", Kind.GONE),
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
    (NOTHING, thing("k", Kind.GONE), Plan(forgotten=("k",))),
    (thing("k", Kind.GONE), NOTHING, Plan(forgotten=("k",))),
    (thing("k", Kind.GONE), file("k"), Plan(deletes=(Delete(file("k")),))),
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


# --- what the mapping says ---


def test_ignored_entries_are_invisible_on_both_sides() -> None:
    """What `ignore` matches is neither copied nor deleted, nor the directory that it is in."""
    mapping = replace(MAPPING, ignore=("tmp/*", "*.bak"))
    source = tree("a a.bak tmp/x")
    target = tree("a b.bak d/ d/e/ d/e/x.bak gone.bak tmp/ tmp/y", {"gone.bak": Kind.GONE})

    plan = plan_of(source, target, mapping=mapping)

    assert plan == Plan(unchanged=1, forgotten=("gone.bak",))


def test_an_ignored_special_file_is_not_even_reported() -> None:
    """What is invisible is no problem either."""
    mapping = replace(MAPPING, ignore=("*.sock",))
    plan = plan_of(tree("a"), tree("a x.sock", {"x.sock": Kind.SPECIAL}), mapping=mapping)

    assert plan == Plan(unchanged=1)


def test_files_names_everything_that_is_mirrored() -> None:
    """Only the named files are taken, and the rest of the target goes."""
    mapping = replace(MAPPING, files=frozenset({"a", "d/b"}))

    plan = plan_of(tree("a c d/ d/b d/c"), tree("c"), mapping=mapping)

    assert shape(plan) == Shape(copies="a d/b", deletes="c")


def test_a_missing_named_file_changes_nothing() -> None:
    """A mapping that names a file which is not there fails with every such name, before anything is planned."""
    mapping = replace(MAPPING, files=frozenset({"a", "b", "c"}))

    with pytest.raises(MapError) as caught:
        difference(tree("b"), tree("x"), mapping)

    assert str(caught.value) == (
        'mapping "m", files: "a" is not at the source; "c" is not at the source'
    )


def test_a_named_file_that_could_not_be_looked_at_is_not_missing() -> None:
    """Where the source could not be read, absence is no fact: the mapping goes on without deletes."""
    mapping = replace(MAPPING, files=frozenset({"a", "d/b"}))
    source: list[Entry | Problem] = [
        file("a"),
        Problem("d/", "cannot be read", "d/", fatal=True),
    ]

    plan = plan_of(source, tree("d/ d/b x"), mapping=mapping)

    assert shape(plan) == Shape(copies="a", skipped="d/", withheld=2)


def test_extras_that_are_kept() -> None:
    """With `extras: keep` nothing is deleted, and no guard has anything to say."""
    mapping = replace(MAPPING, extras=Extras.KEEP)

    plan = plan_of([], tree("a b d/ d/c"), mapping=mapping)

    assert plan == Plan()


def test_kept_extras_are_not_cleared_away_either() -> None:
    """A file that is kept stays also where a directory would have to go."""
    mapping = replace(MAPPING, extras=Extras.KEEP)

    plan = plan_of(tree("a/b c"), tree("a c/ c/d"), mapping=mapping)

    assert shape(plan) == Shape(skipped="a/b c")


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

    assert plan.skipped == (Problem("a/b", 'link "a" stands in the way and stays', "a/b"),)


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
    """A share above `max_delete` is held back, all of it; up to ten always pass."""
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
    """The operator's word for this pass counts more than the number."""
    guards = lifted(DeleteGuards(lambda _total: 0))

    assert shape(plan_of(tree("a"), tree("a b"), guards=guards)) == Shape(deletes="b")


@pytest.mark.parametrize("guards", [BELIEVE_ALL, lifted(BELIEVE_ALL)])
def test_an_empty_bucket_does_not_empty_the_disk(guards: DeleteGuards) -> None:
    """An empty source holds all deletes back, `--allow-deletes` or not."""
    plan = plan_of([], tree("a d/ d/b"), guards=guards)

    reason = "the source is empty (sync.allow_empty_source permits that)"
    assert plan == Plan(withheld=(Withheld(2, reason),))


def test_an_empty_source_that_is_allowed() -> None:
    """Who says that empty is right gets an empty target."""
    guards = replace(BELIEVE_ALL, allow_empty_source=True)

    assert shape(plan_of([], tree("a"), guards=guards)) == Shape(deletes="a")


def test_an_unmounted_source_with_an_index_is_empty_too() -> None:
    """Rows of the index are no entries of a source."""
    plan = plan_of([thing("a", Kind.GONE)], tree("a b"))

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
    target = [*tree("a"), thing("d/gone", Kind.GONE), *tree("x y")]

    plan = plan_of(source, target, guards=lifted(BELIEVE_ALL))

    reason = 'the source could not be read completely: "d/": cannot be read'
    assert plan == Plan(
        copies=(Copy(file("new"), Why.NEW),),
        skipped=(unread,),
        withheld=(Withheld(2, reason),),
        unchanged=1,
    )


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
    """An exception of a scan passes through, so nothing is decided on half of it."""

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


def test_the_difference_streams() -> None:
    """Equal entries leave nothing behind, however many there are."""
    names = [f"{number:06}" for number in range(20_000)]

    found = difference(map(file, names), map(file, names), MAPPING)

    expected = Difference(unchanged=20_000, source_entries=20_000, target_entries=20_000)
    assert found == expected


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
