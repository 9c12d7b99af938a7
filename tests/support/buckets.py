"""Buckets on a real server: put, read, delete. No assertion is made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from s32s_agent.demo.seaweedfs import ADMIN, Identity, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

READER = "reader"
LISTER = "lister"
GETTER = "getter"
BLIND_WRITER = "blind-writer"
ONE_BUCKET = "one-bucket"
ONE_BUCKET_NAME = "the-one-bucket"
SAMPLE_MASTER = "sample-master"
SAMPLE_BUCKET, SAMPLE_MAPS, SAMPLE_DATA = "bucketname", "S32SMAP/foo/data", "backup/dir1"
"""The bucket of the sample policies."""
_POLICY = Path(__file__).parents[2] / "etc/iam/master-policy.json"
_RIGHTS = {
    "s3:GetObject": "Read",
    "s3:PutObject": "Write",
    "s3:DeleteObject": "Write",
    "s3:AbortMultipartUpload": "Write",
}
"""The names of SeaweedFS for the actions of a policy."""


def _granted() -> tuple[str, ...]:
    """Return the actions that the sample policy of a master allows, with the names of SeaweedFS."""
    found = []
    for each in json.loads(_POLICY.read_text(encoding="utf-8"))["Statement"]:
        actions, places = (
            [value] if isinstance(value, str) else value
            for value in (each["Action"], each["Resource"])
        )
        names = [place.removeprefix("arn:aws:s3:::") for place in places]
        if "s3:ListBucket" in actions:
            found += [
                f"List:{names[0]}/{prefix}"
                for prefix in each["Condition"]["StringLike"]["s3:prefix"]
            ]
        rights = {_RIGHTS[action] for action in actions if action in _RIGHTS}
        found += [f"{right}:{name}" for right in sorted(rights) for name in names]
    return tuple(found)


IDENTITIES = {
    READER: Identity("reader-key", "reader-secret", ("Read", "List")),
    LISTER: Identity("lister-key", "lister-secret", ("List",)),
    GETTER: Identity("getter-key", "getter-secret", ("Read",)),
    BLIND_WRITER: Identity("blind-writer-key", "blind-writer-secret", ("Read", "Write")),
    ONE_BUCKET: Identity(
        "one-bucket-key",
        "one-bucket-secret",
        tuple(f"{action}:{ONE_BUCKET_NAME}" for action in ("Read", "Write", "List")),
    ),
    SAMPLE_MASTER: Identity("sample-master-key", "sample-master-secret", _granted()),
}
"""The identities of every test server besides its admin."""


@contextmanager
def open_client(
    endpoint_url: str, access_key: str = "any", secret_key: str = "any"
) -> Iterator[S3Client]:
    """Return a client that reads no configuration from outside and does not retry for long."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 2, "mode": "standard"},
            proxies={},
            s3={"addressing_style": "path"},
        ),
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def open_client_as(server: S3Server, name: str = ADMIN) -> Iterator[S3Client]:
    """Yield a client that signs as one of the server's identities."""
    identity = server.identities[name]
    with open_client(server.endpoint_url, identity.access_key, identity.secret_key) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket and the means to fill it; the admin owns the client."""

    name: str
    client: S3Client
    server: S3Server

    def put(self, key: str, data: bytes, **settings: Any) -> str:
        """Write an object in one request; returns its ETag as received, in quotes."""
        return self.client.put_object(Bucket=self.name, Key=key, Body=data, **settings)["ETag"]

    def keep_versions(self) -> None:
        """Turn versioning on."""
        self.client.put_bucket_versioning(
            Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
        )

    def put_multipart(self, key: str, data: bytes, part_size: int) -> str:
        """Write an object in parts of that many bytes; returns its ETag as received."""
        address: Any = {"Bucket": self.name, "Key": key}
        address["UploadId"] = self.client.create_multipart_upload(**address)["UploadId"]
        parts: list[CompletedPartTypeDef] = []
        for number, offset in enumerate(range(0, max(len(data), 1), part_size), 1):
            part = self.client.upload_part(
                **address, PartNumber=number, Body=data[offset : offset + part_size]
            )
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        done = self.client.complete_multipart_upload(
            **address, MultipartUpload={"Parts": parts}
        )
        return done["ETag"]

    def get(self, key: str) -> bytes:
        """Read an object whole."""
        with self.client.get_object(Bucket=self.name, Key=key)["Body"] as body:
            return body.read()

    def keys(self) -> list[str]:
        """List all keys in the server's order."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [row["Key"] for page in pages for row in page.get("Contents", [])]

    def delete(self, key: str) -> None:
        """Remove an object, whether it is there or not."""
        self.client.delete_object(Bucket=self.name, Key=key)


def the_one_bucket(bucket: Bucket) -> str:
    """Create the bucket to which one identity is limited, unless it exists; it stays until the server ends."""
    names = [each["Name"] for each in bucket.client.list_buckets()["Buckets"]]
    if ONE_BUCKET_NAME not in names:
        bucket.client.create_bucket(Bucket=ONE_BUCKET_NAME)
    return ONE_BUCKET_NAME
