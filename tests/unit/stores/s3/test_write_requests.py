"""What goes beside the bytes of an object when it is written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName
from s32s_agent.stores.s3.write_requests import WriteRequests

HEADERS = ObjectHeaders(
    "text/css",
    {"mode": "0644"},
    content_encoding="gzip",
    cache_control="max-age=60",
    acl="public-read",
    storage_class="STANDARD_IA",
)
WRITTEN = {
    "content-type": "text/css",
    "x-amz-meta-mode": "0644",
    "content-encoding": "gzip",
    "cache-control": "max-age=60",
    "x-amz-acl": "public-read",
    "x-amz-storage-class": "STANDARD_IA",
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def written(headers: ObjectHeaders) -> list[Mapping[str, str]]:
    """Write an object in one piece and begin one in parts; return the headers of both requests."""
    with ScriptedS3() as server:
        writes = WriteRequests(Connection(S3Settings(endpoint_url=server.endpoint_url)))
        name = ObjectName(server.bucket, "a", '"a"')
        writes.put(name, b"x", headers)
        writes.begin_upload(name, headers)
        return [request.headers for request in server.requests]


def test_a_site_that_no_browser_may_read() -> None:
    """Everything that the map says of an object is sent, in one piece and in parts."""
    found = written(HEADERS)

    assert [{name: each.get(name) for name in WRITTEN} for each in found] == [WRITTEN] * 2


def test_a_bucket_without_acls_is_sent_none() -> None:
    """What the map does not say is not sent: a bucket whose ACLs are disabled refuses any."""
    unwanted = set(WRITTEN) - {"content-type"}

    assert [unwanted & set(each) for each in written(ObjectHeaders("text/css"))] == [set()] * 2
