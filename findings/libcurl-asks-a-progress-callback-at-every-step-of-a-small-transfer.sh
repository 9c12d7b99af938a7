#!/usr/bin/env bash
# One would guess: a progress callback that is there to end a stalled transfer is called about once a second, so it costs
# a transfer of 4 KiB that is over in a millisecond nothing.
# What happens: it is called at each step of the transfer, six times and more for one answer of 4 KiB, and the header
# callback is called for each line besides.
# Why it matters: in Python each call takes the lock of the interpreter, which other threads want. Some 20 handovers for
# an object made the copying of small files in threads slower than one that looks at the clock first, and keeps lines.
# Versions: pycurl 7.49.0 (PyPI; libcurl 8.23.0). Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install pycurl==7.49.0
look >"$folder/seen" <<'END'
import io
import sys
import time

import pycurl
from answers import serve

url = serve(lambda path: ({"x-amz-meta-a": "1", "x-amz-meta-b": "2"}, b"x" * 4096))
calls = {"progress": 0, "header": 0}


def count(name, result):
    def counted(*_):
        calls[name] += 1
        return result

    return counted


curl = pycurl.Curl()
curl.setopt(pycurl.URL, f"{url}/bucket/key")
curl.setopt(pycurl.WRITEDATA, io.BytesIO())
curl.setopt(pycurl.NOPROGRESS, 0)
curl.setopt(pycurl.XFERINFOFUNCTION, count("progress", 0))
curl.setopt(pycurl.HEADERFUNCTION, count("header", None))
began = time.monotonic()
curl.perform()
quick = time.monotonic() - began < 1
print(calls, file=sys.stderr)
print("within a second" if quick else "slow", "often" if calls["progress"] >= 6 else calls)
END
expect "time, calls of the progress callback" "$(cat "$folder/seen")" "within a second often"
conclude
