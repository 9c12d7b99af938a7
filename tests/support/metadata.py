"""The metadata service of an instance, which issues temporary credentials, or fails in a chosen way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from support.http_servers import HttpHandler, HttpServer

ROLE = "mirror"
ROLES = "/latest/meta-data/iam/security-credentials/"


class MetadataServer(HttpServer):
    """Issues temporary credentials. A context manager.

    Args:
        access_key: the key that it issues.
        secret_key: the secret that it issues.
        behaviour: `ok`; `deny` refuses every request; `hang` never answers.
    """

    def __init__(self, access_key: str, secret_key: str, behaviour: str = "ok") -> None:
        super().__init__(_Handler)
        self.keys = {"AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": ""}
        self.behaviour = behaviour
        self.asked: list[str] = []
        """The requested paths, in their order."""

    @property
    def environment(self) -> dict[str, str | None]:
        """The environment of a process that has no other credentials."""
        return {
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
            "AWS_EC2_METADATA_DISABLED": None,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint_url,
        }


class _Handler(HttpHandler):
    server: MetadataServer

    def answer(self) -> None:
        self.server.asked.append(self.path)
        if self.server.behaviour == "hang":
            self.rfile.read(1)  # until the client closes the connection
            self.close_connection = True
        elif self.server.behaviour == "deny":
            self._send(403, b"")
        elif self.command == "PUT":
            self._send(200, b"token")
        elif self.path == ROLES:
            self._send(200, ROLE.encode())
        else:
            end = datetime.now(UTC) + timedelta(hours=6)
            issued = {**self.server.keys, "Code": "Success", "Expiration": end.isoformat()}
            self._send(200, json.dumps(issued).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
