"""Turn errors of the operating system into the agent's own, in one place."""

from __future__ import annotations

import errno

from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    DiskFull,
    EntryError,
    EntryUnreadable,
    is_disk_full,
)

_BLOCKED = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
_MOUNTED = "unmount it, or exclude it with `ignore`"
_REMEDIES = {
    errno.EROFS: "the file system is mounted read-only",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "grant the agent's user access; an immutable file needs chattr -i",
    ),
    errno.EIO: "check the disk; the kernel's log lists its errors",
    errno.EFBIG: "raise the limit of a file's size (LimitFSIZE= in a unit, `ulimit -f`), or keep the directory on a "
    "file system that takes larger files",
    errno.ESTALE: "mount the network file system again",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "raise the limit of open files (LimitNOFILE= in a unit), or lower sync.workers",
    ),
}
"""By error number, the remedy where the general remedy of the error says too little."""


def translate(error: OSError, key: str) -> AgentError:
    """Return what an operating system error means for an entry, with the error as its cause."""
    meaning = _meaning(error, key)
    meaning.__cause__ = error
    return meaning


def _meaning(error: OSError, key: str) -> AgentError:
    reason = error.strerror or str(error)
    if is_disk_full(error):
        return DiskFull(f'"{key}": {reason}')
    if error.errno in _BLOCKED:
        fact = "blocked by an existing link, file or directory"
        return EntryError(f'"{key}": {fact}', remedy="remove it, or exclude it with `ignore`")
    if error.errno == errno.EBUSY:
        fact = "something is mounted there"
        return EntryUnreadable(f'"{key}": {fact}', remedy=_MOUNTED)
    if error.errno == errno.EXDEV:
        fact = "another file system is mounted in its path"
        return EntryError(f'"{key}": {fact}', remedy=_MOUNTED)
    return DirectoryError(f'"{key}": {reason}', remedy=_REMEDIES.get(error.errno or 0, ""))
