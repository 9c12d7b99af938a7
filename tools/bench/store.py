"""What the benchmark itself does in S3: fill, list, read and remove. Nothing of it is measured."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import obstore
from botocore.config import Config
from obstore.store import S3Store

from s32s_agent.demo.seaweedfs import REGION

from .data import CHUNK, DataSet, File

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WORKERS = 8
ONE_PIECE = 64 * CHUNK
BATCH = 1000
ATTEMPTS = 20
"""So often a bucket is emptied, a second apart, until the server lets it go."""


@dataclass(frozen=True, slots=True)
class Address:
    """How S3 is reached."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = REGION


@dataclass(frozen=True, slots=True)
class Store:
    """The server, as the benchmark uses it."""

    address: Address
    client: S3Client

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write one object."""
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def create(self, bucket: str) -> None:
        """Make a bucket."""
        self.client.create_bucket(Bucket=bucket)

    def fill(
        self, bucket: str, prefix: str, data: DataSet, numbers: Iterable[int], version: int = 0
    ) -> None:
        """Write those objects of a data set; those above `ONE_PIECE` in parts of 8 MiB, as aws-cli does."""
        store = self._bytes(bucket)

        def put(number: int) -> None:
            key = f"{prefix}/{data.key(number)}"
            if data.size <= ONE_PIECE:
                obstore.put(store, key, data.content(number, version), use_multipart=False)
            else:
                pieces = data.chunks(number, version)
                obstore.put(store, key, pieces, chunk_size=8 * CHUNK, max_concurrency=4)

        with ThreadPoolExecutor(WORKERS if data.size <= CHUNK else 2) as pool:
            for _ in pool.map(put, numbers):
                pass

    def listed(self, bucket: str, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yield key below the prefix, size and ETag of every object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/"
        )
        for page in pages:
            for row in page.get("Contents", []):
                key = row["Key"].removeprefix(f"{prefix}/")
                yield key, row["Size"], row["ETag"].strip('"')

    def times(self, bucket: str, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield key below the prefix and time of every object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/"
        )
        for page in pages:
            for row in page.get("Contents", []):
                yield row["Key"].removeprefix(f"{prefix}/"), row["LastModified"].timestamp()

    def md5(self, bucket: str, key: str) -> str:
        """Read an object and give the digest of its bytes."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in obstore.get(self._bytes(bucket), key).stream(min_chunk_size=CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def found(self, bucket: str, prefix: str) -> dict[str, File]:
        """Say what all objects are; what was not written in one piece is read."""
        return {
            key: File(size, self.md5(bucket, f"{prefix}/{key}") if "-" in etag else etag)
            for key, size, etag in self.listed(bucket, prefix)
        }

    def remove(self, bucket: str) -> None:
        """Remove a bucket with all that is in it, also what the server takes in, or lets go, a little later."""
        for attempts_left in reversed(range(ATTEMPTS)):
            self._empty(bucket)
            try:
                self.client.delete_bucket(Bucket=bucket)
            except self.client.exceptions.ClientError as error:
                if not attempts_left or error.response["Error"]["Code"] != "BucketNotEmpty":
                    raise
                time.sleep(1)
            else:
                return

    def _empty(self, bucket: str) -> None:
        """Remove all objects, and unfinished uploads."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
        for batch in _batches(keys):
            self.client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
            )
        for upload in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            self.client.abort_multipart_upload(
                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    def _bytes(self, bucket: str) -> S3Store:
        address = self.address
        return S3Store(
            bucket,
            endpoint=address.endpoint_url,
            access_key_id=address.access_key,
            secret_access_key=address.secret_key,
            region=address.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "10m"},
        )


@contextmanager
def open_store(address: Address) -> Iterator[Store]:
    """Connect, and hang up at the end."""
    client = boto3.client(
        "s3",
        endpoint_url=address.endpoint_url,
        aws_access_key_id=address.access_key,
        aws_secret_access_key=address.secret_key,
        region_name=address.region,
        config=Config(proxies={}, read_timeout=120, s3={"addressing_style": "path"}),
    )
    try:
        yield Store(address, client)
    finally:
        client.close()


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(keys)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
