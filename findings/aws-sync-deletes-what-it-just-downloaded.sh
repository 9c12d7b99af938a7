#!/usr/bin/env bash
# One would guess: a second `aws s3 sync --delete` of an unchanged prefix does nothing.
# What happens: the key "x//y" lands in the file x/y. At the next run that file's name is "x/y", which the prefix does not
# have: it is deleted, and "x//y" is downloaded, at every run, with exit status 0.
# Why it matters: the file is missing for a moment at every run, and a log of changes never comes to rest. Double slashes
# come from tools that join a prefix that ends in a slash with a name.
# Versions: awscli 1.46.3, moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install awscli==1.46.3 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<'END'
from store import BUCKET, client

client.put_object(Bucket=BUCKET, Key="data/x//y", Body=b"x")
END
for run in 1 2 3; do
    aws s3 sync --delete --no-progress s3://bucket/data/ "$folder/tree" >"$folder/run-$run"
    printf 'run %d, status %d\n' "$run" $?
    sed "s|$folder/||; s/^/   /" "$folder/run-$run"
done
expect "lines of each run" "$(cd "$folder" && cut -d: -f1 run-2 run-3 | paste -sd ' ')" "delete download delete download"
conclude
