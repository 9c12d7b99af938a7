#!/usr/bin/env bash
# One would guess: with CURLOPT_LOW_SPEED_LIMIT 1 and LOW_SPEED_TIME 1 a transfer that stands still ends after a second.
# What happens: the speed is the mean of some five seconds, so bytes that came before count on: it ends after about six.
# Why it matters: a limit for silence that is taken from a config ("60 seconds") is not the one that holds, and a test
# that shortens it to a second measures libcurl's mean. The way out is to count in one's own progress callback.
# Versions: pycurl 7.49.0 (PyPI; libcurl 8.23.0). Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

install pycurl==7.49.0
look >"$folder/seen" <<'END'
import socket
import threading
import time

import pycurl

server = socket.create_server(("127.0.0.1", 0))


def serve():
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1000000)
    connection.recv(1)  # then silence


threading.Thread(target=serve, daemon=True).start()
curl = pycurl.Curl()
curl.setopt(pycurl.URL, f"http://127.0.0.1:{server.getsockname()[1]}/")
curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
curl.setopt(pycurl.LOW_SPEED_TIME, 1)
curl.setopt(pycurl.WRITEFUNCTION, len)
began = time.monotonic()
try:
    curl.perform()
except pycurl.error as error:
    print("error", error.args[0], "after more than four seconds:", time.monotonic() - began > 4)
END
expect "silence after half of the body" "$(cat "$folder/seen")" "error 28 after more than four seconds: True"
conclude
