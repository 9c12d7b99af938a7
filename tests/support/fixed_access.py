"""A client of S3 for one server, whose address and credentials are settled."""

from __future__ import annotations

from s32s_agent.stores.s3.addresses import Address
from s32s_agent.stores.s3.client import S3Client
from s32s_agent.stores.s3.http import Http
from s32s_agent.stores.s3.signing import Credentials, Scope
from s32s_agent.stores.s3.timeouts import Timeouts
from s32s_agent.stores.s3.transport import Transport


class Fixed:
    """An access to one server, whatever the bucket."""

    def __init__(self, url: str, *, follows_regions: bool = False) -> None:
        self.url = url
        self.follows_regions = follows_regions
        self.asked: list[str] = []

    def address(self, bucket: str, region: str = "") -> Address:
        self.asked.append(region)
        return Address(f"{self.url}/{bucket}", Scope(region or "us-east-1"))

    def credentials(self) -> Credentials:
        return Credentials("AKID", "secret")


def client_of(
    url: str,
    *,
    follows_regions: bool = False,
    proxy: str = "",
    read_seconds: float = 1,
    attempts: int = 3,
) -> S3Client:
    """Return a client that asks a server so often, and waits so long for the next byte."""
    timeouts = Timeouts(attempts=attempts, pause_seconds=0.01, request_seconds=20)
    http = Http(Transport(read_seconds=read_seconds, proxy=proxy))
    return S3Client(Fixed(url, follows_regions=follows_regions), http, timeouts=timeouts)
