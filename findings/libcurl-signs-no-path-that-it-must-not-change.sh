#!/usr/bin/env bash
# One would guess: CURLOPT_AWS_SIGV4 signs the path that is sent, with CURLOPT_PATH_AS_IS, too; keys of S3 may hold "./".
# What happens: both together are error 43 (bad function argument). Without PATH_AS_IS libcurl normalises the path first:
# "a/./b" is requested, and signed, as "a/b".
# Why it matters: with libcurl's own signing the objects "a/./b" and "a/b" cannot be told apart: whoever asks for one gets
# the other with status 200. The way out is to sign in one's own code.
# Versions: pycurl 7.49.0 (PyPI; libcurl 8.23.0). Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install pycurl==7.49.0
look >"$folder/seen" <<'END'
import io

import pycurl
from answers import serve

asked = []


def answer(path):
    asked.append(path)
    return {}, b"x"


url = serve(answer)
for as_is in (0, 1):
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{url}/bucket/a/./b")
    curl.setopt(pycurl.USERPWD, "accesskey:secretkey")
    curl.setopt(pycurl.AWS_SIGV4, "aws:amz:us-east-1:s3")
    curl.setopt(pycurl.PATH_AS_IS, as_is)
    curl.setopt(pycurl.WRITEDATA, io.BytesIO())
    try:
        curl.perform()
        print("asked for", asked[-1])
    except pycurl.error as error:
        print("error", error.args[0])
END
expect "normalised, as it is" "$(paste -sd ';' "$folder/seen")" "asked for /bucket/a/b;error 43"
conclude
