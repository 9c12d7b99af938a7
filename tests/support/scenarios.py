"""The scenarios of fault injection: runs that meet every kind of change.

with new_rig(SCENARIOS["change"], directory, once) as rig: ...
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from s32s_agent.model import Entry
from s32s_agent.stores.local.partial_downloads import name_of
from support.fault_rigs import OLD_TRASH, FaultRig, Files, Once, Scenario, as_process, new_rig
from support.hosts import PREFIX
from support.invariants import (
    TEMPORARY,
)
from support.small_ranges import RANGE
from support.tracing import KILL, PROCEED, Action, Call
from support.trees import write

LARGE = 3 << 20

_SMALL = {f"many/{number}": b"%d" % number for number in range(6)}
_OLD: Files = {
    "same": b"same",
    "changed": b"old",
    "large": b"old" * 1000,
    "touched": b"touched",
    "vanished": b"vanished",
    "gone/x": b"gone x",
    "gone/deep/y": b"gone y",
    "way": b"a file that is replaced by a directory",
    "place/in": b"a directory that is replaced by a file",
}
_NEW: Files = {
    "same": b"same",
    "changed": b"new",
    "large": os.urandom(1024) * (LARGE // 1024),
    "touched": b"touched",
    "vanished": b"vanished",
    "adopted": b"adopted",
    "way/in/deep": b"new below",
    "place": b"a new file",
    **_SMALL,
}
_NEWEST: Files = {key: data + b"!" for key, data in _NEW.items()} | {"same": b"same"}
_EDIT, _MINE = b"edited by hand", b"written by hand"
_REPLACED = frozenset(_OLD[key] for key in ("gone/x", "gone/deep/y", "way", "place/in"))


def _first(rig: FaultRig) -> None:
    rig.publish({**_SMALL, "d/large": _NEW["large"], "d/d/x": b"x"})


def _change(rig: FaultRig) -> None:
    rig.publish(_OLD)
    rig.once(rig.agent)
    rig.publish(_NEW)
    place = rig.local
    edits = {"large": _EDIT, "mine/own": _MINE, "adopted": _NEW["adopted"], OLD_TRASH: b"old"}
    write(place, edits)
    (place / "vanished").unlink()
    os.utime(place / "touched", (1, 1))
    rig.server.put("maps/site.json", rig.server.objects["maps/site.json"].data + b"\n")
    if rig.keeps_trash:
        rig.precious = frozenset({_EDIT, _MINE})
    rig.disposable = _REPLACED | {_OLD["touched"], _NEW["adopted"]}


def _moving(rig: FaultRig) -> None:
    """As `change`, and the bucket has changed again before the next run."""
    _change(rig)
    rig.then = lambda later: later.publish(_NEWEST)


def _repair(rig: FaultRig) -> None:
    """A run after one that was killed when all was written and nothing renamed."""
    _change(rig)
    rig.trace(lambda call: KILL if call.name == "syncfs" else PROCEED)


def _ranged(rig: FaultRig) -> None:
    """Large objects in ranges: of one, a killed run left a part; of another, there is a planted part."""
    old = {"large": b"old" * 1000, "other": b"old", "same": b"same"}
    new = {
        "large": os.urandom(16 * RANGE + 5),
        "other": os.urandom(9 * RANGE),
        "same": b"same",
    }
    rig.publish(old)
    rig.once(rig.agent)
    rig.publish(new)
    written: list[Call] = []

    def kill_late(call: Call) -> Action:
        if call.name == "pwrite64" and str(rig.local) in call.paths[0]:
            written.append(call)
        return KILL if len(written) > 12 else PROCEED

    rig.trace(kill_late)
    etag = rig.server.objects[f"{PREFIX}/other"].etag.strip('"')
    false = rig.local / name_of(Entry("other", len(new["other"]), etag))
    false.write_bytes(os.urandom(8 * RANGE))
    (rig.local / (TEMPORARY + "0" * 32)).write_bytes(b"of another version")


def _master(rig: FaultRig) -> None:
    old = {"same": b"same", "changed": b"old", "gone/x": b"gone", "large": b"old"}
    new = {"same": b"same", "changed": b"new", "large": os.urandom(1024) * (9 << 10), **_SMALL}
    rig.local.mkdir()
    write(rig.local, old)
    rig.published.append(old)
    rig.once(rig.agent)
    (rig.local / "gone/x").unlink()
    (rig.local / "gone").rmdir()
    write(rig.local, new)
    rig.published.append(new)


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("first", _first),
        Scenario("change", _change),
        Scenario("moving", _moving),
        Scenario("repair", _repair),
        Scenario("ranged", _ranged, small_ranges=True),
        Scenario("without durability", _change, sync={"durable": False}),
        Scenario("without trash", _change, sync={"trash_days": 0}),
        Scenario("reporting", _change, reports=True),
        Scenario("master", _master, is_master=True),
    )
}


def calls_of(scenario: Scenario, directory: Path, once: Once = as_process) -> Sequence[Call]:
    """List the calls of the run without a fault."""
    with new_rig(scenario, directory, once) as rig:
        return rig.trace(lambda _call: PROCEED).calls
