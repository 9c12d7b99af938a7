"""Replace a small file of the agent's own, so that a reader and a power cut see the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path

from s32s_agent.documents import printable
from s32s_agent.errors import DirectoryError, DiskFull
from s32s_agent.keys import TEMPORARY

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "state_dir must exist, belong to the user that runs the agent, and be on a disk that is writable"


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file aside, make it durable and rename it into place.

    Raises:
        DirectoryError: the directory cannot be written; `DiskFull` when it is full. The old file stays.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _settle(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def make_directory(path: Path) -> None:
    """Make a directory for small files of the agent's own, when it is missing.

    Raises:
        DirectoryError: it cannot be made; `DiskFull` when the disk is full.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DirectoryError:
    message = f'"{printable(str(path))}": cannot be written: {error.strerror}'
    if error.errno in _DISK_FULL:
        return DiskFull(message)
    return DirectoryError(message, remedy=_REMEDY)


def sweep(directory: Path) -> None:
    """Remove the temporary files below a directory of the agent's own, which a killed pass left.

    Only while the lock is held: another pass may be writing one.
    """
    for top, _, names in os.walk(directory):
        for name in names:
            if name.startswith(TEMPORARY):
                # One that cannot be removed is clutter, no danger; what really is wrong shows when a file is written.
                with contextlib.suppress(OSError):
                    Path(top, name).unlink()


def _settle(directory: Path) -> None:
    """Put the new name on the disk; Windows cannot, and needs not."""
    if sys.platform != "win32":  # pragma: no branch - tests run on Linux
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
