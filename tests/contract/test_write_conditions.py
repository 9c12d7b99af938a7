"""Whether a store honours the conditions of publishers, found out by trying, on three servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.moto_server import moto, rclone_server

from s32s_agent.config.settings import S3Settings
from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.model import Location
from s32s_agent.snapshots.conditions import ignored_conditions
from s32s_agent.snapshots.place import Place
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.write_requests import WriteRequests

BUCKET = "conditions"
IGNORED = {"seaweedfs": [], "moto": [], "rclone": ["If-None-Match", "If-Match"]}


@pytest.fixture(params=sorted(IGNORED))
def server(
    request: pytest.FixtureRequest,
    seaweedfs_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, str]]:
    """Each server in turn: its name, and its URL."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.secret_key)
    with ExitStack() as stack:
        urls = {
            "seaweedfs": lambda: seaweedfs_server.endpoint_url,
            "moto": lambda: stack.enter_context(moto()),
            "rclone": lambda: stack.enter_context(rclone_server(tmp_path)),
        }
        yield request.param, urls[request.param]()


def test_a_store_where_publishers_overtake_each_other_is_found_out(
    server: tuple[str, str],
) -> None:
    """And nothing stays of what was tried."""
    name, url = server
    connection = Connection(S3Settings(endpoint_url=url, addressing_style="path"))
    client = connection.access.boto3("")
    client.create_bucket(Bucket=BUCKET)
    place = Place(connection, Location(BUCKET, "snaps/site"))

    assert ignored_conditions(place, WriteRequests(connection)) == IGNORED[name]

    assert client.list_objects_v2(Bucket=BUCKET).get("KeyCount", 0) == 0
    client.delete_bucket(Bucket=BUCKET)
