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
def test_each_error_number_has_a_meaning_and_a_remedy(
    number: int, kind: type[AgentError], remedy: str
) -> None:
    """It is an error of one entry, of the directory, or of the disk."""
    error = translate(OSError(number, os.strerror(number)), "k")

    assert type(error) is kind
    assert remedy in error.remedy
    assert str(error).startswith('"k": ')
