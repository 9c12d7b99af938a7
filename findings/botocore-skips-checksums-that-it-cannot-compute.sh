#!/usr/bin/env bash
# One would guess: with response_checksum_validation at its default, a body that does not match the checksum beside it is
# an error, whatever the algorithm; or there is at least a warning.
# What happens: botocore checks CRC32, SHA-1 and SHA-256. CRC64NVME and CRC32C, which current tools store by default,
# are checked only where awscrt is installed; without it the body is handed on, and nothing is said above DEBUG.
# Why it matters: the same program verifies downloads on one server and not on the next. The body here has another CRC.
# Versions: boto3 1.44.8, awscrt 0.38.1. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install boto3==1.44.8
cat >"$folder/checksums.py" <<'END'
import base64

import boto3
from answers import serve
from botocore.config import Config
from botocore.exceptions import BotoCoreError

LENGTHS = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha256": 32}


def answer(path):
    name = path.rpartition("/")[2]
    return {f"x-amz-checksum-{name}": base64.b64encode(bytes(LENGTHS[name])).decode()}, b"hello"


client = boto3.client("s3", endpoint_url=serve(answer), config=Config(s3={"addressing_style": "path"}))
for name in LENGTHS:
    try:
        client.get_object(Bucket="bucket", Key=name)["Body"].read()
        print(name, "taken", end="; ")
    except BotoCoreError as error:
        print(name, "refused", end="; ")
END
expect "without awscrt" "$(look <"$folder/checksums.py")" "crc32 refused; crc32c taken; crc64nvme taken; sha256 refused; "
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check awscrt==0.38.1 || exit 2
expect "with awscrt" "$(look <"$folder/checksums.py")" "crc32 refused; crc32c refused; crc64nvme refused; sha256 refused; "
conclude
