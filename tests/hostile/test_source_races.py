"""The files of a master are exchanged with links while it reads: no byte from outside its source reaches S3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support.forked import Forks
from support.hosts import PREFIX
from support.invariants import check_output, check_recovery
from support.masters import Master
from support.scripted import ScriptedS3
from support.swapping import Swapper, paired, put_back
from support.trees import canary, write

pytestmark = pytest.mark.hostile

INNER = [f"{place}{number}" for place in ("", "d/") for number in range(5)]
SWAPPED = [f"d{each}/{name}" for each in range(6) for name in INNER]
NAMES = [*SWAPPED, *(f"kept/{name}" for name in INNER)]
FILES = {name: b"%08d" % number for number, name in enumerate(NAMES)}
SECRET = b"precious"
"""As long as every file of the source, so that no size gives it away."""
EXTRA = f"{PREFIX}/extra"
ROUNDS = 300
"""The maximum of runs while names are exchanged."""
HITS = 100
"""So many files that were listed, and swapped when they were to be read, are a test."""
PATIENCE = {"pause_seconds": 0.05}
BUG = 70


@dataclass(frozen=True, slots=True)
class Places:
    """The names that are exchanged with links."""

    names: tuple[str, ...]
    """In the source."""
    leads_to: str
    """In the tree that nobody may read."""


PLACES = {
    "directories": Places(tuple(f"d{each}" for each in range(6)), ""),
    "files": Places(tuple(SWAPPED), "0"),
}


@pytest.mark.parametrize("symlinks", ["skip", "follow"])
@pytest.mark.parametrize("name", PLACES)
def test_a_race_with_links_sends_nothing_from_outside(
    scripted_master: Master,
    scripted: ScriptedS3,
    forks: Forks,
    record_property: Callable[..., None],
    name: str,
    symlinks: str,
) -> None:
    """Complete runs while source and links are exchanged: no byte from outside is sent, and no object is deleted.

    Except one that never was in the source, so that deletions are tested too.
    """
    master, places, hits = scripted_master, PLACES[name], 0
    master.agent.checker = None  # it cannot check a source that changes all the time
    endpoint = {"endpoint_url": scripted.endpoint_url}
    master.configure("maps/site.json", s3=endpoint, sync={"symlinks": symlinks})
    outside = master.root.parent / "outside"
    write(outside, dict.fromkeys(INNER, SECRET))
    master.write(FILES)
    leads_to = outside / places.leads_to
    pairs = paired(master.source, places.names, leads_to)
    before = canary(outside)
    with Swapper(leads_to, pairs) as swapper:
        for number in range(ROUNDS):
            for each in NAMES[number % 2 :: 2]:
                scripted.objects.pop(f"{PREFIX}/{each}", None)
            scripted.put(EXTRA, SECRET)
            scripted.requests.clear()
            run = forks.once(master.agent, "--allow-deletes", timeouts=PATIENCE)
            hits += len(run.named("entry.failed"))

            assert wrongly_sent(scripted) == []
            assert {each for each in scripted.asked("DELETE") if not is_marker(each)} <= {
                EXTRA
            }
            assert run.exit_code != BUG, run.stderr
            assert check_output(run) == []
            if number >= 5 and hits >= HITS:
                break

    record_property("races", swapper.count)
    record_property("hits", hits)
    assert canary(outside) == before
    assert hits >= HITS
    put_back(pairs)
    found = check_recovery(
        lambda: forks.once(master.agent, "--allow-deletes"),
        lambda: published(scripted),
        FILES,
    )
    assert found == []


def is_marker(key: str) -> bool:
    """Return whether an object marks an empty directory, as a directory of links is listed."""
    return key.endswith("/")


def wrongly_sent(scripted: ScriptedS3) -> list[str]:
    """List complete objects and parts that were sent and are not what the source holds under that name."""
    sent = (request for request in scripted.requests if request.method == "PUT")
    return [f"{each.key}: {each.body!r}" for each in sent if each.body != held_at(each.key)]


def held_at(key: str) -> bytes | None:
    return b"" if is_marker(key) else FILES.get(key.removeprefix(f"{PREFIX}/"))


def published(scripted: ScriptedS3) -> dict[str, bytes]:
    return {
        key.removeprefix(f"{PREFIX}/"): each.data
        for key, each in scripted.objects.items()
        if key.startswith(f"{PREFIX}/") and not is_marker(key)
    }
