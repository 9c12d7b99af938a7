"""Note which versions a batch is about to install in a directory, so that a later run recognises them.

A run can be killed between a file's renaming and its row in the index. The next run then finds a file that nothing
vouches for; when its bytes are those of a version that is noted here, it is no edit and need not go to the trash.
Notes are not synced, and nothing fails without one: the trash then gets a version that S3 had.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from s32s_agent.plan.etags import Digest, candidate_part_sizes, is_md5, part_count

_CHUNK = 1 << 20


class LastBatch:
    """The last batch of one directory.

    Args:
        path: the file of the note; its directory is created when it is missing. None keeps no note.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._previous = self._read()

    @classmethod
    def of(cls, target: str, directory: Path) -> Self:
        """Open the note about a target, in the directory that holds the notes of all."""
        name = hashlib.sha256(os.fsencode(target)).hexdigest()[:32]
        return cls(directory / f"{name}.json")

    def _read(self) -> dict[str, str]:
        try:
            if self._path is None:
                return {}
            found = json.loads(self._path.read_bytes())
            return {str(key): str(etag) for key, etag in found.items()}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}  # there is none, or it is incomplete: see above

    def note(self, etags: Mapping[str, str]) -> None:
        """Replace the note by the ETags of what is about to be installed, by key."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):  # see above
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._path, flags, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as stream:
                json.dump(dict(etags), stream)

    def installed(self, directory: int, name: str, key: str) -> bool:
        """Return whether a file holds the bytes that the previous run installed, or was about to install.

        Args:
            directory: the descriptor of the file's directory.
            name: the file's name in it.
            key: the key of its entry.
        """
        etag = self._previous.get(key)
        if etag is None:
            return False
        try:
            fd = os.open(
                name,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                dir_fd=directory,
            )
        except OSError:
            return False  # it cannot be read
        try:
            return _holds(fd, etag)
        except OSError:
            return False  # as above
        finally:
            os.close(fd)


def _holds(fd: int, etag: str) -> bool:
    """Return whether the bytes of an open file have an ETag."""
    status = os.fstat(fd)
    sizes = candidate_part_sizes(status.st_size, part_count(etag))
    digests = [Digest()] if is_md5(etag) else [Digest(size) for size in sizes]
    if not digests or not stat.S_ISREG(status.st_mode):
        return False
    while chunk := os.read(fd, _CHUNK):
        for digest in digests:
            digest.update(chunk)
    return any(digest.etag() == etag for digest in digests)
