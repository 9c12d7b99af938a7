"""Disks that are full, for bytes or for files, or read-only: the old content stays, and the remedy helps.

These are real small disks; the failures of single calls are in `test_crashes.py`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.disks import or_skip, small_tmpfs
from support.fault_rigs import index_as_found
from support.forked import forked_once
from support.hosts import PREFIX
from support.invariants import check_after, check_recovery, state_before_run, versions_of
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import write

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]

CANNOT_CREATE = 73
KIB = 1 << 10
OLD = {"a": b"old" * KIB, "b": b"old" * KIB, "gone": bytes(300 * KIB)}
NEW = {"a": b"new" * KIB, "b": b"new" * KIB, "large": b"large" * 80 * KIB}


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def fill(place: Path) -> Path:
    """Fill the remaining space."""
    filler = place / "filler"
    with filler.open("wb", 0) as stream:
        for size in (64 * KIB, KIB):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return filler


def files_of(slave: Slave) -> dict[str, bytes | None]:
    return {key: data for key, data in slave.tree().items() if data is not None}


def converges(slave: Slave, wanted: dict[str, bytes]) -> list[str]:
    return check_recovery(
        lambda: forked_once(slave.agent),
        lambda: files_of(slave),
        dict(wanted),
        slave.temporaries,
    )


def remedies(run: AgentRun) -> list[str]:
    return [
        each.get("remedy", "")
        for each in run.events
        if "error" in each and each["event"] != "run.finished"  # it repeats the first
    ]


@pytest.fixture
def disk(scripted_slave: Slave) -> Iterator[Path]:
    """The disk of the slave's target: 1 MiB, 64 files."""
    with or_skip(), small_tmpfs(scripted_slave.root, "size=1m,nr_inodes=64") as place:
        yield place


@pytest.fixture
def mirrored(scripted_slave: Slave, scripted: ScriptedS3, disk: Path) -> Slave:
    """A slave in sync on its small disk; the bucket has changed since."""
    assert disk.is_mount()
    scripted_slave.publish(OLD)
    assert forked_once(scripted_slave.agent).exit_code == 0
    scripted_slave.publish(NEW)
    del scripted.objects[f"{PREFIX}/gone"]
    return scripted_slave


def test_a_full_disk_keeps_the_old_files(mirrored: Slave) -> None:
    """No space and no trash: status 73, the old versions stay, nothing is deleted, and the remedy is logged."""
    filler = fill(mirrored.root)
    before = state_before_run(mirrored.target, mirrored.agent.state_dir)

    run = forked_once(mirrored.agent)

    assert run.exit_code == CANNOT_CREATE
    assert check_after(before, versions_of(OLD, NEW), run, current=NEW) == []
    assert (files_of(mirrored), mirrored.temporaries()) == (OLD, [])
    assert [each for each in remedies(run) if "free space" not in each] == []
    filler.unlink()
    assert converges(mirrored, NEW) == []


def test_the_trash_is_emptied_before_a_copy_fails(mirrored: Slave) -> None:
    """The trash is removed when the disk is full, and every copy succeeds."""
    write(mirrored.target, {".s32s/trash/20260101T000000Z-abcdef/old": bytes(400 * KIB)})
    now = mirrored.target / ".s32s/trash/20990101T000000Z-abcdef"
    (mirrored.target / ".s32s/trash/20260101T000000Z-abcdef").rename(now)

    run = forked_once(mirrored.agent)

    assert (run.exit_code, files_of(mirrored)) == (0, NEW)
    assert not now.exists()
    assert converges(mirrored, NEW) == []


def test_a_disk_without_free_inodes_keeps_the_old_files(mirrored: Slave) -> None:
    """No inode is left, though there is space for bytes: the same status and remedy."""
    mirrored.publish({f"many/{number}": b"x" for number in range(100)})
    many = NEW | {f"many/{number}": b"x" for number in range(100)}
    before = state_before_run(mirrored.target, mirrored.agent.state_dir)

    run = forked_once(mirrored.agent)

    assert run.exit_code == CANNOT_CREATE
    assert check_after(before, versions_of(OLD, many), run, current=many) == []
    assert mirrored.temporaries() == []
    assert any("free space" in each for each in remedies(run))
    remount(mirrored.root, "size=4m,nr_inodes=1000")
    assert converges(mirrored, many) == []


def test_a_read_only_disk_keeps_the_old_files(mirrored: Slave) -> None:
    """Status 73, with the remedy of a read-only disk and not that of a full one."""
    remount(mirrored.root, "ro")

    run = forked_once(mirrored.agent)

    assert (run.exit_code, files_of(mirrored)) == (CANNOT_CREATE, OLD)
    assert any("read-only" in each for each in remedies(run))
    remount(mirrored.root, "rw")
    assert converges(mirrored, NEW) == []


def test_a_file_that_exceeds_the_size_limit_fails_alone(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """The limit of the process or of the file system: that copy fails with the remedy, and nothing is deleted."""
    slave = scripted_slave
    slave.publish(OLD)
    assert forked_once(slave.agent).exit_code == 0
    slave.publish(NEW)
    del scripted.objects[f"{PREFIX}/gone"]
    before = state_before_run(slave.target, slave.agent.state_dir)

    arguments = "--once", "--allow-deletes"
    limited = ["prlimit", f"--fsize={300 * KIB}", *slave.agent.command(*arguments)]
    done = subprocess.run(
        limited, env=slave.agent.environment(), capture_output=True, check=False
    )
    run = slave.agent.ended(arguments, done.returncode, done.stdout, done.stderr)

    assert run.exit_code == CANNOT_CREATE
    (failed,) = run.named("entry.failed")
    assert failed["key"] == "large"
    assert "LimitFSIZE" in failed["remedy"]
    assert check_after(before, versions_of(OLD, NEW), run, current=NEW) == []
    assert slave.temporaries() == []
    assert converges(slave, NEW) == []


# --- the agent's own files ---


@pytest.fixture
def state(scripted_slave: Slave) -> Iterator[Path]:
    """A small disk for the state directory."""
    scripted_slave.agent.state_dir.mkdir()
    options = "size=256k,nr_inodes=32"
    with or_skip(), small_tmpfs(scripted_slave.agent.state_dir, options) as place:
        yield place


@pytest.mark.parametrize("first", [True, False])
def test_a_full_state_directory_costs_no_file(
    scripted_slave: Slave,
    scripted: ScriptedS3,
    state: Path,
    tmp_path: Path,
    first: bool,  # noqa: FBT001
) -> None:
    """Index, maps and last_run.json cannot be written: status 73 with the remedy; the old ones stay readable."""
    slave = scripted_slave
    slave.publish(OLD)
    if not first:
        assert forked_once(slave.agent).exit_code == 0
    many = {f"many/{number:03}/{'n' * 200}": b"%d" % number for number in range(400)}
    slave.publish(NEW | many)
    del scripted.objects[f"{PREFIX}/gone"]
    slave.put("maps/site.json", scripted.objects["maps/site.json"].data + b"\n")
    filler = fill(state)
    before = state_before_run(slave.target, slave.agent.state_dir)

    run = forked_once(slave.agent)

    assert run.exit_code == CANNOT_CREATE
    before = replace(before, state_dir=index_as_found(state, tmp_path / "index"))
    assert check_after(before, versions_of(OLD, NEW, many), run, current=NEW | many) == []
    assert any("free space" in each for each in remedies(run)), run.stderr
    assert slave.agent.run("--status").exit_code == 0
    filler.unlink()
    assert converges(slave, NEW | many) == []


def test_a_read_only_state_directory_changes_nothing(
    scripted_slave: Slave, state: Path
) -> None:
    """Without its lock no run begins: status 73, with the remedy."""
    scripted_slave.publish(OLD)
    remount(state, "ro")

    run = forked_once(scripted_slave.agent)

    assert (run.exit_code, scripted_slave.target.exists()) == (CANNOT_CREATE, False)
    assert any("mounted read-only" in each for each in remedies(run))
    remount(state, "rw")
    assert converges(scripted_slave, OLD) == []
