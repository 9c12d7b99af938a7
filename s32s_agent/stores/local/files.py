"""Create, write and compare files in directories that are held open. POSIX only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from s32s_agent.stores.local.syscalls import start_writeback

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Open for reading: no symbolic link, and without waiting for the other end of a FIFO."""
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_STRETCH = 8 << 20
"""Bytes of a large file that are written to the disk together."""
_OPEN_STRETCHES = 3
"""Earlier stretches that other threads may still be writing."""
_CHUNK = 1 << 20
_REFUSALS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without modes or times of their own (vfat, CIFS, FUSE) answer to their own files' owner."""


def is_refused(set_attribute: Callable[[], None]) -> bool:
    """Set an attribute of a file or directory of our own; return whether its file system takes none of that kind.

    Raises:
        OSError: it could not be set for another reason.
    """
    try:
        set_attribute()
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return True
    return False


def create_file(directory: int, name: str) -> int:
    """Create a file that was not there, readable by its owner only; the caller closes the descriptor."""
    return os.open(name, _CREATE, 0o600, dir_fd=directory)


class OpenFile:
    """An open file that many threads write to, each at another position.

    Args:
        fd: its descriptor, which the caller closes.
        to_disk: begin writing to the disk early, since a sync will wait for it.
    """

    def __init__(self, fd: int, *, to_disk: bool) -> None:
        self._fd = fd
        self._to_disk = to_disk

    def write(self, chunk: bytes, position: int) -> None:
        """Write every byte; `pwrite` may take fewer than it was given."""
        begun = position // _STRETCH
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._fd, view, position)
            view, position = view[written:], position + written
        if self._to_disk and position // _STRETCH > begun:
            # Earlier stretches too: other threads may still have been writing when those were started.
            first = max(0, begun - _OPEN_STRETCHES)
            start_writeback(self._fd, first * _STRETCH, (begun + 1 - first) * _STRETCH)

    def read(self, size: int, position: int) -> bytes:
        """Read up to `size` bytes at a position."""
        return os.pread(self._fd, size, position)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; `write` may take fewer than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def have_same_bytes(directory: int, one: str, other: str) -> bool:
    """Return whether two names of a directory are regular files that hold the same bytes."""
    with contextlib.ExitStack() as stack:
        try:
            files = [
                stack.enter_context(os.fdopen(os.open(name, READ, dir_fd=directory), "rb"))
                for name in (one, other)
            ]
        except OSError:
            return False  # absent, a link, a directory: whatever it is, it is not the same
        first, second = files
        status = [os.fstat(each.fileno()) for each in files]
        regular = all(stat.S_ISREG(each.st_mode) for each in status)
        if not regular or status[0].st_size != status[1].st_size:
            return False
        return all(
            chunk == second.read(_CHUNK) for chunk in iter(lambda: first.read(_CHUNK), b"")
        )
