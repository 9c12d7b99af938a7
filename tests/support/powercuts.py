"""Cut the power at every file-system call of a pass, and look at what the disk has then.

The image of a mounted disk is copied before each call, while the thread that makes it waits: what has not been synced
by then is lost, and what has been is there. A copy knows no reordering inside a disk's own cache. With `commits`
another program syncs a file of its own before each copy, which puts the journal on the disk, and with it names whose
bytes may not be there yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from support.disks import Disk, mounted
from support.fault_rigs import SCENARIOS, FaultRig, Once, as_process, new_rig
from support.tracing import PROCEED, Action, Call


@dataclass(frozen=True, slots=True)
class PowerCutOptions:
    """How often, and how hard."""

    commits: bool = False
    """Another program syncs a file of its own before each cut."""
    stride: int = 1
    """The power is cut before every so-manieth call."""
    mend_every: int = 1
    """The two passes that must mend it are made on every so-manieth state."""


@dataclass(slots=True)
class PowerCutResult:
    """What came of it."""

    calls: int = 0
    """At so many of them the power was cut."""
    states: int = 0
    """How many different disks there were; each was mounted and looked at."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Copy:
    image: Path
    call: str
    promised: tuple[str, ...]
    """The keys that the log called copied by then."""


@dataclass(slots=True)
class _Camera:
    """Copies the disk before a call, when it has changed since the last copy."""

    disk: Disk
    directory: Path
    log: Path
    how: PowerCutOptions
    copies: list[_Copy] = field(default_factory=list)
    digest: str = ""
    promised: tuple[str, ...] = ()
    calls: int = 0

    def decide(self, call: Call) -> Action:
        if call.number % self.how.stride == 0:
            self.shoot(str(call))
        return PROCEED

    def shoot(self, call: str) -> None:
        self.calls += 1
        if self.how.commits:
            self.disk.commit()
        image = self.directory / f"{self.calls}.img"
        digest, promised = self.disk.copy_to(image), _promised(self.log)
        if (digest, promised) == (self.digest, self.promised):
            image.unlink()
            return
        self.digest, self.promised = digest, promised
        self.copies.append(_Copy(image, call.replace(str(self.disk.place), ""), promised))


def _promised(log: Path) -> tuple[str, ...]:
    lines = log.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return tuple(each["key"] for each in events if each["event"] == "entry.copied")


def cut_power(
    scenario: str,
    file_system: str,
    directory: Path,
    once: Once = as_process,
    how: PowerCutOptions = PowerCutOptions(),
) -> PowerCutResult:
    """Make a pass on a disk of its own, and see what is wrong on each state that a power cut would leave.

    Args:
        scenario: the pass.
        file_system: the kind of disk, one of `FILE_SYSTEMS`.
        directory: where the images go.
        once: how the passes without a fault are made.
        how: how often, and how hard.

    Raises:
        NotPossible: this machine cannot mount such a disk.
    """
    log = directory / "log"
    with (
        mounted(file_system, directory) as disk,
        new_rig(SCENARIOS[scenario], disk.place / "rig", once) as rig,
    ):
        disk.sync()
        camera = _Camera(disk, directory, log, how)
        rig.trace(camera.decide, log)
        camera.shoot("the end")
        cuts = PowerCutResult(camera.calls, len(camera.copies), rig.disclosed(log.read_text()))
        for number, copy in enumerate(camera.copies):
            disk.exchange(copy.image)
            found = _wrong(rig, copy, mend=number % how.mend_every == 0)
            cuts.problems += [f"{file_system}, before {copy.call}: {each}" for each in found]
            copy.image.unlink()
        disk.exchange(disk.image)
    return cuts


def _wrong(rig: FaultRig, copy: _Copy, *, mend: bool) -> list[str]:
    wanted, tree = rig.published[-1], rig.tree()
    broken = [key for key in copy.promised if tree.get(key) != wanted[key]]
    found = [f"{key!r} was called copied" for key in broken] + rig.problems_now(None)
    return found + rig.problems_after_recovery() if mend else found
