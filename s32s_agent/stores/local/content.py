"""Read one version of a local file."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from s32s_agent.errors import EntryError, SourceChanged
from s32s_agent.model import Entry, Stamp
from s32s_agent.stores.base import Attributes, Content
from s32s_agent.stores.local.stamps import may_hide_an_edit, stamp_of, wait_for_another_tick

_CHUNK = 1 << 18


@contextlib.contextmanager
def open_content(open_file: Callable[[], int], entry: Entry) -> Iterator[Content]:
    """Open the file of an entry; it is closed on leaving.

    Args:
        open_file: opens the file for reading and returns its descriptor.
        entry: the entry as it was scanned.

    Raises:
        SourceChanged: the file cannot be opened, or is another version.
    """
    try:
        fd = open_file()
    except OSError as error:
        raise SourceChanged(f'"{entry.key}": {error.strerror}') from error
    try:
        yield _FileContent(fd, entry)
    finally:
        os.close(fd)


class _FileContent:
    """The bytes of an open file."""

    verified = "length"

    def __init__(self, fd: int, entry: Entry) -> None:
        self._fd = fd
        self._entry = entry
        status = os.fstat(fd)
        self._stamp = stamp_of(status)
        self.attributes = Attributes(status.st_mtime_ns, stat.S_IMODE(status.st_mode) & 0o777)
        if status.st_size != entry.size:
            raise SourceChanged(f'"{entry.key}" changed after it was listed')

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of what was read; None when an edit could leave it as it is."""
        return None if may_hide_an_edit(self._stamp) else self._stamp

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in order; the stamp must be the same before and after."""
        # From here on every edit gives the file another time than the stamp has.
        wait_for_another_tick(self._stamp)
        changed = SourceChanged(f'"{self._entry.key}" changed while it was read')
        left = self._entry.size
        try:
            while chunk := os.read(self._fd, _CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise changed
                yield chunk
            if left or stamp_of(os.fstat(self._fd)) != self._stamp:
                raise changed
        except OSError as error:
            raise EntryError(
                f'"{self._entry.key}" cannot be read: {error.strerror}'
            ) from error
