"""A local directory as a source: all that a master needs, on every system."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterable, Iterator

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import SourceChanged
from s32s_agent.model import Entry, IndexRow
from s32s_agent.plan import keys
from s32s_agent.stores.base import NO_HINTS, Content, Scan, ScanHints
from s32s_agent.stores.local.content import FileChanged, open_content
from s32s_agent.stores.local.listing import list_directory
from s32s_agent.stores.local.root import Root
from s32s_agent.stores.local.walk import Walk, resolve_inside


class LocalSource:
    """A directory that is listed against the index and read.

    Args:
        root: the directory, held open; closed with the source.
        rows: returns the index's rows in key order, from the first one at each call.
        trust_index: False treats every file as edited (`--verify`).
        follow_links: read what a symbolic link leads to, as long as it is in the directory.
        enters_mounts: what is mounted below the directory is part of it, and is missed when it is not mounted.
    """

    def __init__(
        self,
        root: Root,
        rows: Callable[[], Iterable[IndexRow]],
        *,
        trust_index: bool = True,
        follow_links: bool = False,
        enters_mounts: bool = False,
    ) -> None:
        self._root = root
        self._rows = rows
        self._trust_index = trust_index
        self._follow_links = follow_links
        self._enters_mounts = enters_mounts
        self._changed: set[str] = set()
        """Keys of files that were other versions when they were opened, or read."""

    def close(self) -> None:
        """Close the directory."""
        self._root.close()

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """Yield what is there in key order, each file with the ETag that the index vouches for."""
        mounts = frozenset(hints.mounts) if self._enters_mounts else None
        walk = Walk(self._root, follow_links=self._follow_links, known_mounts=mounts)
        return Scan(list_directory(walk, self._rows, trust_index=self._trust_index))

    @contextlib.contextmanager
    def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        """Open a file; what is read is one version, or `SourceChanged`."""
        may_grow = entry.key in self._changed
        opened = open_content(
            lambda: self._root.read(self._resolved(entry.key)), entry, may_grow=may_grow
        )
        try:
            with opened as content:
                yield content
        except FileChanged:
            self._changed.add(entry.key)
            raise

    def current_version(self, entry: Entry) -> Entry | None:
        """Return a file that has grown since it was listed, as it is now; None leaves what changed for the next run.

        A log is never the version that was listed. From now on it may grow while it is read: what is sent is the file
        as it was when it was opened.
        """
        if entry.key not in self._changed:
            return None
        try:
            status = self._root.status(self._resolved(entry.key))
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size <= entry.size:
            return None
        return entry._replace(size=status.st_size, etag=None)

    def confirm_absent(self, key: str) -> bool:
        """Return whether the directory does not have the key; one that no file can have is absent.

        Raises:
            SourceChanged: the file system does not answer that.
        """
        if keys.unmappable(key):
            return True
        try:
            status = self._root.status(self._resolved(key))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            raise SourceChanged(f'"{key}": {error.strerror}') from error
        # A directory's key is another one, with a slash at its end.
        return stat.S_ISDIR(status.st_mode) and not key.endswith("/")

    def _resolved(self, key: str) -> str:
        return resolve_inside(self._root, key) if self._follow_links else key
