"""What an ETag proves.

An ETag is an opaque version name. It is the MD5 of the bytes, or of the MD5s of its parts,
only when computing it from the bytes gives it: a match is proof, a mismatch alone proves
nothing.
Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})")
_HEX = re.compile(r"[0-9A-Fa-f]{32}(?:-[0-9]+)?")

_BY_TIME = "modified "
_MIB = 1 << 20
_USUAL_PART_SIZES = (
    *(size * _MIB for size in (8, 5, 15, 16, 50, 64, 100, 128, 10, 20, 25, 32, 40, 48, 80)),
    *(size * _MIB for size in (256, 512, 1024, 2048, 4096, 5120)),
    *(size * 1_000_000 for size in (5, 8, 10, 15, 16, 20, 25, 50, 64, 100, 128, 250, 500)),
)
"""aws and boto3 8, rclone 5, s3cmd 15, minio 16 and 64, s5cmd 50; then what people configure."""


def normal(raw: str) -> str:
    """Bring an ETag into the form in which two spellings of one version are equal.

    Stores quote it, leave it bare, or mark it as weak; hex digits come in both cases.
    """
    etag = raw.strip()
    etag = etag.removeprefix("W/").strip('"')
    return etag.lower() if _HEX.fullmatch(etag) else etag


def by_time(modified: str) -> str:
    """Return what names a version that has no ETag: only the time of its writing can tell it from others."""
    return f"{_BY_TIME}{modified}"


def is_by_time(version: str) -> bool:
    """Return whether a version is named by its time, since it has no ETag."""
    return version.startswith(_BY_TIME)


def is_md5(etag: str) -> bool:
    """Return whether a normal ETag has the form of an MD5."""
    return _MD5.fullmatch(etag) is not None


def part_count(etag: str) -> int:
    """Return the number of parts that a multipart ETag names, 0 when it is not one."""
    found = _MULTIPART.fullmatch(etag)
    return int(found.group(1)) if found else 0


def may_name_same_bytes(one: str, other: str) -> bool:
    """Return whether two different ETags can belong to the same bytes.

    Two MD5s cannot; a multipart ETag depends on the part size, and a copy may change it.
    """
    return not (is_md5(one) and is_md5(other))


def candidate_part_sizes(size: int, parts: int) -> tuple[int, ...]:
    """List the usual part sizes that cut `size` bytes into `parts` parts, the likeliest first.

    A part size P fits when ceil(size / parts) <= P <= (size - 1) // (parts - 1).
    """
    if parts < 1 or size < 1:
        return ()
    if parts == 1:
        return (size,)
    lowest, highest = -(-size // parts), (size - 1) // (parts - 1)
    rounded = -(-lowest // _MIB) * _MIB
    fitting = (
        each for each in (*_USUAL_PART_SIZES, rounded, lowest) if lowest <= each <= highest
    )
    return tuple(dict.fromkeys(fitting))


def multipart_etag(digests: Sequence[bytes]) -> str:
    """Return the ETag of an object from the MD5s of its parts."""
    combined = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{combined.hexdigest()}-{len(digests)}"


class Digest:
    """The ETag of bytes that are transferred, computed as S3 computes it.

    Args:
        part_size: bytes of every part but the last; None for an object that was uploaded in
        one piece.
    """

    def __init__(self, part_size: int | None = None) -> None:
        self.part_size = part_size
        self._room = part_size or 0
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts: list[bytes] = []

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        if self.part_size is None:
            self._part.update(chunk)
            return
        view = memoryview(chunk)
        while view:
            if not self._room:
                self._close_part(self.part_size)
            taken = view[: self._room]
            self._part.update(taken)
            self._room -= len(taken)
            view = view[len(taken) :]

    def _close_part(self, part_size: int) -> None:
        self._parts.append(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._room = part_size

    def parts(self) -> list[bytes]:
        """Return the MD5s of the parts that have begun, in order."""
        return [*self._parts, self._part.digest()]

    def etag(self) -> str:
        """Return the ETag of all bytes, in normal form."""
        if self.part_size is None:
            return self._part.hexdigest()
        return multipart_etag(self.parts())


def best_digest(size: int, etag: str, part_sizes: Iterable[int] = ()) -> Digest | None:
    """Return the computation that can prove an ETag while the bytes are transferred; None when none can.

    Args:
        size: bytes of the object.
        etag: its ETag in normal form.
        part_sizes: sizes of its parts that are known or likely, the likeliest first.
    """
    if is_md5(etag):
        return Digest()
    sizes = (*part_sizes, *candidate_part_sizes(size, part_count(etag)))
    return Digest(sizes[0]) if sizes and part_count(etag) else None
