"""Contents that say which file they belong to, so that a mixture, a part or foreign content is recognized."""

from __future__ import annotations

import hashlib
import random
import threading

_DIGITS = 64


def make(key: str, version: int, size: int) -> bytes:
    """Make the bytes of one version of a key: a line that names both, some random bytes, and a checksum of all."""
    body = random.Random(f"{key}:{version}").randbytes(size)
    data = f"{key}|{version}|{size}\n".encode() + body
    return data + hashlib.sha256(data).hexdigest().encode()


class Library:
    """Every version that was ever given out. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}

    def new(self, key: str, size: int) -> bytes:
        """Return the next version of a key."""
        with self._lock:
            version = self._versions[key] = self._versions.get(key, 0) + 1
        return make(key, version, size)

    def objection(self, key: str, data: bytes) -> str | None:
        """Return why these bytes cannot be a published version of the key; None when they can."""
        whole, checksum = data[:-_DIGITS], data[-_DIGITS:]
        if hashlib.sha256(whole).hexdigest().encode() != checksum:
            return f"{len(data)} bytes, of which the checksum is wrong"
        name, version, _ = whole.partition(b"\n")[0].decode().split("|")
        if name != key:
            return f"the bytes of {name!r}"
        with self._lock:
            known = self._versions.get(key, 0)
        return None if int(version) <= known else f"version {version}, which never was"
