"""How AWS is addressed, without asking it: every client that a pass there needs can be made, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.config.settings import S3Settings
from s32s_agent.stores.s3.connection import Connection


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys are in the environment, and nothing else is configured."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize("odd", [{}, {"AWS_USE_FIPS_ENDPOINT": "false"}], ids=["plain", "odd"])
@pytest.mark.parametrize(
    ("bucket", "region", "endpoint"),
    [
        ("bucket", "", "https://bucket.s3.amazonaws.com"),
        ("bucket", "eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com"),
        ("with.dots", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_the_bytes_come_from_where_the_bucket_is(
    monkeypatch: pytest.MonkeyPatch,
    odd: dict[str, str],
    bucket: str,
    region: str,
    endpoint: str,
) -> None:
    """The regional address, under the bucket's own name where TLS allows it."""
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    connection = Connection(S3Settings(region="us-east-1"), 8)

    stores = [connection._clients.byte_store(bucket, region) for _ in range(2)]

    assert [each.config.get("endpoint") for each in stores] == [endpoint] * 2
