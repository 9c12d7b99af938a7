"""The least that a first run must do, and nothing else: fetch every byte, hash it, write it, put it on the disk.

No map, no comparison, no version that is pinned, no index, no rename; parts of one length, known beforehand. What the
agent takes beyond this is what it adds; what this takes beyond a peer is what the peer does not do.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store

THREADS = 8
PART = 8 << 20
CHUNK = 256 << 10


def main(bucket: str, prefix: str, directory: Path) -> None:
    """Fetch what is below a prefix into a directory."""
    store = S3Store(
        bucket,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "10m"},
    )
    listed = [each for page in obstore.list(store, f"{prefix}/") for each in page]
    names = {
        each["path"]: directory / each["path"].removeprefix(f"{prefix}/") for each in listed
    }
    for parent in {path.parent for path in names.values()}:
        parent.mkdir(parents=True, exist_ok=True)

    def fetch(part: tuple[str, int, int]) -> None:
        key, start, end = part
        fd = os.open(names[key], os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            digest = hashlib.md5(usedforsecurity=False)
            position = start
            result = obstore.get(store, key, options={"range": (start, end)})
            for chunk in result.stream(min_chunk_size=CHUNK):
                digest.update(chunk)
                position += os.pwrite(fd, chunk, position)
        finally:
            os.close(fd)

    parts = [
        (each["path"], start, min(each["size"], start + PART))
        for each in listed
        for start in range(0, each["size"], PART)
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(fetch, parts):
            pass
    os.sync()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
