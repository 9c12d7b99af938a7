"""Files and directories are exchanged with links again and again during a run: nothing outside is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.forked import forked_once
from support.hosts import PREFIX
from support.invariants import check_index, check_output, check_recovery, tree_of
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.swapping import Swapper, paired, put_back
from support.trees import RESERVED, canary, write

pytestmark = pytest.mark.hostile

ROUNDS = 300
"""The maximum of runs while names are exchanged."""


def _failures(run: AgentRun, _slave: Slave) -> int:
    return len(run.named("entry.failed")) + len(run.named("entry.skipped"))


def _refusals(run: AgentRun, _slave: Slave) -> int:
    return len(run.named("mapping.failed"))


def _links_replaced(run: AgentRun, slave: Slave) -> int:
    """Count the links that this run replaced: they are in its trash."""
    trash = slave.target / ".s32s/trash" / run.events[0]["run_id"]
    return sum(path.is_symlink() for path in trash.rglob("*"))


@dataclass(frozen=True, slots=True)
class Swapped:
    """The names that are exchanged with links."""

    places: tuple[str, ...]
    """In the target."""
    leads_to: str
    """In the tree that nobody may touch."""
    hits: Callable[[AgentRun, Slave], int]
    """Counts the races that a run has met."""
    wanted: int
    """So many hits are a test."""


INNER = [f"{place}{number}" for place in ("", "d/") for number in range(5)]
NAMES = [f"d{each}/{name}" for each in range(6) for name in INNER]
SWAPPED = {
    "directories": Swapped(tuple(f"d{each}" for each in range(6)), "", _failures, 100),
    "files": Swapped(tuple(NAMES), "precious", _links_replaced, 100),
    "the trash": Swapped((".s32s/trash",), "", _failures, 5),
    "what holds the trash": Swapped((".s32s",), "", _failures, 5),
    "the target": Swapped(("",), "", _refusals, 5),
}


def files_wherever(
    slave: Slave, aside: Path, places: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Return the target's files by key, with those that are exchanged at the moment, and without links."""
    yield from files_below("", slave.target)
    for path in aside.iterdir():
        place = places[int(path.name.partition(".")[0])]
        if not place.startswith(RESERVED):
            yield from files_below(place, path)


def files_below(key: str, path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_file() and not path.is_symlink():
        yield key, path.read_bytes()
    for name, data in tree_of(path).items():
        if data is not None and not (path / name).is_symlink():
            yield f"{key}/{name}".removeprefix("/"), data


@pytest.mark.parametrize("name", SWAPPED)
def test_a_race_with_links_changes_nothing_outside(
    scripted_slave: Slave,
    scripted: ScriptedS3,
    tmp_path: Path,
    record_property: Callable[..., None],
    name: str,
) -> None:
    """Complete runs, with copies and deletes, while names and links are exchanged: nothing outside is changed.

    Every file of the target is complete, wherever it is, and the index vouches for no other bytes.
    """
    slave, swapped, hits = scripted_slave, SWAPPED[name], 0
    slave.agent.checker = None  # it cannot check a target that changes all the time
    aside, outside = tmp_path / "aside", tmp_path / "outside"
    write(outside, dict.fromkeys((*INNER, "precious"), b"precious"))
    versions = {key: {b"before"} for key in (*NAMES, "always")}
    leads_to = outside / swapped.leads_to
    write(slave.target, dict.fromkeys(NAMES, b"before"))
    pairs = paired(slave.target, swapped.places, leads_to)
    before = canary(outside)
    with Swapper(leads_to, pairs) as swapper:
        for number in range(ROUNDS):
            for each in (*NAMES[number % 2 :: 2], "always"):
                slave.publish({each: b"%d" % number})
                versions[each].add(b"%d" % number)
            for each in NAMES[1 - number % 2 :: 2]:
                scripted.objects.pop(f"{PREFIX}/{each}", None)
            run = forked_once(slave.agent, "--allow-deletes")
            hits += swapped.hits(run, slave)

            assert canary(outside) == before
            assert check_output(run) == []
            with swapper.paused():
                files = list(files_wherever(slave, aside, swapped.places))
                vouched = check_index(slave.agent.state_dir, slave.target, versions)
            assert [key for key, data in files if data not in versions[key]] == []
            assert vouched == []
            if number >= 5 and hits >= swapped.wanted:
                break

    record_property("races", swapper.count)
    record_property("hits", hits)
    assert hits >= swapped.wanted
    put_back(pairs)
    wanted = {k.removeprefix(f"{PREFIX}/"): v.data for k, v in scripted.objects.items()}
    del wanted["maps/site.json"]
    found = check_recovery(
        lambda: slave.once("--allow-deletes"),
        lambda: {key: each for key, each in slave.tree().items() if each is not None},
        dict(wanted),
        slave.temporaries,
    )
    assert found == []
    assert canary(outside) == before
