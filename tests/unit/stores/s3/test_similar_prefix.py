"""Which prefix may have been meant, when one is empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.s3_messages import Reply, Request, error, is_list
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.similar_prefix import similar_prefix


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ScriptedS3() as scripted:
        yield scripted


def found(server: ScriptedS3, prefix: str) -> str:
    settings = S3Settings(
        endpoint_url=server.endpoint_url, region="us-east-1", addressing_style="path"
    )
    return similar_prefix(Connection(settings), server.bucket, prefix)


@pytest.mark.parametrize(
    ("key", "prefix", "meant", "requests"),
    [
        ("Data/x", "data", "Data", 1),
        ("a/b/Straße/x", "a/b/STRASSE", "a/b/Straße", 1),
        ("d\u00e4ta/x", "da\u0308ta", "d\u00e4ta", 1),
        ("data /x", "data", "data ", 1),
        ("a+b %41/x", "A+b %41", "a+b %41", 1),
        ("Site/Data/x", "site/data", "Site/Data", 3),
        ("data/x", "dtaa", "", 1),
        ("data", "Data", "", 1),
        ("data/", "data", "", 1),
        ("data/x", "", "", 0),
        ("a/b/c/d/e/x", "A/B/C/D/E", "", 5),
    ],
)
def test_a_prefix_that_differs_only_in_its_spelling(
    server: ScriptedS3, key: str, prefix: str, meant: str, requests: int
) -> None:
    """One request where the last part differs; a bounded number where parts above it do."""
    server.put(key, b"x")

    assert found(server, prefix) == meant
    assert len(server.requests) <= requests


def test_a_store_that_knows_no_delimiter(server: ScriptedS3) -> None:
    """Its keys show their "directories" as well."""

    def plainly(request: Request) -> Reply:
        return server.page(request).reply()

    server.put("Data/x/y", b"x")
    server.on(is_list, plainly)

    assert found(server, "data") == "Data"


def test_a_policy_that_hides_what_is_beside_the_prefix(server: ScriptedS3) -> None:
    """Then there is no hint, and no other error either."""
    server.put("Data/x", b"x")
    server.on(is_list, error(403, "AccessDenied", "no"))

    assert found(server, "data") == ""
