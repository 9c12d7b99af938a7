#!/usr/bin/env bash
# One would guess: an answer with status 200 whose XML cannot be read is a parser's error of botocore, or a listing that
# lacks its fields.
# What happens: it is a ClientError with Code 500 and HTTPStatusCode 500, though the server said 200: botocore puts its
# own status in, so as to try again.
# Why it matters: a log that takes the status from the error blames the server for a failure; a captive portal or a proxy
# that answers with its own page looks like an outage of the store.
# Versions: boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install boto3==1.44.8
expect "the error" "$(look <<'END'
import boto3
from answers import serve
from botocore.config import Config
from botocore.exceptions import ClientError

url = serve(lambda path: ({"Content-Type": "application/xml"}, b"<html>Please log in"))
client = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
try:
    client.list_objects_v2(Bucket="bucket")
except ClientError as error:
    print(type(error).__name__, error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
END
)" "ClientError 500 500"
conclude
