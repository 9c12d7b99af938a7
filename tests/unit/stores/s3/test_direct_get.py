"""Requests without a client of boto3 go where boto3 would send them, and whatever is not plain is left to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from support.s3_messages import Reply, Request, is_get, is_list
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.model import Location
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.direct_get import Address, DirectRequests, address
from s32s_agent.stores.s3.source import S3Source

LIMIT = 1 << 20
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


class _Caught(Exception):
    """The request was seen; it is not sent."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing but keys is configured."""
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def of_boto3(where: Address, bucket: str) -> tuple[str, str]:
    """Give the endpoint, and the URL that boto3 would ask for the bucket's listing."""
    client = boto3.client(
        "s3",
        region_name=where.region,
        endpoint_url=where.endpoint_url,
        config=Config(s3={"addressing_style": where.style}),  # type: ignore[arg-type]
    )
    seen: list[str] = []

    def catch(request: Any, **_: Any) -> None:
        seen.append(request.url)
        raise _Caught

    client.meta.events.register("before-send.s3", catch)
    with pytest.raises(_Caught):
        client.list_objects_v2(Bucket=bucket)
    return client.meta.endpoint_url, seen[0].partition("?")[0].removesuffix("/")


@pytest.mark.parametrize("bucket", ["my-bucket", "abc", "a1b2", "with.dot", "x--x-s3"])
@pytest.mark.parametrize("style", ["auto", "path", "virtual"])
@pytest.mark.parametrize(
    ("endpoint_url", "region"),
    [
        (None, "us-east-1"),
        (None, "eu-central-1"),
        (None, "ap-southeast-3"),
        (None, "cn-north-1"),
        (None, "us-gov-west-1"),
        ("http://127.0.0.1:9000", "us-east-1"),
        ("http://127.0.0.1:9000/", "anything"),
        ("https://s3.example.com", "r"),
        ("https://example.com/deeper/", "r"),
    ],
)
def test_addresses_are_those_of_boto3(
    endpoint_url: str | None, region: str, style: str, bucket: str
) -> None:
    """Every address that counts as plain is exactly the one that boto3 would use."""
    where = Address(endpoint_url, region, style)
    plain = where.of(bucket)
    if plain is None:
        return

    assert (where.endpoint, plain) == of_boto3(where, bucket)


def test_which_addresses_are_plain() -> None:
    """The usual ones are; what only boto3 knows is left to it."""
    assert (
        Address(None, "eu-west-1", "auto").of("site")
        == "https://site.s3.eu-west-1.amazonaws.com"
    )
    assert Address("http://localhost:9", "r", "auto").of("site") == "http://localhost:9/site"
    assert Address("http://localhost:9", "r", "virtual").of("site") is None
    assert Address(None, "cn-north-1", "auto").of("site") is None
    assert (
        Address(None, "eu-west-1", "auto").of("arn:aws:s3:eu-west-1:1:accesspoint/a") is None
    )
    assert Address(None, "eu-west-1", "auto").of("site--x-s3") is None


@pytest.mark.parametrize(
    ("config", "variables", "expected"),
    [
        ("", {}, Address(None, "us-east-1", "auto")),
        ("region = eu-west-1", {}, Address(None, "eu-west-1", "auto")),
        ("", {"AWS_ENDPOINT_URL": "http://a"}, Address("http://a", "us-east-1", "auto")),
        (
            "",
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"},
            Address("http://b", "us-east-1", "auto"),
        ),
        ("endpoint_url = http://c", {}, None),
        ("use_dualstack_endpoint = true", {}, None),
        ("s3 =\n  addressing_style = path", {}, None),
        ("", {"AWS_USE_FIPS_ENDPOINT": "true"}, None),
        ("", {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
    ],
)
def test_whatever_else_is_configured_is_left_to_boto3(
    config: str,
    variables: dict[str, str],
    expected: Address | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    """A setting that nobody thought of here may move the endpoint, so only known ones are plain."""
    (tmp_path / "config").write_text(f"[default]\n{config}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    session = botocore.session.Session()
    found = address(None, "auto", session, {**KEYS, **variables})

    assert found == expected


@pytest.fixture
def server() -> Iterator[ScriptedS3]:
    with ScriptedS3() as scripted:
        scripted.put("maps/a.json", b"[]")
        yield scripted


@pytest.fixture
def requests(server: ScriptedS3) -> DirectRequests:
    return requests_to(server)


def requests_to(server: ScriptedS3, limit: float = 5) -> DirectRequests:
    where = Address(server.endpoint_url, "us-east-1", "path")
    return DirectRequests(botocore.session.Session(), where, True, (limit, limit), 2)


def test_an_object(server: ScriptedS3, requests: DirectRequests) -> None:
    """Its bytes and its ETag come; with the ETag known, only the word that it is the same."""
    answer = requests.get(server.bucket, "maps/a.json", {}, {}, LIMIT)
    assert answer is not None
    again = requests.get(
        server.bucket, "maps/a.json", {}, {"If-None-Match": answer.headers["ETag"]}, LIMIT
    )

    assert (answer.status, answer.body) == (200, b"[]")
    assert again is not None
    assert (again.status, again.body) == (304, b"")


def test_the_query_is_written_as_boto3_writes_it(
    server: ScriptedS3, requests: DirectRequests
) -> None:
    """Blanks, signs and letters beyond ASCII in a prefix or a key are the same over the wire."""
    odd = "a b/+ü&=%2F~*'()!@:,;$?#[]\\\"<>|^`{}"
    query = {"list-type": "2", "prefix": odd, "start-after": odd, "encoding-type": "url"}
    requests.get(server.bucket, "", query, {}, LIMIT)
    client = boto3.client("s3", endpoint_url=server.endpoint_url, region_name="us-east-1")
    client.list_objects_v2(Bucket=server.bucket, Prefix=odd, StartAfter=odd)

    ours, theirs = server.requests
    assert dict(ours.query) == dict(theirs.query)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(403),
        Reply(404),
        Reply(204),
        Reply(206, body=b"x"),
        Reply(301, headers={"location": "http://127.0.0.1:1/"}),
        Reply(307, headers={"location": "http://127.0.0.1:1/"}),
        Reply(200, body=b"x" * (LIMIT + 1)),
    ],
)
def test_every_other_answer_is_left_to_boto3(
    server: ScriptedS3, requests: DirectRequests, reply: Reply
) -> None:
    """Errors, redirects and answers without end are nothing to interpret here, and no redirect is followed."""
    server.on(is_get("maps/a.json"), reply)

    assert requests.get(server.bucket, "maps/a.json", {}, {}, LIMIT) is None
    assert len(server.requests) == 1


def test_a_server_that_is_not_there(server: ScriptedS3) -> None:
    """Trouble of the network is left to boto3 as well, which tries again and names it."""
    where = Address("http://127.0.0.1:1", "us-east-1", "path")
    requests = DirectRequests(botocore.session.Session(), where, True, (5, 5), 2)

    assert requests.get(server.bucket, "", {}, {}, LIMIT) is None


def test_odd_keys_are_not_even_tried(server: ScriptedS3, requests: DirectRequests) -> None:
    """What a library on the way might tidy up is left to boto3."""
    for key in ("a/../b", "a//b", "/a", "a b", "ü", ".", "a/.", "a?b"):
        assert requests.get(server.bucket, key, {}, {}, LIMIT) is None

    assert server.requests == []


def test_behind_a_proxy_boto3_asks(
    server: ScriptedS3, requests: DirectRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may want a login or a certificate of its own."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")

    assert requests.get(server.bucket, "maps/a.json", {}, {}, LIMIT) is None
    assert server.requests == []


def test_a_bucket_that_plain_requests_cannot_list_is_left_to_boto3_at_once(
    server: ScriptedS3,
) -> None:
    """The first page tells, as for a bucket in another region; no later page is asked for twice."""
    server.page_size = 2
    for number in range(6):
        server.put(f"data/{number}", b"")
    refused: list[Request] = []

    def refuse_plain(request: Request) -> Reply | None:
        if "Boto" in request.headers.get("user-agent", ""):
            return None
        refused.append(request)
        return Reply(400)

    server.on(is_list, refuse_plain)
    settings = S3Settings(
        endpoint_url=server.endpoint_url, region="us-east-1", addressing_style="path"
    )
    store = S3Source(Connection(settings, 8), Location(server.bucket, "data"))

    listed = [each.key for each in store.scan()]

    assert listed == [str(number) for number in range(6)]
    assert len(refused) == 1
