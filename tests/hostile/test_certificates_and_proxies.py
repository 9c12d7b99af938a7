"""Connections to S3: invalid certificates, redirects, and real proxies that require a login."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.certificates import DAY, Authority
from support.forked import Forks
from support.invariants import Invariants, check_after, state_before_run, versions_of
from support.run_checkers import SlaveChecker, server_contents
from support.s3_messages import Match, Replier, Reply, is_get, is_head, is_list
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.hostile

IMPATIENT = {"connect_seconds": 5, "read_seconds": 5, "attempts": 2, "pause_seconds": 0.05}
PARTIAL, UNAVAILABLE = 1, 69
OLD, NEW = {"a": b"old", "extra": b"extra"}, {"a": b"new"}
PASSWORD = "wonderland"
LOGIN = f"agent:{PASSWORD}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def publish(slave: Slave, server: ScriptedS3, **s3: str) -> Invariants:
    """Give the slave the old files and the server the new ones; return the state before the run."""
    slave.put = server.put
    slave.agent.checker = SlaveChecker(slave, server_contents(server))
    slave.publish_map(slave.mapping())
    slave.publish(NEW)
    slave.configure("maps/site.json", s3={"endpoint_url": server.endpoint_url, **s3})
    slave.target.mkdir()
    for key, data in OLD.items():
        (slave.target / key).write_bytes(data)
    return state_before_run(slave.target, slave.agent.state_dir)


def problems_of(slave: Slave, before: Invariants, run: AgentRun) -> list[str]:
    """List what a run did that no run may do; one that failed must have changed nothing."""
    versions, secrets = versions_of(OLD, NEW), {PASSWORD, *slave.agent.secrets}
    found = check_after(before, versions, run, current=NEW, secrets=secrets)
    wanted = NEW if run.exit_code == 0 else OLD
    return found + [f"the tree is {slave.tree()}"] * (slave.tree() != wanted)


# --- certificates ---

CERTIFICATES: dict[str, tuple[str, timedelta, bool, str]] = {
    "good": ("127.0.0.1", DAY, True, ""),
    "of an unknown authority": ("127.0.0.1", DAY, False, "s3.ca_bundle"),
    "of another host": ("127.0.0.9", DAY, True, "s3.endpoint_url"),
    "expired": ("127.0.0.1", -DAY, True, "renew the certificate"),
}
"""The address of the certificate, its validity, whether its authority is known, and what the remedy names."""


@pytest.mark.parametrize("name", CERTIFICATES)
def test_no_server_is_trusted_without_a_valid_certificate(
    scripted_slave: Slave, forks: Forks, authority: Authority, name: str
) -> None:
    """A run without a valid certificate for the endpoint changes nothing, and the remedy names the cause."""
    address, valid, known, remedy = CERTIFICATES[name]
    status = UNAVAILABLE if remedy else 0
    with ScriptedS3(tls=authority.context(address, valid)) as server:
        bundle = {"ca_bundle": str(authority.bundle)} if known else {}
        before = publish(scripted_slave, server, **bundle)

        run = forks.once(scripted_slave.agent, timeouts=IMPATIENT)

        assert (run.exit_code, problems_of(scripted_slave, before, run)) == (status, []), (
            run.stderr
        )
        assert status == 0 or remedy in run.named("run.failed")[0]["remedy"]
        assert status == 0 or server.requests == []


def test_the_ca_bundle_of_the_environment_is_used(
    scripted_slave: Slave, forks: Forks, authority: Authority
) -> None:
    """`AWS_CA_BUNDLE` is used for every request."""
    with ScriptedS3(tls=authority.context()) as server:
        before = publish(scripted_slave, server)
        env = {"AWS_CA_BUNDLE": str(authority.bundle)}

        run = forks.once(scripted_slave.agent, env=env, timeouts=IMPATIENT)

        assert (run.exit_code, problems_of(scripted_slave, before, run)) == (0, []), run.stderr


# --- redirects ---


def redirect_to(server: ScriptedS3, status: int) -> Replier:
    """Send clients with the same path to another server."""
    return lambda request: Reply(
        status, headers={"location": server.endpoint_url + request.path}
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("match", [is_list, is_get("data/a")], ids=["LIST", "GET"])
def test_no_redirect_makes_another_server_answer_listings(
    scripted_slave: Slave, forks: Forks, scripted: ScriptedS3, match: Match, status: int
) -> None:
    """A listing is read from the endpoint only. The library follows redirects of objects: proven, and unsigned."""
    before = publish(scripted_slave, scripted)
    with ScriptedS3() as elsewhere:
        elsewhere.put("data/a", b"evil", etag=scripted.objects["data/a"].etag)

        scripted.on(match, redirect_to(elsewhere, status))

        run = forks.once(scripted_slave.agent, timeouts=IMPATIENT)

    assert run.exit_code in (PARTIAL, UNAVAILABLE), run.stderr
    assert problems_of(scripted_slave, before, run) == []
    assert match is not is_list or elsewhere.requests == []
    assert not any("authorization" in each.headers for each in elsewhere.requests)


@pytest.mark.parametrize("status", [301, 307])
def test_an_absence_that_only_another_server_confirms_deletes_nothing(
    scripted_slave: Slave, forks: Forks, scripted: ScriptedS3, status: int
) -> None:
    """HEAD is redirected to an empty server: its 404 proves nothing about the endpoint."""
    publish(scripted_slave, scripted)
    with ScriptedS3() as elsewhere:
        scripted.on(is_head("data/extra"), redirect_to(elsewhere, status))

        run = forks.once(scripted_slave.agent, timeouts=IMPATIENT)

    assert (run.exit_code, scripted_slave.tree()) == (UNAVAILABLE, OLD | NEW), run.stderr
    assert "data/extra" in scripted.asked("HEAD")
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("match", [is_list, is_get("data/a")], ids=["LIST", "GET"])
def test_no_redirect_leads_from_https_to_http(
    scripted_slave: Slave, forks: Forks, authority: Authority, match: Match, status: int
) -> None:
    """With TLS at the endpoint, a redirect to a server without it is not followed, though its bytes are right."""
    with ScriptedS3(tls=authority.context()) as server, ScriptedS3() as elsewhere:
        before = publish(scripted_slave, server, ca_bundle=str(authority.bundle))
        elsewhere.objects = server.objects.copy()
        server.on(match, redirect_to(elsewhere, status))

        run = forks.once(scripted_slave.agent, timeouts=IMPATIENT)

        assert run.exit_code == UNAVAILABLE, run.stderr
        assert problems_of(scripted_slave, before, run) == []
    assert elsewhere.requests == []


def test_a_redirect_cannot_substitute_bytes_that_no_etag_can_prove(
    scripted_slave: Slave, forks: Forks, scripted: ScriptedS3
) -> None:
    """A redirect to another host is not followed, so no byte from there is trusted, and no token is sent there."""
    before = publish(scripted_slave, scripted)
    encrypted = {"x_amz_server_side_encryption": "aws:kms"}
    scripted.put("data/a", b"new", etag='"opaque"', **encrypted)
    with ScriptedS3() as elsewhere:
        elsewhere.put("data/a", b"bad", etag='"opaque"', **encrypted)
        headers = {"location": f"{elsewhere.endpoint_url}/bucket/data/a"}
        scripted.on(is_get("data/a"), Reply(307, headers=headers))
        env = {"AWS_SESSION_TOKEN": "the-session-token-of-a-role"}

        run = forks.once(scripted_slave.agent, env=env, timeouts=IMPATIENT)

    assert run.exit_code == UNAVAILABLE
    assert problems_of(scripted_slave, before, run) == []
    assert elsewhere.requests == []


# --- proxies ---


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tinyproxy that requires a login."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed (apt-get install tinyproxy-bin)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("tinyproxy")
    config = directory / "tinyproxy.conf"
    log = directory / "log"
    user, _, password = LOGIN.partition(":")
    config.write_text(
        f'Port {port}\nListen 127.0.0.1\nBasicAuth {user} {password}\nLogFile "{log}"\nMaxClients 50\n'
    )
    with subprocess.Popen(
        [program, "-d", "-c", str(config)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "tinyproxy does not listen"
            time.sleep(0.05)
        else:
            return


LOGINS = {f"{LOGIN}@": 0, "": UNAVAILABLE, "agent:looking-glass@": UNAVAILABLE}
LOGIN_CASES = [(scheme, login) for scheme in ("http", "https") for login in LOGINS]


@pytest.mark.parametrize(
    "case", LOGIN_CASES, ids=lambda case: f"{case[0]} {case[1] or 'no login'}"
)
def test_a_proxy_that_requires_a_login(
    scripted_slave: Slave,
    forks: Forks,
    authority: Authority,
    proxy: str,
    case: tuple[str, str],
) -> None:
    """With the login every request uses the proxy; without it nothing changes, and the remedy names the proxy."""
    scheme, login = case
    status, tls = LOGINS[login], authority.context() if scheme == "https" else None
    with ScriptedS3(tls=tls) as server:
        before = publish(scripted_slave, server, ca_bundle=str(authority.bundle))
        env: dict[str, str | None] = {f"{scheme.upper()}_PROXY": f"http://{login}{proxy}"}

        run = forks.once(scripted_slave.agent, env=env, timeouts=IMPATIENT)

        assert (run.exit_code, problems_of(scripted_slave, before, run)) == (status, []), (
            run.stderr
        )
        assert "looking-glass" not in run.stderr
        assert status == 0 or "PROXY" in run.named("run.failed")[0]["remedy"]
        assert bool(server.requests) == (status == 0)


def test_a_proxy_that_is_down(
    scripted_slave: Slave, forks: Forks, scripted: ScriptedS3
) -> None:
    """No request bypasses the proxy, and its password is not shown."""
    before = publish(scripted_slave, scripted)
    env: dict[str, str | None] = {"HTTP_PROXY": f"http://{LOGIN}@127.0.0.1:9"}

    run = forks.once(scripted_slave.agent, env=env, timeouts=IMPATIENT)

    assert (run.exit_code, problems_of(scripted_slave, before, run)) == (UNAVAILABLE, []), (
        run.stderr
    )
    assert "PROXY" in run.named("run.failed")[0]["remedy"]
    assert scripted.requests == []
