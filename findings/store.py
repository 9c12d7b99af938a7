"""A boto3 client of the store that a finding runs, for the finding's Python; the empty bucket `bucket` is there."""

import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "bucket"
WRONG_ETAG = f'"{"0" * 32}"'

client: Any = boto3.client(
    "s3",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
)


def _make_bucket() -> None:
    """Create the bucket; a server that has just opened its port may need some seconds for that."""
    end = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
        else:
            return


def status(call: Callable[..., Any], **arguments: Any) -> int:
    """Return the status of the answer to a request."""
    try:
        answer = call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        answer = error.response
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def keys(**arguments: Any) -> list[str]:
    """Return the keys in the order of the listing."""
    listing = client.list_objects_v2(Bucket=BUCKET, **arguments)
    return [each["Key"] for each in listing.get("Contents", [])]


def upload_in_parts(key: str, **conditions: str) -> str:
    """Upload two parts of 5 MiB; return the ETag in the answer that completes them."""
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    where = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(PartNumber=number, Body=b"x" * (5 << 20), **where)[
                "ETag"
            ],
        }
        for number in (1, 2)
    ]
    answer = client.complete_multipart_upload(
        MultipartUpload={"Parts": parts}, **where, **conditions
    )
    return str(answer["ETag"])


_make_bucket()
