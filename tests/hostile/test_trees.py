"""Trees that lead out, cannot be written, or change during a run: nothing outside is changed."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.disks import mounted, or_skip, small_tmpfs
from support.forked import forked_once
from support.hosts import PREFIX
from support.invariants import check_after, check_recovery, state_before_run, versions_of
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import canary, snapshot, write

pytestmark = pytest.mark.hostile

PARTIAL, CANNOT_CREATE = 1, 73
OLD = {"a": b"old", "d/b": b"old", "d/d/c": b"old", "gone/x": b"gone", "same": b"same"}
NEW = {"a": b"new", "d/b": b"new", "d/d/c": b"new", "new/n": b"new", "same": b"same"}
ROUNDS = 300
"""The maximum of runs while names are exchanged."""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def files_of(slave: Slave) -> dict[str, bytes | None]:
    return {key: data for key, data in slave.tree().items() if data is not None}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree outside with the names of the mapping, and some more."""
    place = tmp_path / "outside"
    write(place, {**dict.fromkeys(OLD, b"precious"), "precious": b"precious"})
    return place


@pytest.fixture
def changed(scripted_slave: Slave, scripted: ScriptedS3) -> Slave:
    """A slave that is in sync with an old state; the bucket has changed since."""
    return change(scripted_slave, scripted)


def change(slave: Slave, scripted: ScriptedS3) -> Slave:
    slave.publish(OLD)
    assert forked_once(slave.agent).exit_code == 0
    slave.publish(NEW)
    del scripted.objects[f"{PREFIX}/gone/x"]
    return slave


@pytest.fixture
def checked_run(outside: Path) -> Callable[[Slave], AgentRun]:
    """Runs the agent once, and checks that it changed nothing outside and did nothing that no run may do."""

    def make(slave: Slave) -> AgentRun:
        before = state_before_run(slave.target, slave.agent.state_dir, [outside])
        run = forked_once(slave.agent)
        assert check_after(before, versions_of(OLD, NEW), run, current=NEW) == []
        return run

    return make


def converges(slave: Slave) -> list[str]:
    """List what the next runs leave undone, once nothing blocks them."""
    return check_recovery(
        lambda: forked_once(slave.agent), lambda: files_of(slave), dict(NEW), slave.temporaries
    )


def put_link(place: Path, leads_to: str | Path) -> None:
    """Replace whatever has that name by a symbolic link."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(leads_to)


def test_no_link_in_a_target_is_written_through(
    changed: Slave, outside: Path, checked_run: Callable[[Slave], AgentRun]
) -> None:
    """In place of a file or directory, as an extra, dangling, in circles: nothing is written or deleted through it."""
    target = changed.target
    put_link(target / "a", outside / "a")
    put_link(target / "d/b", "../../../outside/precious")
    put_link(target / "d/d", outside / "d/d")
    put_link(target / "gone", outside / "gone")
    put_link(target / "new", outside)
    extras: dict[str, str | Path] = {
        "extra": outside,
        "dangling": "nowhere",
        "circle": "circle",
        "top": "/",
        "here": ".",
        "up": "..",
        ".s32s-tmp.link": outside / "precious",
    }
    for extra, leads_to in extras.items():
        put_link(target / extra, leads_to)

    run = checked_run(changed)

    assert run.exit_code == PARTIAL
    assert {each["key"] for each in run.named("entry.skipped")} == {"d/d/c", "new/n"}
    assert files_of(changed) == {
        "a": b"new",
        "d/b": b"new",
        "d/d": b"-> " + str(outside / "d/d").encode(),
        "new": b"-> " + str(outside).encode(),
        "same": b"same",
        ".s32s-tmp.link": b"-> " + str(outside / "precious").encode(),
    }
    for name in ("d/d", "new", ".s32s-tmp.link"):
        (target / name).unlink()
    assert converges(changed) == []


@pytest.mark.parametrize("place", [".s32s", ".s32s/trash"])
def test_a_trash_that_is_a_link_is_not_used(
    changed: Slave, outside: Path, checked_run: Callable[[Slave], AgentRun], place: str
) -> None:
    """A link in place of the trash is not followed: files that would be moved there stay, and the message says why."""
    link = changed.target / place
    link.parent.mkdir(exist_ok=True)
    put_link(link, outside)

    run = checked_run(changed)

    assert run.exit_code == PARTIAL
    assert files_of(changed).items() >= {**NEW, "gone/x": b"gone"}.items()
    assert "blocked by an existing" in run.named("entry.failed")[0]["error"]
    link.unlink()
    assert converges(changed) == []


def test_hard_links_outside_keep_their_bytes(
    changed: Slave, outside: Path, checked_run: Callable[[Slave], AgentRun]
) -> None:
    """Files with another name outside are replaced and removed here, and stay unchanged outside."""
    for name in ("a", "gone/x"):
        (changed.target / name).unlink()
        (changed.target / name).hardlink_to(outside / name)
    (changed.target / "extra").hardlink_to(outside / "precious")

    run = checked_run(changed)

    assert (run.exit_code, files_of(changed)) == (0, NEW)
    assert (outside / "precious").read_bytes() == b"precious"
    assert converges(changed) == []


def test_special_files_are_neither_opened_nor_removed(
    changed: Slave, checked_run: Callable[[Slave], AgentRun]
) -> None:
    """A FIFO, a socket and a device, in place of a file or directory, and as extras, stay; the run ends."""
    target = changed.target
    for name in ("a", "d/b"):
        (target / name).unlink()
    shutil.rmtree(target / "d/d")
    os.mkfifo(target / "a")
    os.mkfifo(target / "gone/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(target / "d/b"))
    os.mkfifo(target / "d/d")
    os.mkfifo(target / ".s32s-tmp.fifo")
    special = {"a", "d/b", "d/d", "gone/fifo"}
    with suppress(PermissionError):
        os.mknod(target / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        special.add("device")

    run = checked_run(changed)

    assert run.exit_code == PARTIAL
    assert {each["key"] for each in run.named("entry.skipped")} == {*special, "d/d/c"}
    assert {name for name in special if (target / name).exists()} == special
    assert files_of(changed).items() >= {"new/n": b"new", "same": b"same"}.items()
    for name in (*special, ".s32s-tmp.fifo"):
        (target / name).unlink()
    assert converges(changed) == []


# --- what is mounted in a target ---


@contextmanager
def bound(what: Path, place: Path) -> Iterator[None]:
    """Mount a file or directory at another path of the same file system."""
    done = subprocess.run(
        ["mount", "--bind", what, place], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"mount --bind: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@root_only
@pytest.mark.parametrize("trash_days", [7, 0])
def test_nothing_that_is_mounted_in_a_target_is_changed(
    changed: Slave,
    scripted: ScriptedS3,
    outside: Path,
    checked_run: Callable[[Slave], AgentRun],
    trash_days: int,
) -> None:
    """Another disk, and another directory of the same disk: as extras and where they block entries."""
    sync, s3 = {"trash_days": trash_days}, {"endpoint_url": scripted.endpoint_url}
    changed.configure("maps/site.json", s3=s3, sync=sync)
    target, inner = changed.target, {"x": b"precious", "b": b"precious", "d/c": b"precious"}
    for name in ("disk", "bound", "new", "file"):
        (target / name).mkdir()
    with ExitStack() as mounts, or_skip():
        disk = mounts.enter_context(small_tmpfs(target / "disk", "size=1m"))
        write(disk, inner)
        mounts.enter_context(bound(outside, target / "bound"))
        mounts.enter_context(bound(outside, target / "new"))
        mounts.enter_context(bound(outside, target / "d/d"))
        before = canary(disk)

        run = checked_run(changed)

        assert run.exit_code == PARTIAL
        assert canary(disk) == before
        skipped = {each["key"] for each in run.named("entry.skipped")}
        assert skipped == {"disk/", "bound/", "new/", "new/n", "d/d/", "d/d/c"}
        assert (target / "a").read_bytes() == b"new"
    assert converges(changed) == []


@root_only
def test_a_file_that_is_mounted_is_not_replaced(
    changed: Slave, outside: Path, checked_run: Callable[[Slave], AgentRun]
) -> None:
    """A bind mount over a file of the target, as in containers: it stays and is skipped; the rest is mirrored."""
    with bound(outside / "precious", changed.target / "a"):
        run = checked_run(changed)

        (skipped,) = run.named("entry.skipped")
        assert (run.exit_code, run.named("entry.failed")) == (PARTIAL, [])
        assert skipped["key"] == "a"
        assert "something is mounted there" in skipped["reason"]
        assert (changed.target / "d/b").read_bytes() == b"new"
    assert converges(changed) == []


# --- what cannot be changed ---


@root_only
def test_immutable_files_stay_and_stop_no_other_copy(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """`chattr +i` on a file to replace and on a directory: reported with the remedy, and no extra is deleted then."""
    slave = scripted_slave
    with or_skip(), mounted("ext4", tmp_path / "ext4") as disk:
        slave.root = disk.path / "srv"
        slave.root.mkdir()
        slave.publish_map(slave.mapping())
        slave.configure("maps/site.json", s3={"endpoint_url": scripted.endpoint_url})
        change(slave, scripted)
        (slave.target / "mine").write_bytes(b"mine")
        # No delete is tried after a failed copy; `test_undeletable_files.py` has those that are.
        attributes = {"a": "i", "d": "i", "gone/x": "i", "mine": "a"}
        for name, letter in attributes.items():
            subprocess.run(["chattr", f"+{letter}", slave.target / name], check=True)

        run = forked_once(slave.agent)

        for name, letter in attributes.items():
            subprocess.run(["chattr", f"-{letter}", slave.target / name], check=True)
        assert run.exit_code == CANNOT_CREATE
        failed = {each["key"]: each for each in run.named("entry.failed")}
        assert failed.keys() == {"a", "d/b"}
        assert all("chattr -i" in each["remedy"] for each in failed.values())
        assert files_of(slave) == {
            **OLD,
            "d/d/c": b"new",
            "new/n": b"new",
            "mine": b"mine",
        }
        assert converges(slave) == []


def test_a_read_only_directory_is_reported(changed: Slave) -> None:
    """Without capabilities a read-only file is replaced, and a read-only directory stays, with the remedy."""
    (changed.target / "a").chmod(0o444)
    (changed.target / "d").chmod(0o555)

    run = changed.once_unprivileged()

    (changed.target / "d").chmod(0o755)
    assert run.exit_code == CANNOT_CREATE
    failed = {each["key"]: each for each in run.named("entry.failed")}
    assert failed.keys() == {"d/b"}
    assert "access" in failed["d/b"]["remedy"]
    assert files_of(changed) == {**NEW, "d/b": b"old", "gone/x": b"gone"}
    assert converges(changed) == []


# --- the target itself ---


def test_a_target_that_is_no_directory(
    scripted_slave: Slave, checked_run: Callable[[Slave], AgentRun]
) -> None:
    """A file, a FIFO, a missing parent: status 73, nothing is created; a link that stays in the roots is followed."""
    slave = scripted_slave
    slave.publish(NEW)
    codes = {}
    for name in ("file", "fifo", "no/parent", "link"):
        slave.publish_map(slave.mapping(slave=str(slave.root / name)))
        if name == "file":
            (slave.root / name).write_bytes(b"a file")
        elif name == "fifo":
            os.mkfifo(slave.root / name)
        elif name == "link":
            (slave.root / "real").mkdir()
            (slave.root / name).symlink_to("real")
        codes[name] = checked_run(slave).exit_code

    assert codes == {"file": 73, "fifo": 73, "no/parent": 73, "link": 0}
    assert sorted(each.name for each in slave.root.iterdir()) == [
        "fifo",
        "file",
        "link",
        "real",
    ]
    assert {k: v for k, v in snapshot(slave.root / "real").items() if v is not None} == NEW
