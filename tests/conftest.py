"""The fixtures that all tests share. What they hand out is in `support`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.agents import AGENTS, Agent
from support.buckets import IDENTITIES, Bucket, open_client_as
from support.counting_proxy import CountingProxy
from support.forked import Forks, shared_forks
from support.masters import Master, new_master
from support.run_checkers import bucket_contents, check_runs_in_hostile_tests, server_contents
from support.scripted import ScriptedS3
from support.secrecy import assert_no_secrets_in_files
from support.slaves import Slave

from s32s_agent.demo.seaweedfs import S3Server, seaweedfs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


# A busy computer is no finding, and a run tries what the one before tried: `test_fuzz.py` can try something new.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


pytest_plugins = ["support.local_targets", "support.mapping_rig"]

TIERS = ("integration", "hostile", "machine", "stores")
"""The marks of what is not run unless a tier or a path is named; what has none of them is fast, and runs anywhere."""


def pytest_configure(config: pytest.Config) -> None:
    """Run the fast tier alone when the command line names neither a tier nor a path."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if not named and not config.option.markexpr:
        config.option.markexpr = f"not ({' or '.join(TIERS)})"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know an option for what takes minutes."""
    parser.addoption("--slow", action="store_true", help="run the slow tests, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, visibly, what takes minutes, unless it was asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: asked for with --slow"))


@pytest.fixture(autouse=True, scope="module")
def _agents_of_a_module() -> Iterator[None]:
    """Forget what agents the tests of a module shared."""
    yield
    AGENTS.clear()


@pytest.fixture(autouse=True)
def _secrets_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide in a test what the test itself made a secret."""
    monkeypatch.setattr("s32s_agent.redaction._hidden", ())


@pytest.fixture(autouse=True)
def _no_credential_is_kept() -> Iterator[None]:
    """No agent of any test, or of its module, leaves a credential in its state or in a log."""
    shared = AGENTS.copy()
    yield
    for agent in AGENTS:
        assert_no_secrets_in_files(agent.secrets, agent.directory)
    AGENTS[:] = shared


@pytest.fixture(scope="session")
def forks() -> Forks:
    """What forks agents, one for each test process; it ends with that."""
    return shared_forks()


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, one for each test process; it knows the identities of `support.buckets`."""
    directory = tmp_path_factory.mktemp("seaweedfs")
    with seaweedfs(directory, IDENTITIES) as server:
        yield server
    # pytest keeps the directories of three sessions, and this one may hold gigabytes.
    shutil.rmtree(directory / "data")


@pytest.fixture(scope="session")
def admin_client(seaweedfs_server: S3Server) -> Iterator[S3Client]:
    """The admin's client: making one for each test would take longer than most tests."""
    with open_client_as(seaweedfs_server) as client:
        yield client


@pytest.fixture
def bucket(seaweedfs_server: S3Server, admin_client: S3Client) -> Bucket:
    """A new, empty bucket. It goes with the server."""
    name = f"test-{uuid.uuid4().hex[:16]}"
    admin_client.create_bucket(Bucket=name)
    return Bucket(name, admin_client, seaweedfs_server)


@pytest.fixture
def agent(tmp_path: Path, seaweedfs_server: S3Server) -> Agent:
    """The agent as a process, with its files in `tmp_path/agent`."""
    directory = tmp_path / "agent"
    directory.mkdir()
    return Agent(directory, seaweedfs_server)


@pytest.fixture
def scripted() -> Iterator[ScriptedS3]:
    """A scripted S3 server with the empty bucket `bucket`."""
    with ScriptedS3() as server:
        yield server


@pytest.fixture
def slave(
    request: pytest.FixtureRequest, tmp_path: Path, agent: Agent, bucket: Bucket
) -> Slave:
    """A configured slave of a real bucket, whose map is published; nothing is in its prefix yet."""
    slave = _slave(tmp_path, agent, bucket.name, bucket.put)
    check_runs_in_hostile_tests(request, slave, bucket_contents(bucket))
    return slave


@pytest.fixture
def proxy(seaweedfs_server: S3Server, slave: Slave) -> Iterator[CountingProxy]:
    """The slave's way to the server, counted; it can be held up."""
    with CountingProxy(seaweedfs_server.endpoint_url) as counting:
        slave.configure(s3={"endpoint_url": counting.endpoint_url})
        yield counting


@pytest.fixture
def scripted_slave(
    request: pytest.FixtureRequest, tmp_path: Path, agent: Agent, scripted: ScriptedS3
) -> Slave:
    """A slave of the scripted server; its map is named directly, so that it lists nothing but the prefix."""
    slave = _slave(tmp_path, agent, scripted.bucket, scripted.put)
    slave.configure("maps/site.json", s3={"endpoint_url": scripted.endpoint_url})
    check_runs_in_hostile_tests(request, slave, server_contents(scripted))
    return slave


@pytest.fixture
def master(tmp_path: Path, agent: Agent, bucket: Bucket) -> Master:
    """A configured master of a real bucket, whose map is published; its source is empty."""
    return new_master(tmp_path, agent, bucket.name, bucket.put)


@pytest.fixture
def scripted_master(
    request: pytest.FixtureRequest, tmp_path: Path, agent: Agent, scripted: ScriptedS3
) -> Master:
    """A master of the scripted server; its map is named directly, so that it lists nothing but the prefix."""
    master = new_master(tmp_path, agent, scripted.bucket, scripted.put)
    master.configure("maps/site.json", s3={"endpoint_url": scripted.endpoint_url})
    check_runs_in_hostile_tests(request, master, server_contents(scripted))
    return master


def _slave(directory: Path, agent: Agent, bucket: str, put: Callable[..., object]) -> Slave:
    root = directory / "srv"
    root.mkdir()
    slave = Slave(agent, bucket, put, root)
    slave.publish_map(slave.mapping())
    slave.configure()
    return slave
