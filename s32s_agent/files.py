"""Replace a small file of the agent's own, so that a reader and a power cut see the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path

from s32s_agent.documents import printable
from s32s_agent.errors import DirectoryError, DiskFull

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "state_dir must exist and belong to the user that runs the agent"


def replace_file(path: Path, data: bytes, *, mode: int = 0o600, remedy: str = _REMEDY) -> None:
    """Write a file aside, make it durable and rename it into place.

    Args:
        path: in a directory that exists.
        data: all of it.
        mode: whatever the umask says.
        remedy: what to do when the directory cannot be written.

    Raises:
        DirectoryError: the directory cannot be written; `DiskFull` when it is full. The old file stays.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".s32s-tmp.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                # By its descriptor: in a directory of somebody else's, the name may lead elsewhere by now.
                _set_mode(descriptor, temporary, mode)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _settle(path.parent)
    except OSError as error:
        message = f'"{printable(str(path))}": cannot be written: {error.strerror}'
        if error.errno in _DISK_FULL:
            raise DiskFull(message) from error
        raise DirectoryError(message, remedy=remedy) from error


def _set_mode(descriptor: int, path: Path, mode: int) -> None:
    if sys.platform != "win32":  # pragma: no branch - tests run on Linux
        os.fchmod(descriptor, mode)
    else:
        path.chmod(mode)


def _settle(directory: Path) -> None:
    """Put the new name on the disk; Windows cannot, and needs not."""
    if sys.platform != "win32":  # pragma: no branch - tests run on Linux
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
