"""The client of S3 over networks as they are: IPv6, SOCKS proxies, servers and boxes with ways of their own."""

from __future__ import annotations

import socket

import pytest
from support.fixed_access import client_of
from support.raw_server import RawServer, answer, error
from support.socks_proxy import SocksProxy

from s32s_agent.errors import AccessDenied, StoreUnavailable
from s32s_agent.stores.s3.access import proxy_for
from s32s_agent.stores.s3.client import Call

OK = answer(200, b"body", ETag='"e"')
GET = Call("GET", "bucket", '"key"', "key")
LARGE = bytes(range(256)) * (12 << 10)
"""Over the size from which libcurl asks before it sends a body."""
PUT = Call("PUT", "bucket", '"key"', "key", body=LARGE)
SMALL_PUT = Call("PUT", "bucket", '"key"', "key", body=b"small")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_endpoint_is_an_address_of_ipv6() -> None:
    """The host is signed and sent in brackets, with its port."""
    with RawServer([OK], host="::1") as server:
        assert client_of(server.url, read_seconds=3, attempts=2).call(GET).body == b"body"
        port = server.url.rpartition(":")[2]
    (head,) = server.requests
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in head


@pytest.mark.parametrize("continues", ["at once", "late", "never", "refused"])
def test_a_server_that_answers_100_continue_late_or_never_gets_the_whole_body(
    continues: str,
) -> None:
    """One that refuses to be asked gets it in a second request, without the question."""
    with RawServer([OK], continues=continues) as server:
        assert client_of(server.url, read_seconds=3, attempts=2).call(PUT).status == 200
    assert server.bodies == [LARGE]
    assert (b"expect:" in server.requests[-1].lower()) == (continues != "refused")


@pytest.mark.parametrize("call", [GET, SMALL_PUT], ids=["GET", "PUT"])
def test_a_box_that_drops_idle_connections_costs_no_request(call: Call) -> None:
    """A kept connection turns out to be dead: the request goes over a new one, each of them once."""
    with RawServer([OK], closes=True) as server:
        client = client_of(server.url, read_seconds=3, attempts=2)
        for _ in range(3):
            assert client.call(call).body == b"body"
    assert (len(server.requests), server.connections) == (3, 3)


def test_a_server_that_refuses_before_it_has_read_the_body_is_understood() -> None:
    """Its reason is told, and not that the network broke."""
    no = error(403, "AccessDenied", "no writes on Sundays").replace(
        b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1
    )
    with (
        RawServer([no], refuses_early=True) as server,
        pytest.raises(AccessDenied, match="AccessDenied: no writes on Sundays"),
    ):
        client_of(server.url, read_seconds=3, attempts=2).call(PUT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("login", ["", "user:pass%3Aword"])
def test_everything_goes_through_a_socks_proxy(
    monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """ALL_PROXY names it; the proxy, not this computer, resolves the host."""
    plain = login.replace("%3A", ":")
    with RawServer([OK]) as server, SocksProxy(plain) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{login}{'@' * bool(login)}{proxy.address}")
        url = server.url.replace("127.0.0.1", "store.invalid")
        chosen, _ = proxy_for(url)
        client = client_of(url, proxy=chosen, read_seconds=3, attempts=2)

        assert client.call(GET).body == b"body"
        assert client.call(SMALL_PUT).body == b"body"

    assert set(proxy.asked) == {"store.invalid"}
    assert set(proxy.logins) == ({plain} if plain else set())


def test_a_socks_proxy_that_refuses_the_login_is_told_as_the_proxy() -> None:
    """The remedy names the proxy's variables, and no text the password."""
    with SocksProxy("user:right") as proxy:
        client = client_of(
            "http://store.invalid:1", proxy=f"socks5h://user:wrong-word@{proxy.address}"
        )
        with pytest.raises(StoreUnavailable) as caught:
            client.call(GET)

    assert "PROXY" in caught.value.remedy
    assert "wrong-word" not in str(caught.value) + caught.value.remedy
