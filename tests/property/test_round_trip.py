"""Whatever tree a master has, a slave gets; and however it changes, both settle on it. On a real server, in-process."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s32s_agent.config.config_file import parse
from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.output import logs
from s32s_agent.output.progress import Progress
from s32s_agent.run.context import RunOptions
from s32s_agent.run.report import RunReport
from s32s_agent.run.run import Run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BUCKET = "round-trip"
ROUNDS = 8
SYNC = {"durable": False, "workers": 4, "max_delete": "100%", "allow_empty_source": True}


@dataclass(frozen=True)
class Node:
    """A file, or with None for its bytes an empty directory."""

    data: bytes | None
    mode: int
    mtime_ns: int


PIECES = st.sampled_from([*"aAb-.~ +%&#?!'", "é", "e\u0301", "日", "😀", "\n", "0"])
NAME = (
    st.lists(PIECES, min_size=1, max_size=5)
    .map("".join)
    .filter(lambda name: name not in {".", ".."})
)
NODE = st.builds(
    Node,
    st.none() | st.binary(max_size=40),
    st.sampled_from([0o644, 0o600, 0o755, 0o440, 0o4711, 0o777]),
    st.integers(-(10**18), 4 * 10**18),
)
TREE = st.dictionaries(st.lists(NAME, min_size=1, max_size=3).map("/".join), NODE, max_size=12)


@dataclass
class Pair:
    """A master and a slave of one prefix."""

    directory: Path
    server: S3Server
    client: S3Client
    prefix: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        for name in ("master", "slave", "state-master", "state-slave"):
            (self.directory / name).mkdir(parents=True)
        place = {role: str(self.directory / role / "tree") for role in ("master", "slave")}
        mapping = {"name": "tree", "s3": f"{BUCKET}/{self.prefix}/data", **place}
        self.client.put_object(
            Bucket=BUCKET, Key=f"{self.prefix}/map.json", Body=json.dumps([mapping]).encode()
        )
        self.source.mkdir()

    @property
    def source(self) -> Path:
        return self.directory / "master" / "tree"

    @property
    def target(self) -> Path:
        return self.directory / "slave" / "tree"

    def once(self, role: str, **sync: object) -> RunReport:
        """Make a pass in this process."""
        config = {
            "role": role,
            "maps": f"{BUCKET}/{self.prefix}/map.json",
            "roots": [str(self.directory / role)],
            "state_dir": str(self.directory / f"state-{role}"),
            "s3": {"endpoint_url": self.server.endpoint_url, "addressing_style": "path"},
            "sync": {**SYNC, **sync},
        }
        progress = Progress(None, enabled=False)
        run = Run(
            parse(json.dumps(config), "test"), RunOptions(), "run", logs.bind("run"), progress
        )
        return run.synchronize(NOW)


def build(directory: Path, tree: dict[str, Node]) -> None:
    """Make a tree; a path that cannot be, because a file is in its way or it is there already, is left out."""
    for name, node in tree.items():
        path = directory / name
        try:
            (path if node.data is None else path.parent).mkdir(parents=True, exist_ok=True)
            if node.data is None or path.exists():
                continue
            path.write_bytes(node.data)
        except (FileExistsError, NotADirectoryError):
            continue
        path.chmod(node.mode)
        os.utime(path, ns=(node.mtime_ns, node.mtime_ns))


def seen(directory: Path) -> dict[str, Node | None]:
    """Give every file with its mode and time, and every directory, by relative path."""
    return {str(path.relative_to(directory)): _node(path) for path in directory.rglob("*")}


def _node(path: Path) -> Node | None:
    if path.is_dir():
        return None
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode) & 0o777
    return Node(path.read_bytes(), mode, status.st_mtime_ns)


@pytest.fixture(scope="module")
def client(seaweedfs_server: S3Server, admin_client: S3Client) -> Iterator[S3Client]:
    """One bucket for all examples, and the admin's keys in the environment."""
    admin_client.create_bucket(Bucket=BUCKET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.secret_key)
        yield admin_client


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=TREE)
def test_every_tree_survives_the_trip(
    tmp_path: Path, seaweedfs_server: S3Server, client: S3Client, tree: dict[str, Node]
) -> None:
    """Names, bytes, modes, times and empty directories arrive, and second passes transfer nothing."""
    directory = tmp_path / uuid.uuid4().hex
    pair = Pair(directory, seaweedfs_server, client)
    build(pair.source, tree)

    reports = [pair.once(role) for role in ("master", "slave", "master", "slave")]

    assert [report.exit_code for report in reports] == [0] * 4
    assert seen(pair.target) == seen(pair.source)
    totals = [report.totals() for report in reports[2:]]
    assert [(each["copied"], each["deleted"]) for each in totals] == [(0, 0)] * 2
    shutil.rmtree(directory)


def change(rng: random.Random, directory: Path, names: list[str]) -> None:
    """Write some files anew and remove some; no name is ever a file and a directory."""
    for name in rng.sample(names, 8):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice([0, 1, 5, 2000])))
    for name in rng.sample(names, 3):
        (directory / name).unlink(missing_ok=True)
    (directory / f"dir{rng.randrange(4)}" / "empty").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_master_and_slave_settle_on_the_masters_tree(
    tmp_path: Path, seaweedfs_server: S3Server, client: S3Client, seed: int
) -> None:
    """Files change on all three sides between passes; once the changes stop, one pass each makes all equal."""
    rng = random.Random(seed)
    pair = Pair(tmp_path / "pair", seaweedfs_server, client)
    names = [f"dir{number % 4}/f{number}" for number in range(24)] + ["top", "sp ace"]
    change(rng, pair.source, names)
    for _ in range(ROUNDS):
        reports = [pair.once("master"), pair.once("slave")]

        assert [report.exit_code for report in reports] == [0, 0]
        assert contents(pair.target) == contents(pair.source)
        change(rng, pair.source, names)
        if rng.random() < 0.5:
            change(rng, pair.target, names)
        if rng.random() < 0.5:
            vandalise(rng, client, pair.prefix)
        if rng.random() < 0.3:
            (tmp_path / "pair" / f"state-{rng.choice(['master', 'slave'])}/index.db").unlink()
    reports = [pair.once(role) for role in ("master", "slave", "master", "slave")]
    assert [report.exit_code for report in reports] == [0] * 4
    assert contents(pair.target) == contents(pair.source)
    assert [report.totals()["copied"] for report in reports[2:]] == [0, 0]


def contents(directory: Path) -> dict[str, bytes | None]:
    """Give bytes by path, None for a directory, without the trash."""
    return {
        key: node.data if node else None
        for key, node in seen(directory).items()
        if not key.startswith(".s32s")
    }


def vandalise(rng: random.Random, client: S3Client, prefix: str) -> None:
    """Change and delete objects behind the master's back."""
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/data/")
    keys = [each["Key"] for each in listed.get("Contents", []) if each["Key"][-1] != "/"]
    for key in rng.sample(keys, min(2, len(keys))):
        client.put_object(Bucket=BUCKET, Key=key, Body=rng.randbytes(5))
    for key in rng.sample(keys, min(2, len(keys))):
        client.delete_object(Bucket=BUCKET, Key=key)
