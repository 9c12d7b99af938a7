"""A plan for people."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    Kind,
    Location,
    Mapping,
    Plan,
    Problem,
    Role,
    Why,
    Withheld,
)
from s32s_agent.output.plan_table import plan_lines

MAPPING = Mapping("site", Location("bucket", "p"), "/srv/site")


def test_a_plan_shows_every_action_with_its_reason() -> None:
    """What is cleared, copied, deleted, skipped and withheld stands there in the order of the work, then the sums."""
    entry = Entry("k", 7)
    plan = Plan(
        clears=(Delete(Entry("a", 1)),),
        copies=(
            Copy(Entry("a/b", 52_113), Why.NEW),
            Copy(Entry("c", 5), Why.LOCAL_CHANGED, Entry("c", 4)),
            Copy(Entry("d/", kind=Kind.DIRECTORY), Why.NEW),
        ),
        deletes=(Delete(Entry("z", 1000)),),
        adopted=(Check(entry, entry, Why.ETAG),),
        skipped=(Problem("x//y", "an empty part"),),
        withheld=(Withheld(4, "too many"),),
        unchanged=2,
    )

    assert list(plan_lines(MAPPING, plan, Role.SLAVE)) == [
        "site: s3://bucket/p -> /srv/site",
        "  action   why                 size       now  key",
        "  delete   in the way                     1 B  a",
        "  copy     new              52.1 kB            a/b",
        "  copy     local changed        5 B       4 B  c",
        "  copy     new                                 d/",
        "  delete   not at source               1.0 kB  z",
        "  skip                                         x//y  (an empty part)",
        "  withheld                                     4 deletes: too many",
        "  3 to copy (52.1 kB), 2 to delete, 3 unchanged",
    ]


def test_a_plan_without_actions_has_no_table() -> None:
    """Where nothing is to be done there are no columns, only the sums."""
    assert list(plan_lines(MAPPING, Plan(unchanged=3), Role.SLAVE)) == [
        "site: s3://bucket/p -> /srv/site",
        "  0 to copy (0 B), 0 to delete, 3 unchanged",
    ]


def test_colours_change_nothing_but_colours() -> None:
    """Without its escapes a painted plan is the plain one, and what is lost is red."""
    plan = Plan(copies=(Copy(Entry("a", 1), Why.NEW),), deletes=(Delete(Entry("z", 1)),))
    painted = list(plan_lines(MAPPING, plan, Role.SLAVE, colours=True))
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in painted]

    assert plain == list(plan_lines(MAPPING, plan, Role.SLAVE))
    assert painted[-2].startswith("\x1b[31m  delete")


def test_the_direction_of_a_master() -> None:
    """A master's plan reads from here to S3."""
    lines = plan_lines(MAPPING, Plan(), Role.MASTER)

    assert next(lines) == "site: /srv/site -> s3://bucket/p"


@pytest.mark.parametrize("evil", ["\x1b[2J", "\r\n", "\u202e", "\x9b31m", "\udcff", "\x00"])
def test_no_name_acts_on_a_terminal(evil: str) -> None:
    """Nothing that a bucket or a map can name reaches the terminal raw."""
    mapping = replace(MAPPING, name=f"m{evil}", directory=f"/srv/{evil}")
    plan = Plan(
        clears=(Delete(Entry(f"a{evil}")),),
        copies=(Copy(Entry(f"b{evil}"), Why.NEW),),
        deletes=(Delete(Entry(f"c{evil}")),),
        skipped=(Problem(f"d{evil}", f"because of {evil}"),),
        withheld=(Withheld(1, f'"{evil}" exists'),),
    )
    text = "\n".join(plan_lines(mapping, plan, Role.SLAVE))

    assert evil not in text
    assert all(character.isprintable() or character == "\n" for character in text)
