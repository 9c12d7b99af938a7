"""Read one version of a local file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator

from s32s_agent.errors import EntryError, SourceChanged
from s32s_agent.model import Entry, Stamp
from s32s_agent.stores.base import Attributes, Content
from s32s_agent.stores.local.stamps import may_hide_an_edit, stamp_of, wait_for_another_tick

_CHUNK = 1 << 18
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ESTALE)
_NO_ACCESS = "grant the agent's user read access to it, or exclude it with `ignore`"


class FileChanged(SourceChanged):
    """The file is another version than the listed one, or became one while it was read."""


@contextlib.contextmanager
def open_content(
    open_file: Callable[[], int], entry: Entry, *, may_grow: bool = False
) -> Iterator[Content]:
    """Open the file of an entry; it is closed on leaving.

    Args:
        open_file: opens the file for reading and returns its descriptor.
        entry: the entry as it was scanned.
        may_grow: accept a file that grows while it is read, as it was when it was opened.

    Raises:
        SourceChanged: the file is gone.
        FileChanged: it is another version.
        EntryError: it cannot be opened.
    """
    try:
        fd = open_file()
    except OSError as error:
        if error.errno in _GONE:
            raise SourceChanged(f'"{entry.key}": {error.strerror}') from error
        remedy = _NO_ACCESS if error.errno in (errno.EACCES, errno.EPERM) else ""
        message = f'"{entry.key}" cannot be read: {error.strerror}'
        raise EntryError(message, remedy=remedy) from error
    try:
        yield _FileContent(fd, entry, may_grow=may_grow)
    finally:
        os.close(fd)


class _FileContent:
    """The bytes of an open file."""

    verified = "length"

    def __init__(self, fd: int, entry: Entry, *, may_grow: bool) -> None:
        self._fd = fd
        self._entry = entry
        self._may_grow = may_grow
        self._has_grown = False
        status = os.fstat(fd)
        self._stamp = stamp_of(status)
        self.attributes = Attributes(status.st_mtime_ns, stat.S_IMODE(status.st_mode) & 0o777)
        if status.st_size != entry.size:
            raise FileChanged(f'"{entry.key}" changed after it was listed')

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of what was read; None when an edit could leave it as it is, or the file has grown since."""
        is_of_another = self._has_grown or may_hide_an_edit(self._stamp)
        return None if is_of_another else self._stamp

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in order; the stamp must be the same before and after."""
        # From here on every edit gives the file another time than the stamp has.
        wait_for_another_tick(self._stamp)
        changed = FileChanged(f'"{self._entry.key}" changed while it was read')
        left, digest = self._entry.size, hashlib.sha256() if self._may_grow else None
        try:
            while left and (chunk := os.read(self._fd, min(left, _CHUNK))):
                left -= len(chunk)
                if digest:
                    digest.update(chunk)
                yield chunk
            if stamp_of(os.fstat(self._fd)) != self._stamp:
                self._has_grown = (
                    not left and digest is not None and self._still_begins(digest)
                )
                if not self._has_grown:
                    raise changed
            elif left or os.read(self._fd, 1):
                raise changed
        except OSError as error:
            raise EntryError(
                f'"{self._entry.key}" cannot be read: {error.strerror}'
            ) from error

    def _still_begins(self, digest: hashlib._Hash) -> bool:
        """Return whether the file begins with the bytes that were read: whoever writes it has only added to it."""
        again, position = hashlib.sha256(), 0
        while chunk := os.pread(self._fd, min(_CHUNK, self._entry.size - position), position):
            again.update(chunk)
            position += len(chunk)
        return again.digest() == digest.digest()
