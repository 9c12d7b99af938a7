"""Where a bucket is: what is resolved here is what boto3 resolves, and the rest is boto3's."""

from __future__ import annotations

import boto3
import pytest
from botocore.config import Config

from s32s_agent.stores.s3.addresses import Address, boto3_address, plain_address
from s32s_agent.stores.s3.signing import Scope


def by_boto3(bucket: str, endpoint: str | None, region: str, style: str) -> Address:
    client = boto3.client(
        "s3",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        endpoint_url=endpoint,
        region_name=region,
        config=Config(s3={"addressing_style": style}),  # type: ignore[arg-type]
    )
    return boto3_address(client, bucket)


PLAIN = [
    ("bucket", None, "us-east-1", "auto"),
    ("bucket", None, "eu-west-1", "auto"),
    ("bucket", None, "eu-west-1", "path"),
    ("bucket", None, "eu-west-1", "virtual"),
    ("bucket", "http://127.0.0.1:8333", "us-east-1", "auto"),
    ("bucket", "https://store.example", "eu", "auto"),
    ("bucket", "https://store.example/storage/v1/s3", "eu", "path"),
    ("bucket", "https://store.example:8443", "eu", "virtual"),
    ("with.dots", "https://store.example", "eu", "path"),
    ("Upper_case", "https://store.example", "eu", "path"),
]


@pytest.mark.parametrize(("bucket", "endpoint", "region", "style"), PLAIN)
def test_plain_addresses_are_those_of_boto3(
    bucket: str, endpoint: str | None, region: str, style: str
) -> None:
    ours = plain_address(bucket, endpoint, region, style)

    assert ours == by_boto3(bucket, endpoint, region, style)


@pytest.mark.parametrize(
    ("bucket", "endpoint", "region", "style"),
    [
        ("with.dots", None, "eu-west-1", "auto"),
        ("bucket", None, "cn-north-1", "auto"),
        ("bucket--usw2-az1--x-s3", None, "us-west-2", "auto"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", None, "eu-west-1", "auto"),
        ("bucket", "http://127.0.0.1:8333", "us-east-1", "virtual"),
    ],
)
def test_what_is_not_plain_is_left_to_boto3(
    bucket: str, endpoint: str | None, region: str, style: str
) -> None:
    assert plain_address(bucket, endpoint, region, style) is None


@pytest.mark.parametrize(
    ("bucket", "region", "url", "service"),
    [
        ("with.dots", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/with.dots", "s3"),
        ("bucket", "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn", "s3"),
        (
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine",
            "eu-west-1",
            "https://mine-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
            "s3",
        ),
    ],
)
def test_boto3_says_where_access_points_and_partitions_are(
    bucket: str, region: str, url: str, service: str
) -> None:
    assert by_boto3(bucket, None, region, "auto") == Address(url, Scope(region, service))


def test_the_port_stands_in_the_host_only_where_it_is_not_the_usual_one() -> None:
    assert Address("https://h:443/b", Scope("r")).host == "h"
    assert Address("http://h:443/b", Scope("r")).host == "h:443"
    assert Address("https://h/b", Scope("r")).path_of("a b/") == "/b/a%20b/"


def test_the_style_of_an_address_is_told() -> None:
    """`--check` says which one a store was asked with, since some know only one of them."""
    scope = Scope("us-east-1")

    assert Address("https://bucket.s3.amazonaws.com", scope).style_of("bucket") == "virtual"
    assert Address("https://s3.amazonaws.com/bucket", scope).style_of("bucket") == "path"
    assert (
        Address("http://127.0.0.1:1/storage/v1/s3/bucket", scope).style_of("bucket") == "path"
    )
