"""What `files`, `ignore` and `extras` of a mapping do to its plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.plans import (
    MAPPING,
    Shape,
    file,
    plan_of,
    shape,
    tree,
)

from s32s_agent.errors import (
    MapError,
)
from s32s_agent.model import (
    Entry,
    Extras,
    Kind,
    Plan,
    Problem,
)
from s32s_agent.plan.compare import difference


def test_ignored_entries_are_invisible_on_both_sides() -> None:
    """What `ignore` matches is neither copied nor deleted, nor the directory that it is in."""
    mapping = replace(MAPPING, ignore=("tmp/*", "*.bak"))
    source = tree("a a.bak tmp/x")
    target = tree("a b.bak d/ d/e/ d/e/x.bak gone.bak tmp/ tmp/y", {"gone.bak": Kind.MISSING})

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
