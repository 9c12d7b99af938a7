"""The index is a cache: whatever becomes of it costs time, never data. On a real server."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.slaves import Slave

pytestmark = pytest.mark.integration

FILES = {"a.txt": b"alpha", "img/x.png": b"\x89PNG", "z": b"z" * 100_000}
TREE = {**FILES, "img": None}


def _remove(index: Path) -> None:
    index.unlink()


def _scribble(index: Path) -> None:
    index.write_bytes(b"this is no database" * 1000)


def _cut(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def _empty(index: Path) -> None:
    os.truncate(index, 0)


def _spoil_a_page(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[-4096:] = b"\xff" * 4096
    index.write_bytes(data)


def _foreign(index: Path) -> None:
    index.unlink()
    with closing(sqlite3.connect(index)) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
        other.commit()


def _newer(index: Path) -> None:
    with closing(sqlite3.connect(index)) as same:
        same.execute("PRAGMA user_version = 99")
        same.commit()


@pytest.mark.parametrize(
    "damage", [_remove, _scribble, _cut, _empty, _spoil_a_page, _foreign, _newer]
)
def test_a_lost_index_transfers_and_deletes_nothing(
    slave: Slave, damage: Callable[[Path], None]
) -> None:
    """Whatever is in its place, files that are right are recognised by their hash, and the next pass is cheap."""
    slave.publish(FILES)
    slave.once()
    index = slave.agent.state_dir / "index.db"
    damage(index)

    runs = [slave.once(), slave.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert [(run.finished["copied"], run.finished["unchanged"]) for run in runs] == [
        (0, 3)
    ] * 2
    assert slave.tree() == TREE
    known = damage in (_remove, _empty)
    assert [len(run.named("index.damaged")) for run in runs] == [0 if known else 1, 0]


def test_an_index_of_another_time_is_not_believed(slave: Slave) -> None:
    """A restored backup of the index speaks of versions that are no more: the bytes decide."""
    slave.publish(FILES)
    slave.once()
    index = slave.agent.state_dir / "index.db"
    backup = index.read_bytes()
    slave.publish({"a.txt": b"omega"})
    slave.once()
    index.write_bytes(backup)

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {**TREE, "a.txt": b"omega"})


def test_a_restored_directory_is_checked(slave: Slave) -> None:
    """Old files put back with their old times have another ctime, so they are hashed and put right."""
    slave.publish(FILES)
    slave.once()
    path = slave.target / "a.txt"
    old, times = path.read_bytes(), path.stat()
    slave.publish({"a.txt": b"omega"})
    slave.once()
    path.write_bytes(old)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    run = slave.once()

    assert (run.exit_code, path.read_bytes()) == (0, b"omega")


def test_verify_hashes_every_file(slave: Slave) -> None:
    """`--verify` finds what a failing disk changed behind every stamp; a pass without it cannot."""
    slave.publish(FILES)
    slave.once()
    index, path = slave.agent.state_dir / "index.db", slave.target / "a.txt"
    path.write_bytes(b"ROTTE")
    status = path.stat()
    with closing(sqlite3.connect(index)) as rows:
        query = "UPDATE entry SET mtime_ns = ?, ctime_ns = ?, inode = ? WHERE key = 'a.txt'"
        rows.execute(query, [status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
        rows.commit()
    blind = slave.once()

    assert (blind.finished["copied"], path.read_bytes()) == (0, b"ROTTE")
    run = slave.once("--verify")
    assert (run.exit_code, slave.tree()) == (0, TREE)
    assert [each["key"] for each in run.named("entry.copied")] == ["a.txt"]
    assert slave.trash() == {"a.txt": b"ROTTE"}


def test_an_index_that_cannot_be_written_stops_the_pass(slave: Slave) -> None:
    """Without write access nothing is touched, and the status and the message say what is wrong."""
    slave.publish(FILES)
    slave.once()
    index = slave.agent.state_dir / "index.db"
    index.chmod(0o400)
    slave.publish({"a.txt": b"omega"})

    run = slave.once_unprivileged()

    assert run.exit_code == 73, run.stderr
    assert slave.tree() == TREE
    assert "index.db" in run.stderr
    assert "Traceback" not in run.stderr


def test_one_index_serves_two_targets_apart(slave: Slave) -> None:
    """Rows of one directory vouch for nothing in another one that a changed map names."""
    slave.publish(FILES)
    slave.once()
    slave.publish_map(slave.mapping("other"))

    run = slave.once()

    assert (run.exit_code, run.finished["copied"]) == (0, 3)
    assert slave.tree() == TREE


def test_a_file_that_its_owner_may_not_read_fails_no_batch(
    slave: Slave, bucket: Bucket
) -> None:
    """An agent that is not root cannot open such a file again to sync it; those beside it arrived in no run."""
    slave.publish({"a": b"alpha", "z": b"omega"})
    for key, mode in (("dark", "0200"), ("black", "0000")):
        bucket.put(f"data/{key}", b"secret", Metadata={"mode": mode})

    first, second = slave.once_unprivileged(), slave.once_unprivileged()

    assert (first.exit_code, first.finished["copied"]) == (0, 4)
    assert (second.exit_code, second.finished["copied"]) == (0, 0)
    assert {
        stat.S_IMODE((slave.target / key).stat().st_mode) for key in ("dark", "black")
    } == {
        0o200,
        0,
    }
