"""The benchmark's own machinery: what it makes, serves, relays and measures is what it says."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.buckets import open_client

from tools.bench import measure, relay, trees
from tools.bench.data import DataSet, File
from tools.bench.listing_server import ListingServer
from tools.bench.relay import Relay
from tools.bench.trees import Inspector, difference
from tools.bench.workloads import WORKLOADS, in_units, select, shrunk

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATA = DataSet(2345, 1)
MEGABYTE = 1_000_000


@pytest.fixture
def server() -> Iterator[ListingServer]:
    with ListingServer(DATA, "bench", "data/") as server:
        server.put("maps/bench.json", b"[]")
        yield server


@pytest.fixture
def client(server: ListingServer) -> Iterator[S3Client]:
    with open_client(server.endpoint_url) as client:
        yield client


def test_contents_follow_from_the_number_and_the_version() -> None:
    """Two data sets of the same size are the same, and only every hundredth file is another in a later version."""
    data, again = DataSet(250, 5000), DataSet(250, 5000)
    files, changed = data.files(), data.changed(3)

    assert files == again.files()
    assert len(set(files.values())) == 250
    assert list(files) == sorted(files)
    assert list(changed) == [data.key(number) for number in (0, 100, 200)]
    assert [key for key in changed if changed[key] == files[key]] == []
    assert data.file(7) == File(5000, hashlib.md5(data.content(7)).hexdigest())


def test_workloads_are_selected_by_name_and_by_family() -> None:
    """A letter names all of its family; what does not exist is refused with what does."""
    assert [each.name for each in select(["i", "a"])] == ["a", "i-a", "i-e"]
    assert [each.name for each in select(["j-1m"])] == ["j-1m"]
    assert select([]) == list(WORKLOADS)
    with pytest.raises(ValueError, match="'z': no such workload, expected one of a, b,"):
        select(["a", "z"])


def test_a_smaller_workload() -> None:
    """Ten times fewer files of the same size, or one smaller file."""
    smaller = {each.name: shrunk(each, 10).data for each in WORKLOADS}

    assert smaller["a"] == DataSet(1000, 4096)
    assert smaller["c"] == DataSet(1, (2 << 30) // 10)


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1 B"), (4096, "4 KiB"), (2 << 30, "2 GiB"), (20_000_000, "20 MB")]
)
def test_sizes_as_people_write_them(size: int, text: str) -> None:
    """Powers of 1024 where it is one, otherwise of 1000."""
    assert in_units(size) == text


def test_the_listing_server_lists_all_by_pages(client: S3Client) -> None:
    """Pages of any size, joined, are the whole data set in order, with the ETags of its contents."""
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="bench", Prefix="data/", PaginationConfig={"PageSize": 1000}
    )
    rows = [row for page in pages for row in page["Contents"]]

    listed = {
        row["Key"].removeprefix("data/"): File(row["Size"], row["ETag"].strip('"'))
        for row in rows
    }
    assert listed == DATA.files()
    assert [row["Key"] for row in rows] == sorted(row["Key"] for row in rows)


def test_the_listing_server_begins_where_it_is_told(client: S3Client) -> None:
    """Start-after, max-keys and the prefix are honoured, and all keys together are in order."""
    after = client.list_objects_v2(
        Bucket="bench", Prefix="data/", StartAfter="data/0002/0002340.dat", MaxKeys=3
    )
    rest = client.list_objects_v2(
        Bucket="bench", Prefix="data/", ContinuationToken=after["NextContinuationToken"]
    )
    thousand = client.list_objects_v2(Bucket="bench", Prefix="data/0001/")
    everything = client.get_paginator("list_objects_v2").paginate(Bucket="bench")
    keys = [row["Key"] for page in everything for row in page["Contents"]]

    assert [row["Key"][-8:-4] for row in after["Contents"]] == ["2341", "2342", "2343"]
    assert after["IsTruncated"]
    assert [row["Key"][-8:-4] for row in rest["Contents"]] == ["2344"]
    assert not rest["IsTruncated"]
    assert (thousand["KeyCount"], thousand["IsTruncated"]) == (1000, False)
    assert len(keys) == 2346
    assert keys[-1] == "maps/bench.json"


def test_the_listing_server_has_the_objects_that_it_lists(client: S3Client) -> None:
    """The bytes of an object have the ETag of the listing, and what is not listed is not there."""
    answer = client.get_object(Bucket="bench", Key="data/0001/0001007.dat")
    with answer["Body"] as body:
        data = body.read()

    assert answer["ETag"].strip('"') == hashlib.md5(data).hexdigest() == DATA.file(1007).md5
    for key in ("data/0001/0000007.dat", "data/0002/0002345.dat", "x"):
        with pytest.raises(client.exceptions.ClientError, match="NoSuchKey"):
            client.get_object(Bucket="bench", Key=key)


def test_what_is_wrong_with_a_tree_is_said(tmp_path: Path) -> None:
    """A file that is missing, one too many, and one of the same size with other bytes are each counted."""
    data = DataSet(4, 10)
    trees.make(tmp_path, data)
    inspector = Inspector(tmp_path)
    right, written = inspector.look()
    (tmp_path / data.key(0)).unlink()
    (tmp_path / data.key(1)).write_bytes(b"0123456789")
    (tmp_path / "more").write_bytes(b"")

    found, rewritten = inspector.look()

    assert (right, written, difference(right, data.files())) == (data.files(), 4, "")
    assert rewritten == 2
    assert difference(found, right) == (
        "1 missing (first 0000/0000000.dat), 1 not wanted (first more), "
        "1 with other content (first 0000/0000001.dat)"
    )


def run(tmp_path: Path, program: str) -> measure.Run:
    """Measure a program in Python."""
    command = [sys.executable, "-S", "-c", program]
    return measure.measure(measure.Measured(command, dict(os.environ), os.getpid(), tmp_path))


def test_memory_is_that_of_the_whole_family(tmp_path: Path) -> None:
    """A parent and its child count together, at the time when both were there; our own memory does not."""
    mine = bytearray(200 * MEGABYTE)
    child = "import time; x = bytearray(40_000_000); time.sleep(1)"
    begin = "import subprocess, sys; x = bytearray(40_000_000)"
    parent = f"{begin}; subprocess.run([sys.executable, '-S', '-c', {child!r}])"

    measured = run(tmp_path, parent)

    assert measured.problem == ""
    assert len(mine) > 130 * MEGABYTE > measured.memory > 80 * MEGABYTE


def test_processor_time_of_children_counts(tmp_path: Path) -> None:
    """What a child computed is its parent's too, and waiting costs none."""
    work = "import time\nwhile time.process_time() < 0.5: pass"
    measured = run(
        tmp_path,
        f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {work!r}])",
    )

    assert 0.5 <= measured.cpu <= measured.wall * (os.cpu_count() or 1)


def test_a_tool_that_fails_says_why(tmp_path: Path) -> None:
    """Its exit status and the last line that it wrote are the reason."""
    measured = run(
        tmp_path, "import sys; print('first', file=sys.stderr); sys.exit('no such bucket')"
    )

    assert measured.problem == "exit status 1: no such bucket"


def test_a_relay_changes_nothing_and_adds_its_delay() -> None:
    """Many pieces arrive whole and in order, and an answer takes the delay at least; it ends with clients connected."""
    sent = os.urandom(3 * MEGABYTE)
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        echo = threading.Thread(target=_echo, args=(upstream,))
        echo.start()
        with Relay(upstream.getsockname()[1], 0.05) as between:
            client = socket.create_connection(("127.0.0.1", between.port))
            begin = time.monotonic()
            client.sendall(b"?")
            first = client.recv(1)
            seconds = time.monotonic() - begin
            writer = threading.Thread(target=client.sendall, args=(sent,))
            writer.start()
            got = b"".join(iter(lambda: _some(client, sent), b""))
            writer.join()
        echo.join()
        client.close()

    assert first == b"?"
    assert seconds >= 0.05
    assert got == sent


_left: dict[socket.socket, int] = {}


def _some(client: socket.socket, sent: bytes) -> bytes:
    """Read on until as much has come as was sent."""
    left = _left.setdefault(client, len(sent))
    data = client.recv(min(left, 1 << 16)) if left else b""
    _left[client] = left - len(data)
    return data


def _echo(upstream: socket.socket) -> None:
    connection, _ = upstream.accept()
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)


def test_the_rate_is_that_of_the_transfer_alone() -> None:
    """Little answers before and after it are no part of it; a pause within it is."""
    slots = Counter({0: 500, 50: 200_000, 51: 200_000, 53: 400_000, 90: 700})

    assert relay.rate(slots) == pytest.approx(2_000_000)
    assert relay.rate(Counter()) == 0.0
