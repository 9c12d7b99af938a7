"""Reads requests of S3 from a connection, and writes replies, also those that are no valid HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from support.http_servers import HttpHandler
from support.s3_messages import (
    Reply,
    Request,
    error,
)

if TYPE_CHECKING:
    from support.scripted import ScriptedS3

INCOMPLETE = replace(error(400, "IncompleteBody"), close_early=1000)
"""The reply to a body that is shorter than its announced length; the client has closed the connection by then."""


class S3Handler(HttpHandler):
    """Reads a `Request`, and writes its `Reply`."""

    timeout = 60
    server: ScriptedS3

    def answer(self) -> None:
        request = self._request()
        whole = len(request.body) >= int(request.headers.get("content-length", "0"))
        self._send(self.server.answer(request) if whole else INCOMPLETE)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=self._read_body(headers),
        )

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self.rfile.read(int(headers.get("content-length", "0")))

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _send(self, reply: Reply) -> None:
        time.sleep(reply.delay)
        if reply.raw is not None:
            self.close_connection = True
            for piece in reply.raw:
                self.wfile.write(piece)
            return
        body = reply.body
        self.send_response_only(reply.status, _phrase(reply.status))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        bodiless = reply.status in {204, 304}
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = _in_chunks(body)
        elif reply.length and not bodiless:
            self.send_header("Content-Length", str(len(body)))
        if not bodiless and (
            reply.close_early is not None or not (reply.length or reply.chunked)
        ):
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self._write(body[: reply.close_early], reply.drip)

    def _write(self, body: bytes, pause: float) -> None:
        if not pause:
            self.wfile.write(body)
            return
        for byte in body:
            time.sleep(pause)
            self.wfile.write(bytes([byte]))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"


def _in_chunks(body: bytes) -> bytes:
    middle = len(body) // 2
    chunks = [chunk for chunk in (body[:middle], body[middle:]) if chunk]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
