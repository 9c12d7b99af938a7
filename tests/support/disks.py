"""Small disks for tests, mounted from files: to be filled, made read-only, or cut from power.

with mounted("ext4", directory) as disk:
    ...                         # files below disk.path
    disk.copy_to(image)         # the state that a power cut would leave now
    disk.exchange(image)        # after the power is back
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSystem:
    """How a disk is created and mounted."""

    make: tuple[str, ...]
    """The command; the image follows."""
    size: int
    """MiB: the smallest size that works."""
    options: str = "loop"


FILE_SYSTEMS = {
    "ext4": FileSystem(("mkfs.ext4", "-q", "-F"), 32),
    # Without the heuristic that hides a missing fsync before a rename.
    "ext4 noauto_da_alloc": FileSystem(("mkfs.ext4", "-q", "-F"), 32, "loop,noauto_da_alloc"),
    # A copy has the original's UUID, and another mount namespace may have the original mounted.
    "xfs": FileSystem(("mkfs.xfs", "-q", "-f"), 320, "loop,nouuid"),
    "btrfs": FileSystem(("mkfs.btrfs", "-q", "-f"), 128),
}


class NotPossible(Exception):
    """This machine cannot create or mount such a disk."""


@dataclass(slots=True)
class Disk:
    """A mounted disk."""

    kind: FileSystem
    image: Path
    path: Path
    """Where it is mounted."""

    def mount(self, image: Path) -> None:
        _run("mount", "-o", self.kind.options, image, self.path)

    def unmount(self) -> None:
        _run("umount", self.path)

    def exchange(self, image: Path) -> None:
        """Mount another image instead of this one, as after a power cut."""
        self.unmount()
        self.mount(image)

    def sync(self) -> None:
        """Write everything to the disk."""
        _run("sync", "-f", self.path)

    def commit(self) -> None:
        """Sync a file of another program, and with it the journal, as may happen at any time."""
        fd = os.open(self.path / "foreign", os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, b"foreign")
            os.fsync(fd)
        finally:
            os.close(fd)

    def copy_to(self, image: Path) -> str:
        """Copy what has reached the disk so far; return a digest of it."""
        digest = hashlib.blake2b()
        with self.image.open("rb") as source, image.open("wb") as target:
            size = self.image.stat().st_size
            for begin, end in _data(source.fileno(), size):
                digest.update(begin.to_bytes(8))
                for position in range(begin, end, _CHUNK):
                    chunk = os.pread(source.fileno(), min(end - position, _CHUNK), position)
                    digest.update(chunk)
                    if chunk.count(0) < len(chunk):  # a journal begins as many zeros
                        os.pwrite(target.fileno(), chunk, position)
            target.truncate(size)
        return digest.hexdigest()


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the extents of a sparse file."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return  # only a hole up to the end
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end


@contextmanager
def mounted(name: str, directory: Path) -> Iterator[Disk]:
    """Create and mount a disk; it is removed at the end.

    Raises:
        NotPossible: this machine cannot.
    """
    kind = FILE_SYSTEMS[name]
    if shutil.which(kind.make[0]) is None:
        raise NotPossible(f"{kind.make[0]} is not installed")
    disk = Disk(kind, directory / "disk.img", directory / "disk")
    disk.path.mkdir(parents=True)
    with disk.image.open("wb") as stream:
        stream.truncate(kind.size << 20)
    with _or_not_possible():
        _run(*kind.make, disk.image)
        _run("fallocate", "--dig-holes", disk.image)
        disk.mount(disk.image)
    try:
        yield disk
    finally:
        disk.unmount()
        disk.image.unlink()


@contextmanager
def small_tmpfs(path: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs with limits in `options`: `size=1m`, `nr_inodes=20`.

    Raises:
        NotPossible: this machine cannot.
    """
    path.mkdir(parents=True, exist_ok=True)
    with _or_not_possible():
        _run("mount", "-t", "tmpfs", "-o", f"mode=0755,{options}", "tmpfs", path)
    try:
        yield path
    finally:
        _run("umount", path)


@contextmanager
def mounted_over(path: Path, other: Path) -> Iterator[None]:
    """Mount a file over another one, as a container's engine mounts a config file.

    Raises:
        NotPossible: this machine cannot.
    """
    with _or_not_possible():
        _run("mount", "--bind", other, path)
    try:
        yield
    finally:
        _run("umount", path)


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip a test, visibly, that needs what this machine does not allow."""
    try:
        yield
    except NotPossible as error:
        pytest.skip(str(error))


@contextmanager
def _or_not_possible() -> Iterator[None]:
    """Raise `NotPossible` for a failure at the beginning, where only the machine can be the cause."""
    try:
        yield
    except OSError as error:
        raise NotPossible(str(error)) from error


def _run(*command: str | Path) -> None:
    done = subprocess.run(_texts(command), check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(_texts(command))}: {done.stderr.strip()}")


def _texts(command: Sequence[str | Path]) -> list[str]:
    return [str(each) for each in command]
