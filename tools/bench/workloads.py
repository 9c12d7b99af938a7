"""What is measured: the table of workloads. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from .data import DataSet

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
INODE_BYTES = 4096
"""What a file of a few bytes takes on a disk."""
SMALL_BYTES = 64 * KIB
"""Files up to this size are kept, since removing them would slow the next run down."""


class Scenario(Enum):
    """What a run finds, and what it has to do."""

    FIRST_PULL = "first run"
    UNCHANGED = "nothing changed"
    CHANGED = "1 % changed"
    FIRST_PUSH = "push"
    FEW_CHANGED = "10 changed"


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of work on one data set."""

    name: str
    scenario: Scenario
    data: DataSet
    delay_ms: int = 0
    """Added to every request."""
    max_bandwidth: int | None = None
    """Bytes a second; only the agent is measured then, and how well it holds to that."""
    listing_only: bool = False
    """A listing server stands in for the store, and only the agent is measured unless tools are named."""

    snapshots: bool = False
    """Snapshots are published too, and a second agent follows them, beside the one that lists."""

    @property
    def title(self) -> str:
        """Say in a line what it is."""
        words = [f"{self.scenario.value}, {self.data.count:,} x {in_units(self.data.size)}"]
        words += [f"{self.delay_ms} ms a request"] if self.delay_ms else []
        if self.max_bandwidth:
            words.append(f"at most {in_units(self.max_bandwidth)}/s")
        return ", ".join(words)

    @property
    def keeps_trees(self) -> bool:
        """Whether what was pulled stays until the workload ends.

        ext4 takes up to thirty times longer to create a file while it remembers many that were removed, and it
        remembers them for minutes. So nothing is removed between two runs that create many files.
        """
        return self.scenario is Scenario.FIRST_PULL and self.data.size <= SMALL_BYTES

    def disk_bytes(self, tools: int, rounds: int) -> int:
        """Say how much room it takes with so many tools, data that the server has not yet cleaned up included."""
        each = self.data.count * max(self.data.size, INODE_BYTES)
        if self.scenario is Scenario.FIRST_PULL:
            return (2 + (tools * (rounds + 1) if self.keeps_trees else 1)) * each
        server = 0 if self.listing_only else each
        trees = 1 if self.scenario is Scenario.FIRST_PUSH else tools
        return server * 2 + each * trees


WORKLOADS = (
    Workload("a", Scenario.FIRST_PULL, DataSet(10_000, 4 * KIB)),
    Workload("b", Scenario.FIRST_PULL, DataSet(20, 64 * MIB)),
    Workload("c", Scenario.FIRST_PULL, DataSet(1, 2 * GIB)),
    Workload("d", Scenario.UNCHANGED, DataSet(10_000, 4 * KIB)),
    Workload("e", Scenario.UNCHANGED, DataSet(100_000, 4 * KIB)),
    Workload("f", Scenario.CHANGED, DataSet(100_000, 4 * KIB)),
    Workload("g", Scenario.FIRST_PUSH, DataSet(10_000, 4 * KIB)),
    Workload("h", Scenario.FIRST_PUSH, DataSet(20, 64 * MIB)),
    Workload("i-a", Scenario.FIRST_PULL, DataSet(10_000, 4 * KIB), delay_ms=20),
    Workload("i-e", Scenario.UNCHANGED, DataSet(100_000, 4 * KIB), delay_ms=20),
    Workload("j-10k", Scenario.UNCHANGED, DataSet(10_000, 1), listing_only=True),
    Workload("j-100k", Scenario.UNCHANGED, DataSet(100_000, 1), listing_only=True),
    Workload("j-1m", Scenario.UNCHANGED, DataSet(1_000_000, 1), listing_only=True),
    Workload("n", Scenario.UNCHANGED, DataSet(100, 4 * KIB)),
    Workload("p", Scenario.UNCHANGED, DataSet(100_000, 4 * KIB), delay_ms=20, snapshots=True),
    Workload(
        "p-1m", Scenario.UNCHANGED, DataSet(1_000_000, 1), listing_only=True, snapshots=True
    ),
    Workload(
        "q", Scenario.FEW_CHANGED, DataSet(1_000_000, 1), listing_only=True, snapshots=True
    ),
    Workload(
        "bandwidth",
        Scenario.FIRST_PULL,
        DataSet(40, 4 * MIB),
        max_bandwidth=20_000_000,
    ),
)


def select(names: Iterable[str]) -> list[Workload]:
    """Return the workloads of these names in their order; `i` is all that begin with `i-`; no name is all.

    Raises:
        ValueError: there is none of that name.
    """
    wanted = set(names)
    families = {each.name.partition("-")[0] for each in WORKLOADS}
    unknown = wanted - families - {each.name for each in WORKLOADS}
    if unknown:
        known = ", ".join(each.name for each in WORKLOADS)
        raise ValueError(
            f"workload {min(unknown)!r}: no such workload, expected one of {known}"
        )
    return [
        each
        for each in WORKLOADS
        if not wanted or {each.name, each.name.partition("-")[0]} & wanted
    ]


def shrunk(workload: Workload, divisor: int) -> Workload:
    """Make a workload that many times smaller: fewer files, or a smaller one where there is only one."""
    data = workload.data
    if data.count == 1:
        smaller = DataSet(1, max(1, data.size // divisor))
    else:
        smaller = DataSet(max(2, data.count // divisor), data.size)
    return dataclasses.replace(workload, data=smaller)


def in_units(size: int) -> str:
    """Write a number of bytes as people do: in powers of 1024 where it is one, else of 1000."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (10**6, "MB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} B"
