#!/usr/bin/env bash
# One would guess: a key is what the caller gives, and a key that cannot be sent is an error.
# What happens: obstore, which refuses "a//b", sends "/lead" as "lead" and "dir/" as "dir", without a word.
# Why it matters: a marker of an empty directory becomes an object that is a file, and "/lead" and "lead" are one object:
# what was written first under one of them is gone.
# Versions: obstore 0.12.1. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install obstore==0.12.1
look >"$folder/seen" <<'END'
import obstore
from answers import serve
from obstore.store import S3Store

asked = []


def answer(path):
    asked.append(path)
    return {"ETag": '"x"'}, b""


store = S3Store("bucket", endpoint=serve(answer), region="us-east-1", client_options={"allow_http": True})
for key in ("/lead", "dir/", "a//b"):
    asked.clear()
    try:
        obstore.put(store, key, b"")
        print(*asked)
    except ValueError:
        print("refused")
END
expect "/lead, dir/, a//b" "$(paste -sd ' ' "$folder/seen")" "/bucket/lead /bucket/dir refused"
conclude
