"""The data of a workload: names and contents that follow from a rule, so that every run has the same. Pure."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 1 << 20
FILES_IN_A_DIRECTORY = 1000
CHANGED_STEP = 100
"""Every hundredth file is another one in each later version of a data set."""
SEED = "s32s-agent"


@dataclass(frozen=True, slots=True)
class File:
    """What a file must be."""

    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files of one size, in directories of a thousand."""

    count: int
    size: int

    @property
    def total(self) -> int:
        """Bytes in all files together."""
        return self.count * self.size

    @property
    def changing(self) -> range:
        """The numbers of the files that each version changes."""
        return range(0, self.count, CHANGED_STEP)

    def key(self, number: int) -> str:
        """Name a file; names are in the order of the numbers."""
        return f"{number // FILES_IN_A_DIRECTORY:04d}/{number:07d}.dat"

    def chunks(self, number: int, version: int = 0) -> Iterator[bytes]:
        """Yield the content of a file in pieces of at most `CHUNK` bytes."""
        for offset in range(0, self.size, CHUNK):
            yield _piece(number, version, offset, min(CHUNK, self.size - offset))

    def content(self, number: int, version: int = 0) -> bytes:
        """Return the content of a file in one piece."""
        return b"".join(self.chunks(number, version))

    def file(self, number: int, version: int = 0) -> File:
        """Return what a file must be."""
        if self.size == 1:
            return File(1, _md5_of_byte(self.content(number, version)))
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks(number, version):
            digest.update(chunk)
        return File(self.size, digest.hexdigest())

    def files(self) -> dict[str, File]:
        """Return what all files must be in their first version, by key."""
        return {self.key(number): self.file(number) for number in range(self.count)}

    def changed(self, version: int) -> dict[str, File]:
        """Return what those files must be that a later version changes."""
        return {self.key(number): self.file(number, version) for number in self.changing}


def _piece(number: int, version: int, offset: int, size: int) -> bytes:
    if size == 1:
        # A million of them are listed and made; a hash for each would take most of that time.
        return bytes([(number + version) % 256])
    return hashlib.shake_128(f"{SEED} {number} {version} {offset}".encode()).digest(size)


@functools.cache
def _md5_of_byte(byte: bytes) -> str:
    return hashlib.md5(byte, usedforsecurity=False).hexdigest()
