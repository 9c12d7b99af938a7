#!/usr/bin/env bash
# One would guess: the ETag of an object that was uploaded in parts ends in "-2", and one without a dash came in one piece.
# What happens: s3rver answers with the MD5 of the whole object everywhere, and HEAD with PartNumber=1 tells the whole length.
# Why it matters: "no dash" proves nothing about how an object came. Who compares such an ETag with an MD5 is right here;
# who remembers it as the "-2" that the parts would give uploads the file at every run.
# Versions: s3rver 3.7.1 (npm) on Node.js 20, boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install boto3==1.44.8
npm install --silent --no-audit --no-fund --prefix "$folder/npm" s3rver@3.7.1 || exit 2
printf 'Node.js: %s\n' "$(node --version)"
port=$(free_port)
export AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
mkdir "$folder/served"
serve "$port" node "$folder/npm/node_modules/.bin/s3rver" --directory served --address 127.0.0.1 --port "$port"
look >"$folder/seen" <<'END'
from store import BUCKET, client, upload_in_parts

print(upload_in_parts("large"))
print(client.list_objects_v2(Bucket=BUCKET)["Contents"][0]["ETag"])
print(client.head_object(Bucket=BUCKET, Key="large", PartNumber=1)["ContentLength"])
END
expect "completed, listing, length of part 1" "$(paste -sd ' ' "$folder/seen")" \
    '"46f40f95feefb6ab49b2b3679b5ec0a2" "46f40f95feefb6ab49b2b3679b5ec0a2" 10485760'
conclude
