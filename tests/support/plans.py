"""Scans written as texts, and plans as shapes, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from s32s_agent.model import (
    Copy,
    Delete,
    Entry,
    Kind,
    Location,
    Mapping,
    Plan,
    Problem,
)
from s32s_agent.plan.compare import difference
from s32s_agent.plan.plan import DeleteGuards, make_plan

MAPPING = Mapping("m", Location("bucket", "p"), "/srv/m")
BELIEVE_ALL = DeleteGuards(max_delete=lambda count: count)
ONE = "0cc175b9c0f1b6a831c399e269772661"
TWO = "92eb5ffee6ae2fec3ad71c777531578f"
PARTS = f"{TWO}-2"

SPECIAL_STAYS = "a FIFO, socket or device is never touched"
MOUNT_STAYS = "another file system is mounted here, which is never touched"
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
