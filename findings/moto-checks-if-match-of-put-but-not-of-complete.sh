#!/usr/bin/env bash
# One would guess: a store that answers 412 to a PUT whose If-Match is wrong does so when an upload is completed, too.
# What happens: moto answers 412 to PutObject, DeleteObject and GetObject, honours If-None-Match when an upload is
# completed, and ignores If-Match there: the object of another writer is replaced.
# Why it matters: tests of two writers pass on moto for small files only, and for the wrong reason fail for large ones.
# Versions: moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look >"$folder/seen" <<'END'
from botocore.exceptions import ClientError
from store import BUCKET, WRONG_ETAG, client, status, upload_in_parts


def completed(**conditions):
    try:
        upload_in_parts("large", **conditions)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


client.put_object(Bucket=BUCKET, Key="large", Body=b"of another writer")
print(status(client.put_object, Key="large", Body=b"x", IfMatch=WRONG_ETAG))
print(completed(IfNoneMatch="*"))
print(completed(IfMatch=WRONG_ETAG))
END
expect "PUT, Complete with If-None-Match, Complete with If-Match" "$(paste -sd ' ' "$folder/seen")" "412 412 200"
conclude
