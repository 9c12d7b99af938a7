"""Keep what was received of an interrupted download of a large entry, so that a later run resumes it. POSIX only.

Its temporary file has a name that follows from key and version, so that only a download of the same version finds it.
Its bytes are not trusted: they are proven together with the rest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable

from s32s_agent.model import Copy, Entry
from s32s_agent.plan import keys
from s32s_agent.stores.s3.ranges import RANGED_FROM, surely_whole

_REOPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def name_of(entry: Entry) -> str:
    """Return the name of the temporary file of one version of an entry."""
    version = "\0".join((entry.key, entry.etag or "", str(entry.size)))
    return keys.TEMPORARY + hashlib.sha256(version.encode()).hexdigest()[:32]


def is_partial(name: str) -> bool:
    """Return whether a temporary file has a name that a later run can find again."""
    return len(name) == len(keys.TEMPORARY) + 32


def resumable(copies: Iterable[Copy]) -> dict[str, str]:
    """Return the keys of the copies that an earlier run may have begun, by the keys of their temporary files."""
    return {
        directory + name_of(copy.entry): copy.entry.key
        for copy in copies
        if copy.entry.size >= RANGED_FROM
        for directory in _directories(copy)
    }


def _directories(copy: Copy) -> tuple[str, ...]:
    """Return the directories that may hold the temporary file of a copy; that of a blocked one is above its own."""
    key = copy.entry.key
    return ("", *keys.ancestors(key)) if copy.blocked else (keys.parent(key),)


def reopen(directory: int, name: str, size: int, users: Collection[int]) -> tuple[int, int]:
    """Open what an interrupted download left, cut to the bytes that are surely complete.

    Args:
        directory: the descriptor of its directory.
        name: its name.
        size: bytes of the entry.
        users: to whom it may belong.

    Returns:
        The descriptor, which the caller closes, and how many bytes are there.

    Raises:
        FileNotFoundError: there is none.
        FileExistsError: something else has that name.
    """
    fd = -1
    try:
        fd = os.open(name, _REOPEN, dir_fd=directory)
        status = os.fstat(fd)
        # A file with a second name could belong to another program.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise FileExistsError(name)
        if status.st_uid not in users:
            raise FileExistsError(name)
        kept = surely_whole(min(status.st_size, size))
        os.ftruncate(fd, kept)
    except FileNotFoundError:
        raise
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise FileExistsError(name) from error
    return fd, kept
