#!/usr/bin/env bash
# One would guess: NO_PROXY means the same to two S3 clients in one process.
# What happens: "*" and "host:port" keep botocore from the proxy and not obstore; a network, "127.0.0.0/8", keeps obstore
# from it and not botocore.
# Why it matters: a program that lists with one and downloads with the other asks the store directly for names and a proxy
# for contents. The proxy here is a port where nobody listens.
# Versions: boto3 1.44.8, obstore 0.12.1. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install boto3==1.44.8 obstore==0.12.1
closed=$(free_port)
cat >"$folder/direct.py" <<'END'
import os
import sys
from datetime import timedelta

import boto3
import obstore
from answers import serve
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from obstore.exceptions import BaseError
from obstore.store import S3Store

url = serve(lambda path: ({"ETag": '"x"', "Last-Modified": "Tue, 01 Dec 2026 00:00:00 GMT"}, b"x"))
os.environ["NO_PROXY"] = sys.argv[1].replace("PORT", url.rpartition(":")[2])
client = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
store = S3Store("bucket", endpoint=url, region="us-east-1", client_options={"allow_http": True},
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)})
try:
    client.get_object(Bucket="bucket", Key="k")
    print("botocore direct,", end=" ")
except BotoCoreError:
    print("botocore proxy,", end=" ")
try:
    obstore.get(store, "k").bytes()
    print("obstore direct")
except BaseError:
    print("obstore proxy")
END
direct() {
    HTTP_PROXY=http://127.0.0.1:$closed http_proxy=http://127.0.0.1:$closed PYTHONDONTWRITEBYTECODE=1 \
        PYTHONPATH=$beside "$python" "$folder/direct.py" "$1"
}
expect '*' "$(direct '*')" "botocore direct, obstore proxy"
expect 'host:port' "$(direct '127.0.0.1:PORT')" "botocore direct, obstore proxy"
expect 'a network' "$(direct '127.0.0.0/8')" "botocore proxy, obstore direct"
expect 'a host' "$(direct '127.0.0.1')" "botocore direct, obstore direct"
conclude
