"""Small disks of a test's own, mounted from files: to fill, to make read-only, and to cut the power of.

with mounted("ext4", directory) as disk:
    ...                         # at work in disk.place
    disk.copy_to(image)         # what a power cut would leave, as of now
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
    """How a disk is made and mounted."""

    make: tuple[str, ...]
    """The command; the image follows."""
    size: int
    """MiB: no less will do."""
    options: str = "loop"


FILE_SYSTEMS = {
    "ext4": FileSystem(("mkfs.ext4", "-q", "-F"), 32),
    # Without the heuristic that hides a missing fsync before a rename.
    "ext4 noauto_da_alloc": FileSystem(("mkfs.ext4", "-q", "-F"), 32, "loop,noauto_da_alloc"),
    # A copy has the original's UUID, and a namespace that somebody made meanwhile may hold that one mounted.
    "xfs": FileSystem(("mkfs.xfs", "-q", "-f"), 320, "loop,nouuid"),
    "btrfs": FileSystem(("mkfs.btrfs", "-q", "-f"), 128),
}


class NotPossible(Exception):
    """This machine cannot make or mount such a disk."""


@dataclass(slots=True)
class Disk:
    """A mounted disk."""

    kind: FileSystem
    image: Path
    place: Path
    """Where it is mounted."""

    def mount(self, image: Path) -> None:
        _run("mount", "-o", self.kind.options, image, self.place)

    def unmount(self) -> None:
        _run("umount", self.place)

    def exchange(self, image: Path) -> None:
        """Mount another image in this one's place, as after a power cut."""
        self.unmount()
        self.mount(image)

    def sync(self) -> None:
        """Put everything on the disk."""
        _run("sync", "-f", self.place)

    def commit(self) -> None:
        """Do what any other program may do at any time: sync a file of its own, and with it the journal."""
        fd = os.open(self.place / "foreign", os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, b"foreign")
            os.fsync(fd)
        finally:
            os.close(fd)

    def copy_to(self, image: Path) -> str:
        """Copy what has reached the disk so far; give a digest of it."""
        digest = hashlib.blake2b()
        with self.image.open("rb") as source, image.open("wb") as target:
            size = self.image.stat().st_size
            for begin, end in _data(source.fileno(), size):
                digest.update(begin.to_bytes(8))
                for place in range(begin, end, _CHUNK):
                    chunk = os.pread(source.fileno(), min(end - place, _CHUNK), place)
                    digest.update(chunk)
                    if chunk.count(0) < len(chunk):  # a journal begins as many zeros
                        os.pwrite(target.fileno(), chunk, place)
            target.truncate(size)
        return digest.hexdigest()


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the extents of a sparse file."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole to the end
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end


@contextmanager
def mounted(name: str, directory: Path) -> Iterator[Disk]:
    """Make and mount a disk; it goes at the end.

    Raises:
        NotPossible: this machine cannot.
    """
    kind = FILE_SYSTEMS[name]
    if shutil.which(kind.make[0]) is None:
        raise NotPossible(f"{kind.make[0]} is not installed")
    disk = Disk(kind, directory / "disk.img", directory / "disk")
    disk.place.mkdir(parents=True)
    with disk.image.open("wb") as stream:
        stream.truncate(kind.size << 20)
    with _possibly():
        _run(*kind.make, disk.image)
        _run("fallocate", "--dig-holes", disk.image)
        disk.mount(disk.image)
    try:
        yield disk
    finally:
        disk.unmount()
        disk.image.unlink()


@contextmanager
def small_tmpfs(place: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs; `options` says how small: `size=1m`, `nr_inodes=20`.

    Raises:
        NotPossible: this machine cannot.
    """
    place.mkdir(parents=True, exist_ok=True)
    with _possibly():
        _run("mount", "-t", "tmpfs", "-o", f"mode=0755,{options}", "tmpfs", place)
    try:
        yield place
    finally:
        _run("umount", place)


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip a test, visibly, that needs what this machine does not allow."""
    try:
        yield
    except NotPossible as error:
        pytest.skip(str(error))


@contextmanager
def _possibly() -> Iterator[None]:
    """Take a failure for a lack of means: only at the beginning, before anything can have gone wrong."""
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
