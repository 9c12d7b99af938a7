"""Extras that cannot be deleted: each is reported with the remedy, and no other extra stays because of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.disks import mounted, or_skip
from support.forked import forked_once
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import write

pytestmark = pytest.mark.hostile

CANNOT_CREATE = 73
WANTED = {"same": b"same"}
REMOVABLE = {"mine": b"mine", "d/mine": b"mine"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def in_sync(slave: Slave) -> None:
    slave.publish(WANTED)
    assert forked_once(slave.agent).exit_code == 0


def files_of(slave: Slave) -> dict[str, bytes | None]:
    return {key: data for key, data in slave.tree().items() if data is not None}


@root_only
@pytest.mark.parametrize("trash_days", [7, 0])
def test_an_immutable_extra_stops_no_other_delete(
    scripted_slave: Slave, scripted: ScriptedS3, trash_days: int, tmp_path: Path
) -> None:
    """`chattr +i` on a file, `+a` on another, and `+i` on a directory: they stay, others are deleted."""
    slave, stuck = scripted_slave, {"d/fixed": b"x", "log": b"x", "locked/x": b"x"}
    with or_skip(), mounted("ext4", tmp_path / "ext4") as disk:
        slave.root = disk.path / "srv"
        slave.root.mkdir()
        slave.publish_map(slave.mapping())
        sync, s3 = {"trash_days": trash_days}, {"endpoint_url": scripted.endpoint_url}
        slave.configure("maps/site.json", s3=s3, sync=sync)
        in_sync(slave)
        write(slave.target, {**stuck, **REMOVABLE})
        attributes = {"d/fixed": "i", "log": "a", "locked": "i"}
        for name, letter in attributes.items():
            subprocess.run(["chattr", f"+{letter}", slave.target / name], check=True)

        run = forked_once(slave.agent)

        for name, letter in attributes.items():
            subprocess.run(["chattr", f"-{letter}", slave.target / name], check=True)
        failed = {each["key"]: each for each in run.named("entry.failed")}
        assert (run.exit_code, set(failed)) == (CANNOT_CREATE, {*stuck, "locked/"})
        assert all("chattr -i" in each["remedy"] for each in failed.values())
        assert files_of(slave) == {**WANTED, **stuck}
        assert (forked_once(slave.agent).exit_code, files_of(slave)) == (0, WANTED)


def test_an_extra_in_a_read_only_directory_stops_no_other_delete(
    scripted_slave: Slave,
) -> None:
    """Without capabilities an extra in a directory without write access stays, with the remedy."""
    slave, stuck = scripted_slave, {"locked/x": b"x"}
    in_sync(slave)
    write(slave.target, {**stuck, **REMOVABLE})
    (slave.target / "locked").chmod(0o555)

    run = slave.once_unprivileged()

    (slave.target / "locked").chmod(0o755)
    (failed,) = run.named("entry.failed")
    assert (run.exit_code, failed["key"]) == (CANNOT_CREATE, "locked/x")
    assert "access" in failed["remedy"]
    assert files_of(slave) == {**WANTED, **stuck}
    assert (slave.once().exit_code, files_of(slave)) == (0, WANTED)
