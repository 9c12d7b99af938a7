"""Keep what came of an interrupted download of a large entry, so that a later pass goes on from there.

Its temporary file has a name that is made of key and version, so that only a download of the same version finds it.
Nothing in it is believed: what vouches for it is the proof of the whole.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable

from s32s_agent.model import Copy, Entry
from s32s_agent.plan import keys
from s32s_agent.stores.s3.ranges import RANGED_FROM, surely_whole

_GO_ON = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def name_of(entry: Entry) -> str:
    """Give the name of the temporary file of one version of an entry."""
    version = "\0".join((entry.key, entry.etag or "", str(entry.size)))
    return keys.TEMPORARY + hashlib.sha256(version.encode()).hexdigest()[:32]


def is_one(name: str) -> bool:
    """Tell whether a temporary file has a name that a later pass can find again."""
    return len(name) == len(keys.TEMPORARY) + 32


def to_go_on_with(copies: Iterable[Copy]) -> dict[str, str]:
    """Give the copies that may have been begun before: their keys, by the keys of their temporary files."""
    return {
        place + name_of(copy.entry): copy.entry.key
        for copy in copies
        if copy.entry.size >= RANGED_FROM
        for place in _places(copy)
    }


def _places(copy: Copy) -> tuple[str, ...]:
    """Give the directories in which the temporary file of a copy may be; a blocked one's is in the nearest."""
    key = copy.entry.key
    return ("", *keys.ancestors(key)) if copy.blocked else (keys.parent(key),)


def open_again(
    directory: int, name: str, size: int, users: Collection[int]
) -> tuple[int, int]:
    """Open what an interrupted download left, cut to what is surely whole; the caller closes the descriptor.

    Args:
        directory: where it is.
        name: its name.
        size: bytes of the entry.
        users: to whom it may belong.

    Returns:
        The descriptor, and how many bytes are there.

    Raises:
        FileNotFoundError: there is none.
        FileExistsError: something else has that name.
    """
    fd = -1
    try:
        fd = os.open(name, _GO_ON, dir_fd=directory)
        status = os.fstat(fd)
        # A second name could be that of somebody else's file.
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
