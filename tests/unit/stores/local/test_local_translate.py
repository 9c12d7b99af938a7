"""What each error of the operating system means, and its remedy."""

from __future__ import annotations

import errno
import os

import pytest

from s32s_agent.errors import (
    AgentError,
    DirectoryError,
    DiskFull,
    EntryError,
)
from s32s_agent.stores.local.translate import translate


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, DiskFull, "free space"),
        (errno.EDQUOT, DiskFull, "free space"),
        (errno.ELOOP, EntryError, "remove it"),
        (errno.EISDIR, EntryError, "remove it"),
        (errno.EXDEV, EntryError, "unmount it"),
        (errno.EROFS, DirectoryError, "read-only"),
        (errno.EPERM, DirectoryError, "chattr -i"),
        (errno.EACCES, DirectoryError, "chattr -i"),
        (errno.EIO, DirectoryError, "kernel's log"),
        (errno.ESTALE, DirectoryError, "mount"),
        (errno.EFBIG, DirectoryError, "LimitFSIZE"),
        (errno.EMFILE, DirectoryError, "LimitNOFILE="),
        (errno.ENAMETOOLONG, DirectoryError, "file system"),
    ],
)
def test_what_the_system_says_is_translate(
    number: int, kind: type[AgentError], remedy: str
) -> None:
    """Each error number means trouble with one entry, with the directory, or with the disk."""
    error = translate(OSError(number, os.strerror(number)), "k")

    assert type(error) is kind
    assert remedy in error.remedy
    assert str(error).startswith('"k": ')
