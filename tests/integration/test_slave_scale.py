"""What a pass costs: requests, transfers, reads; and what many or large objects do to it. On a real server."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from support.agents import parse_events
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.programs import needs
from support.s3_messages import is_list
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.demo.seaweedfs import S3Server

pytestmark = pytest.mark.integration

MIB = 2**20
MANY = 10_000
MOST_SWITCHES = 100
"""An object, where 10 to 30 are usual."""
PART_SIZES = {"rclone": 5 * MIB, "aws": 8 * MIB, "s3cmd": 15 * MIB, "s5cmd": 50 * MIB}
FILES = {f"d{number % 7}/{number:03}.txt": b"%d" % number for number in range(40)}


def test_a_pass_in_sync_asks_for_listings_only(slave: Slave, proxy: CountingProxy) -> None:
    """The second pass lists maps and prefix and asks whether the map changed: no object GET, no HEAD."""
    slave.publish(FILES)
    slave.once()
    first = proxy.counts()
    proxy.forget()

    run = slave.once()

    assert run.exit_code == 0
    assert first == Counter({"GET": len(FILES), "LIST": 2, "GET map": 1})
    assert proxy.counts() == Counter({"LIST": 2, "GET map": 1})
    assert [each.status for each in proxy.answered if each.kind == "GET map"] == [304]


def test_one_change_is_one_request(slave: Slave, proxy: CountingProxy, bucket: Bucket) -> None:
    """A change is one GET more, a deletion one HEAD more."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"d0/000.txt": b"changed"})
    bucket.delete("data/d1/001.txt")
    proxy.forget()

    run = slave.once()

    assert (run.exit_code, run.finished["copied"], run.finished["deleted"]) == (0, 1, 1)
    assert proxy.counts() == Counter({"LIST": 2, "GET map": 1, "GET": 1, "HEAD": 1})


def opened_below(directory: Path, slave: Slave, log: Path) -> list[str]:
    """Make a pass under strace and give the names of the files, not directories, that it opened in there."""
    # One file for each thread (-ff): in a common one, a call that another thread's interrupts takes two lines.
    strace = ["strace", "-ff", "-y", "-e", "trace=openat,open,openat2", "-o", str(log)]
    done = subprocess.run(
        [*strace, *slave.agent.command("--once")],
        env=slave.agent.environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logs = sorted(log.parent.glob(f"{log.name}.*"))
    assert logs, "strace wrote nothing"
    lines = [line for each in logs for line in each.read_text(errors="replace").splitlines()]
    # With -y a descriptor shows its path: `openat(7</srv/site>, "a.txt", ...) = 8</srv/site/a.txt>`.
    return [line for line in lines if str(directory) in line and "O_DIRECTORY" not in line]


@needs("strace")
def test_a_pass_in_sync_opens_no_data_file(slave: Slave, tmp_path: Path) -> None:
    """Nothing is hashed that the index vouches for: system calls show no data file opened."""
    slave.publish(FILES)
    slave.once()

    assert opened_below(slave.target, slave, tmp_path / "strace.log") == []


@needs("strace")
def test_a_touch_repairs_nothing_but_is_looked_at(slave: Slave, tmp_path: Path) -> None:
    """A new mtime costs one hash, no transfer and no trash; the pass after it costs nothing."""
    slave.publish(FILES)
    slave.once()
    path = slave.target / "d0/000.txt"
    os.utime(path)
    inode = path.stat().st_ino

    opened = opened_below(slave.target, slave, tmp_path / "touched.log")

    assert ["000.txt" in line for line in opened] == [True]
    assert (path.stat().st_ino, slave.trash()) == (inode, {})
    assert opened_below(slave.target, slave, tmp_path / "after.log") == []


def test_many_small_objects_make_no_crowd(slave: Slave) -> None:
    """Threads that wake each other at every system call cost more than the objects.

    A thread that waits for another one is a switch that the kernel counts; those for the network are among them. strace
    would count more: it slows each call down, so that threads are added as for a slow network.
    """
    slave.publish({f"d{number % 7}/{number:03}.txt": b"%d" % number for number in range(400)})
    command = slave.agent.command("--once")

    child = os.posix_spawn(command[0], command, slave.agent.environment())
    _, status, used = os.wait4(child, 0)

    assert status == 0
    assert used.ru_nvcsw / 400 < MOST_SWITCHES


def test_ten_thousand_keys(slave: Slave, bucket: Bucket) -> None:
    """Many pages are one listing: all arrive, and the next pass finds all unchanged."""
    files = {f"{number % 100:02}/{number:05}": b"%d" % number for number in range(MANY)}
    store = S3Store(
        bucket.name,
        endpoint=bucket.server.endpoint_url,
        region=bucket.server.region,
        access_key_id=bucket.server.access_key,
        secret_access_key=bucket.server.secret_key,
        client_options={"allow_http": True},
    )
    with ThreadPoolExecutor(16) as pool:  # boto3 would take four times as long
        list(pool.map(lambda key: obstore.put(store, f"data/{key}", files[key]), files))

    run = slave.once("--log-level", "warning")

    assert (run.exit_code, run.events) == (0, [])
    assert {key: data for key, data in slave.tree().items() if data is not None} == files
    again = slave.once()
    assert (again.finished["unchanged"], again.finished["copied"]) == (MANY, 0)


def test_pages_are_followed_to_the_end(scripted_slave: Slave, scripted: ScriptedS3) -> None:
    """Forty keys on pages of seven are six requests, and no page is lost between them."""
    scripted.page_size = 7
    scripted_slave.publish(FILES)

    runs = [scripted_slave.once(), scripted_slave.once()]

    assert [run.finished["copied"] for run in runs] == [len(FILES), 0]
    assert {k: v for k, v in scripted_slave.tree().items() if v is not None} == FILES
    assert sum(map(is_list, scripted.requests)) == 12


def test_pages_are_requested_by_the_boundaries_of_the_last_run(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """A pass in sync asks for as many pages as there are, all but the first by the key that they begin after."""
    scripted.page_size = 7
    scripted_slave.publish(FILES)
    scripted_slave.once()
    scripted.requests.clear()

    run = scripted_slave.once()

    asked = [each.query for each in scripted.requests if is_list(each)]
    of_data = [query for query in asked if query.get("prefix") == "data/"]
    assert (run.exit_code, run.finished["unchanged"]) == (0, len(FILES))
    assert len(of_data) == -(-len(FILES) // scripted.page_size)
    assert sum("start-after" in query for query in of_data) == len(of_data) - 1


def test_a_pass_in_sync_writes_no_row(slave: Slave) -> None:
    """The index is not touched when there is nothing to learn."""
    slave.publish(FILES)
    slave.once()
    index = slave.agent.state_dir / "index.db"
    before = index.read_bytes(), index.stat().st_mtime_ns

    run = slave.once()

    assert run.finished["unchanged"] == len(FILES)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_objects_of_parts_are_proven_and_adopted(
    slave: Slave, proxy: CountingProxy, bucket: Bucket
) -> None:
    """Uploads of every usual part size are verified by their ETag; a lost index costs no transfer of them."""
    data = random.Random(1).randbytes(50 * MIB + 12345)
    for tool, part_size in PART_SIZES.items():
        bucket.put_multipart(f"data/{tool}", data[: part_size + 12345], part_size)
    bucket.put_multipart("data/one part", data[:1000], 5 * MIB)

    run = slave.once()

    assert (run.exit_code, run.finished["copied"]) == (0, 5)
    assert {each["verified"] for each in run.named("entry.copied")} == {"multipart"}
    (slave.agent.state_dir / "index.db").unlink()
    proxy.forget()
    again = slave.once()
    assert (again.exit_code, again.finished["unchanged"]) == (0, 5)
    assert proxy.counts()["GET"] == 0
    proxy.forget()
    assert slave.once().exit_code == 0
    assert proxy.counts() == Counter({"LIST": 2, "GET map": 1})


def test_a_bandwidth_limit_is_kept(slave: Slave) -> None:
    """`max_bandwidth` is for all workers together: 4 MB at 2 MB/s need more than a second."""
    slave.publish({str(number): os.urandom(500_000) for number in range(8)})
    slave.configure(sync={"max_bandwidth": "2MB"})

    run = slave.once()

    assert (run.exit_code, run.finished["copied"]) == (0, 8)
    assert run.finished["seconds"] > 1


def test_no_secret_leaves_with_the_log(slave: Slave, seaweedfs_server: S3Server) -> None:
    """At the most talkative level neither the secret nor a signature is in any output."""
    slave.publish(FILES)

    run = slave.once("--log-level", "debug")

    assert run.events == parse_events(run.stderr)
    assert seaweedfs_server.secret_key not in run.stdout + run.stderr
    assert "signature" not in (run.stdout + run.stderr).lower()
