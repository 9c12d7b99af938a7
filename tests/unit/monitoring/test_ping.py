"""Pings of a real server that fails in every way: an error in time, and never with the secret of the URL."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.ping_server import SECRET, Ping, PingServer
from support.records import FINISHED, a_run

from s32s_agent.errors import AgentError
from s32s_agent.monitoring.last_run import LastRun, RunError
from s32s_agent.monitoring.ping import MAX_PING_BODY, ping, ping_body

LOOPBACK = IPv4Address("127.0.0.1")
BODY = b'{"exit_code": 0}'


def failure(url: str, seconds: float = 30.0) -> str:
    """Ping a server that fails, and give the message."""
    with pytest.raises(AgentError) as raised:
        ping(url, "0", BODY, seconds)
    assert SECRET not in str(raised.value) + raised.value.remedy
    return str(raised.value)


def test_a_ping_is_one_request_with_the_event_at_its_end() -> None:
    """The event goes to the path and leaves the query where it is; the body is JSON."""
    with PingServer() as server:
        ping(f"{server.url}?create=1", "start", BODY, seconds=60)

    assert server.pings == [Ping("POST", f"/ping/{SECRET}/start?create=1", {"exit_code": 0})]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("500", "answered 500, expected 200"),
        ("404", "answered 404, expected 200"),
        ("redirect", "answered 302, expected 200"),
        ("close", "RemoteDisconnected"),
        ("noise", "BadStatusLine"),
    ],
)
def test_a_server_that_fails_is_asked_twice_and_named(behaviour: str, expected: str) -> None:
    """The message says what came, in our own words, and the host."""
    with PingServer(behaviour) as server:
        message = failure(server.url)

    assert message == f'ping_url at "127.0.0.1": {expected}'
    assert len(server.pings) == 2


@pytest.mark.parametrize("behaviour", ["hang", "trickle"])
def test_a_server_that_hangs_delays_no_run(behaviour: str) -> None:
    """The time is that of the whole try, however often a byte comes."""
    with PingServer(behaviour) as server:
        message = failure(server.url, seconds=0.5)

    assert message == 'ping_url at "127.0.0.1": no answer within 0.5 seconds'
    assert len(server.pings) == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for this computer, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_the_secret_is_not_sent_to_a_server_without_a_certificate(certificate: Path) -> None:
    """A server that cannot prove its name learns nothing of the URL."""
    with PingServer(certificate=certificate) as server:
        message = failure(server.url)

    assert server.pings == []
    assert "certificate verification failed: self-signed certificate" in message


def test_a_server_with_a_valid_certificate_is_pinged(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https works, with the certificates that the system, or SSL_CERT_FILE, trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with PingServer(certificate=certificate) as server:
        ping(server.url, "0", BODY, seconds=60)

    assert server.events() == ["0"]


def test_a_refused_connection_is_an_error() -> None:
    """The message names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert "Connection refused" in failure(f"http://127.0.0.1:{port}/{SECRET}")


def test_a_body_has_the_errors_that_have_room() -> None:
    """However much went wrong, the service takes the body, and the result stands in it."""
    errors = tuple(RunError("web", f"k{n}", "x" * 900) for n in range(50))
    body = ping_body(a_run(exit_code=1, cause="partial", errors=errors))

    document = json.loads(body)
    kept = [asdict(error) for error in errors[: len(document["errors"])]]
    assert len(body) <= MAX_PING_BODY
    assert (document["exit_code"], document["hostname"]) == (1, "web1")
    assert document["errors"] == kept
    assert len(kept) == 6
    assert "mappings" not in document


def test_a_start_has_no_result_yet() -> None:
    """Every field is there, and what is not known is null."""
    body = json.loads(ping_body(LastRun(run_id="r1", hostname="web1", started=FINISHED)))

    assert (body["run_id"], body["started"]) == ("r1", "2026-11-22T20:55:00+00:00")
    assert body["errors"] == []
    for name in ("finished", "seconds", "exit_code", "cause", "totals", "last_success"):
        assert body[name] is None
