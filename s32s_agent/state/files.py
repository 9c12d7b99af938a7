"""Read and replace small files of the agent; readers and power cuts find the whole old file or the whole new one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from s32s_agent.errors import DirectoryError, DiskFull, is_disk_full
from s32s_agent.plan.keys import TEMPORARY
from s32s_agent.text import printable

MAX_SIZE = 16 * 1024 * 1024
"""Bytes. The agent writes no longer file."""

_REMEDY = "state_dir must exist, belong to the user that runs the agent, and be on a disk that is writable"


def read_file(path: Path, *, follow: bool = False) -> bytes:
    """Read a whole regular file; anything else is refused at once, since a FIFO could block for ever.

    Args:
        path: the file.
        follow: whether it may be a symbolic link.

    Raises:
        OSError: it cannot be read; ELOOP: it is a symbolic link; EINVAL: it is no regular file; EFBIG: it is too long.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def replace_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    remedy: str = _REMEDY,
    prefix: str = TEMPORARY,
) -> None:
    """Write a temporary file, make it durable and rename it into place.

    Args:
        path: in a directory that exists.
        data: the whole content.
        mode: of the new file, whatever the umask.
        remedy: of the error when the directory cannot be written.
        prefix: how the name of the temporary file begins.

    Raises:
        DirectoryError: the directory cannot be written; `DiskFull` when it is full. The old file stays.
    """
    import tempfile  # noqa: PLC0415 (only writers need it: it imports compression and random numbers)

    try:
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                # By its descriptor: in a directory that another user may write, the name may lead to another file.
                _set_mode(descriptor, temporary, mode)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error, remedy) from error


def _set_mode(descriptor: int, path: Path, mode: int) -> None:
    if sys.platform != "win32":  # pragma: no branch - tests run on Linux
        os.fchmod(descriptor, mode)
    else:
        path.chmod(mode)


def make_directory(path: Path) -> None:
    """Create a directory for small files of the agent, if it is missing.

    Raises:
        DirectoryError: it cannot be created; `DiskFull` when the disk is full.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError, remedy: str = _REMEDY) -> DirectoryError:
    message = f'"{printable(str(path))}": cannot be written: {error.strerror}'
    if is_disk_full(error):
        return DiskFull(message)
    return DirectoryError(message, remedy=remedy)


def remove_temporary_files(directory: Path, own: Iterable[str]) -> None:
    """Remove the temporary files that a killed run left in a state directory.

    The caller holds the lock, so no other run is writing one. Other directories below are not looked at, since they may
    be the state of another agent, whose lock is another one.

    Args:
        directory: the state directory.
        own: the names of the directories in it that belong to this agent.
    """
    for each in (directory, *(directory / name for name in own)):
        # A temporary file that stays does no harm; a real problem shows when a file is written.
        with contextlib.suppress(OSError):
            _remove_temporary_files_of(each)


def _remove_temporary_files_of(directory: Path) -> None:
    if directory.is_symlink():
        return
    for path in directory.iterdir():
        if path.name.startswith(TEMPORARY):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync_directory(directory: Path) -> None:
    """Make the new name durable; on Windows that is neither possible nor needed."""
    if sys.platform != "win32":  # pragma: no branch - tests run on Linux
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
