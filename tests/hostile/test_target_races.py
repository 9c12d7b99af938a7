"""What is swapped for a link while a pass runs, again and again: nothing outside is ever touched."""

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
"""At most so many passes while something is swapped."""


def _failures(run: AgentRun, _slave: Slave) -> int:
    return len(run.named("entry.failed")) + len(run.named("entry.skipped"))


def _refusals(run: AgentRun, _slave: Slave) -> int:
    return len(run.named("mapping.failed"))


def _links_replaced(run: AgentRun, slave: Slave) -> int:
    """Count the links that this pass found in the places of files, since they are in its trash."""
    trash = slave.target / ".s32s/trash" / run.events[0]["run_id"]
    return sum(path.is_symlink() for path in trash.rglob("*"))


@dataclass(frozen=True, slots=True)
class Swapped:
    """What is swapped for links."""

    places: tuple[str, ...]
    """In the target."""
    leads_to: str
    """In the tree that nobody may touch."""
    hits: Callable[[AgentRun, Slave], int]
    """Counts what of this a pass has met."""
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
    """Give the target's files by key, those too that were just swapped out of it; a link is none of them."""
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
def test_what_is_swapped_for_a_link_all_the_time_leads_nowhere(
    scripted_slave: Slave,
    scripted: ScriptedS3,
    tmp_path: Path,
    record_property: Callable[..., None],
    name: str,
) -> None:
    """Whole passes, copies and deletions, while it and a link change places: nothing outside is ever touched.

    In the target every file is whole, wherever it is by then, and the index vouches for no other bytes.
    """
    slave, swapped, hits = scripted_slave, SWAPPED[name], 0
    slave.agent.checker = None  # it cannot look at a target that changes under its eyes
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
