"""Directories of the benchmark's own making, and what is found in them afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .data import CHUNK, DataSet, File

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime and ctime: a file with the same four was not written."""
OWN_FOLDERS = frozenset({".s32s"})
"""What the agent keeps in a directory is no part of the mirror."""


def make(directory: Path, data: DataSet) -> None:
    """Write a data set into a directory, in its first version."""
    for number in range(data.count):
        path = directory / data.key(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(data.chunks(number))


def set_times(directory: Path, times: Iterable[tuple[str, float]]) -> None:
    """Set the times of files as if a tool had copied them."""
    for key, seconds in times:
        os.utime(directory / key, (seconds, seconds))


def wipe(directory: Path) -> None:
    """Leave an empty directory."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)


class Inspector:
    """Looks at one directory again and again, and reads only what was written since.

    Args:
        directory: the tree of one tool.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seen: dict[str, tuple[Stamp, str]] = {}

    def look(self) -> tuple[dict[str, File], int]:
        """Return what all files are, and how many of them were not there with the same stamp the last time."""
        seen: dict[str, tuple[Stamp, str]] = {}
        found: dict[str, File] = {}
        written = 0
        for key, path, stamp in _files(self.directory):
            known = self._seen.get(key)
            if known is None or known[0] != stamp:
                known = stamp, md5_of(path)
                written += 1
            seen[key] = known
            found[key] = File(stamp[1], known[1])
        self._seen = seen
        return found, written


def difference(found: Mapping[str, File], expected: Mapping[str, File]) -> str:
    """Return in one line what is wrong; nothing when both are equal."""
    if found == expected:
        return ""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    other = sorted(
        key for key in found.keys() & expected.keys() if found[key] != expected[key]
    )
    named = (("missing", missing), ("not wanted", extra), ("with other content", other))
    return ", ".join(f"{len(keys):,} {what} (first {keys[0]})" for what, keys in named if keys)


def md5_of(path: str) -> str:
    """Return the digest of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million of them
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _files(directory: Path) -> Iterator[tuple[str, str, Stamp]]:
    skip = len(str(directory)) + 1
    for parent, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in OWN_FOLDERS]
        for name in names:
            path = f"{parent}/{name}"
            status = os.lstat(path)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            yield path[skip:], path, stamp
