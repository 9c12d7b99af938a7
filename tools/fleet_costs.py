"""Simulate a fleet, and write what listing and snapshots cost it: `python -m tools.fleet_costs`.

One process: a store that counts requests and bytes, and slaves that follow a channel with the agent's own code. No
network; what a listing costs is computed, since every slave lists the same pages.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from s32s_agent.cancellation import CancelToken
from s32s_agent.model import Entry, Location, Mapping
from s32s_agent.snapshots.chunks import Chunk
from s32s_agent.snapshots.following import follow
from s32s_agent.snapshots.memory import Memory, Remembered
from s32s_agent.snapshots.place import Place
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.text import size_text
from tools.publications import CHANNEL, publication

PLACE = Location("bucket", "snapshots")
SITE = Mapping("site", Location("bucket", "site"), "/srv/site", snapshots=PLACE)
LIST_PRICE = 0.005 / 1000
"""US dollars for one LIST in us-east-1, as AWS publishes it. A day has 1,440 runs, one a minute."""
GET_PRICE = 0.0004 / 1000
"""US dollars for one GET, also one that answers 304."""
KEYS_PER_PAGE = 1000
_XML = (
    "<Contents><Key>{}</Key><LastModified>2026-12-01T10:15:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag>"
    "<Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_RUNS = 1440


@dataclass
class CountingStore(Connection):
    """Objects by key, and how often each kind was asked for. Reads as a connection does, without a network."""

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    size: int = 0
    """Bytes that were answered."""

    def __post_init__(self) -> None:
        self.cancel_token = CancelToken()
        self.answered = lambda: None

    def fetch(
        self,
        bucket: str,
        key: str,
        limit: int,
        known_etag: str = "",
        *,
        in_worker: bool = False,
    ) -> tuple[bytes, str] | None:
        """Return an object, or None when it has the known ETag; count it."""
        del bucket, limit, in_worker
        data = self.objects[key.removeprefix(f"{PLACE.prefix}/")]
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self.requests["304" if etag == known_etag else "200"] += 1
        if etag == known_etag:
            return None
        self.size += len(data)
        return data, etag


class SharedMemory(Memory):
    """What a slave remembers; the chunks are in the memory of this process only once."""

    def __init__(self, chunks: dict[str, bytes]) -> None:
        super().__init__(Path(), "", read_only=True)
        self._chunks = chunks
        self._here: set[str] = set()
        self._last: Remembered | None = None

    def read(self) -> Remembered | None:
        """Return what was remembered last."""
        return self._last

    def write(self, remembered: Remembered, chunks: Iterable[Chunk] = ()) -> None:
        """Remember it."""
        self._last, self._here = remembered, {chunk.sha256 for chunk in chunks}

    def has(self, chunk: Chunk) -> bool:
        """Return whether this slave has the chunk."""
        return chunk.sha256 in self._here

    def keep(self, chunk: Chunk, data: bytes) -> None:
        """Keep the chunk."""
        self._chunks[chunk.sha256] = data
        self._here.add(chunk.sha256)


@dataclass(frozen=True, slots=True)
class Costs:
    """What one minute costs the whole fleet."""

    requests: int
    bytes: int
    dollars_a_day: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the simulation found."""

    slaves: int
    objects: int
    changed: int
    listing: Costs
    quiet: Costs
    """With snapshots, in a minute without a release."""
    release: Costs
    """With snapshots, in the minute of a release; its price is that of one such minute."""


def entries(count: int, changed: Iterable[int] = ()) -> Iterator[Entry]:
    """Yield the entries of a release."""
    new = set(changed)
    for number in range(count):
        etag = hashlib.md5(f"{number} {number in new}".encode(), usedforsecurity=False)
        key = f"img/{number // 1000:05}/{number:08}.jpeg"
        yield Entry(key, 20_000 + number, etag.hexdigest())


def publish(store: CountingStore, found: Iterator[Entry], sequence: int) -> None:
    """Put a release into the store."""
    store.objects |= publication(found, SITE.name, str(SITE.location), sequence)


def simulate(slaves: int, objects: int, changed: int, sample: int = 100) -> Result:
    """Let a fleet follow a channel for a minute without a release, and for one with.

    Args:
        slaves: how many; all of them ask in the quiet minute.
        objects: in the prefix.
        changed: of the objects, evenly spread.
        sample: the slaves that take the release; all do the same, so the rest is multiplied.
    """
    store = CountingStore()
    place = Place(store, PLACE)
    publish(store, entries(objects), 1)
    chunks: dict[str, bytes] = {}
    first = SharedMemory(chunks)
    follow(place, first, SITE, CHANNEL, 1)
    known = first.read()
    named = [Chunk(sha256, "", 0, 0) for sha256 in chunks]
    fleet = [SharedMemory(chunks) for _ in range(slaves)]
    for memory in fleet:
        if known is not None:
            memory.write(known, named)
    quiet = _minute(store, place, fleet)
    publish(store, entries(objects, range(0, objects, max(1, objects // changed))), 2)
    some = fleet[:sample]
    release = _minute(store, place, some)
    factor = slaves / len(some)
    return Result(
        slaves,
        objects,
        changed,
        _listing(slaves, objects),
        Costs(quiet[0], quiet[1], quiet[0] * GET_PRICE * _RUNS),
        Costs(
            round(release[0] * factor),
            round(release[1] * factor),
            release[0] * factor * GET_PRICE,
        ),
    )


def _minute(
    store: CountingStore, place: Place, fleet: Iterable[SharedMemory]
) -> tuple[int, int]:
    store.requests.clear()
    store.size = 0
    for memory in fleet:
        follow(place, memory, SITE, CHANNEL, 1)
    return store.requests.total(), store.size


def _listing(slaves: int, objects: int) -> Costs:
    pages = -(-objects // KEYS_PER_PAGE)
    size = sum(
        len(_XML.format(entry.key, entry.etag, entry.size)) for entry in entries(objects)
    )
    requests = slaves * pages
    return Costs(requests, slaves * size, requests * LIST_PRICE * _RUNS)


def table(result: Result) -> str:
    """Write the result as a table in Markdown."""
    rows = (
        ("listing, whether or not anything is new", result.listing, "a day"),
        ("snapshots, nothing new", result.quiet, "a day"),
        (
            f"snapshots, a release of {result.changed:,} changed objects",
            result.release,
            "once",
        ),
    )
    lines = [
        f"| {result.slaves:,} slaves, {result.objects:,} objects | requests a minute | bytes a minute | US dollars |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {what} | {each.requests:,} | {size_text(each.bytes)} | {each.dollars_a_day:,.2f} {when} |"
        for what, each, when in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slaves", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=10)
    options = parser.parse_args()
    print(table(simulate(options.slaves, options.objects, options.changed)))


if __name__ == "__main__":
    main()
