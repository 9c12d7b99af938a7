"""Cut the power at every file-system call of a run, and check what is on the disk then.

The image of a mounted disk is copied before each call, while the thread that makes it waits: what has not been synced
is lost. A copy does not show reordering inside a disk's own cache. With `commits` another program syncs its own file
before each copy, which puts the journal on the disk, and with it names whose bytes may not be there yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from support.disks import Disk, mounted
from support.fault_rigs import FaultRig, Once, as_process, new_rig
from support.scenarios import SCENARIOS
from support.tracing import PROCEED, Action, Call


@dataclass(frozen=True, slots=True)
class PowerCutOptions:
    """How often the power is cut."""

    commits: bool = False
    """Another program syncs its own file before each cut."""
    stride: int = 1
    """The power is cut before every n-th call."""
    recover_every: int = 1
    """The two runs that must repair the state are made on every n-th state."""


@dataclass(slots=True)
class PowerCutResult:
    """The result of cutting the power."""

    calls: int = 0
    """The number of calls at which the power was cut."""
    states: int = 0
    """The number of different states of the disk; each was mounted and checked."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Copy:
    image: Path
    call: str
    promised: tuple[str, ...]
    """The keys that the log had reported as copied."""


@dataclass(slots=True)
class _DiskRecorder:
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
            self.record(str(call))
        return PROCEED

    def record(self, call: str) -> None:
        self.calls += 1
        if self.how.commits:
            self.disk.commit()
        image = self.directory / f"{self.calls}.img"
        digest, promised = self.disk.copy_to(image), _promised(self.log)
        if (digest, promised) == (self.digest, self.promised):
            image.unlink()
            return
        self.digest, self.promised = digest, promised
        self.copies.append(_Copy(image, call.replace(str(self.disk.path), ""), promised))


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
    """Run the agent once on a separate disk, and check each state that a power cut would leave.

    Args:
        scenario: the run.
        file_system: the kind of disk, one of `FILE_SYSTEMS`.
        directory: where the images go.
        once: runs the agent without a fault.
        how: how often the power is cut.

    Raises:
        NotPossible: this machine cannot mount such a disk.
    """
    log = directory / "log"
    with (
        mounted(file_system, directory) as disk,
        new_rig(SCENARIOS[scenario], disk.path / "rig", once) as rig,
    ):
        disk.sync()
        recorder = _DiskRecorder(disk, directory, log, how)
        rig.trace(recorder.decide, log)
        recorder.record("the end")
        cuts = PowerCutResult(
            recorder.calls, len(recorder.copies), rig.disclosed(log.read_text())
        )
        for number, copy in enumerate(recorder.copies):
            disk.exchange(copy.image)
            found = _wrong(rig, copy, recover=number % how.recover_every == 0)
            cuts.problems += [f"{file_system}, before {copy.call}: {each}" for each in found]
            copy.image.unlink()
        disk.exchange(disk.image)
    return cuts


def _wrong(rig: FaultRig, copy: _Copy, *, recover: bool) -> list[str]:
    wanted, tree = rig.published[-1], rig.tree()
    broken = [key for key in copy.promised if tree.get(key) != wanted[key]]
    found = [f"{key!r} was reported as copied" for key in broken] + rig.problems_now(None)
    return found + rig.problems_after_recovery() if recover else found
