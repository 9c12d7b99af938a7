"""A local directory as something to look at and read from: all that a master needs, on every system.

What cannot be looked at is a problem, never an absence; what is no file is told by its kind, never opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from s32s_agent.errors import DirectoryError, EntryError, SourceChanged
from s32s_agent.model import Entry, IndexRow, Kind, Problem, Stamp
from s32s_agent.plan import keys
from s32s_agent.stores.base import NO_HINTS, Attributes, Content, Learned, Scan, ScanHints
from s32s_agent.stores.local.root import Level, Root

_CHUNK = 1 << 18
CLOCK_TICK_NS = 10_000_000
"""More than the granularity of file times on Linux, which is at most one tick of 100 Hz."""
_COARSE_TICK_NS = 2_000_000_000
"""The granularity of FAT, the coarsest there is."""
_SIGNED = 1 << 63
_UNMOUNTED = (
    "a disk was mounted here, and now there is an empty directory (--allow-deletes permits it)"
)


_Seen: TypeAlias = "tuple[str, Stamp | None, Entry | Problem | None]"
"""A key, and the stamp of a file or what else is there."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Take from a stat what tells whether the content may have been touched."""
    size, mtime_ns, ctime_ns, inode = (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )
    if inode < _SIGNED and -_SIGNED <= mtime_ns < _SIGNED and -_SIGNED <= ctime_ns < _SIGNED:
        return Stamp(size, mtime_ns, ctime_ns, inode)
    # Folded to what SQLite can store: some file systems have inodes and times beyond 63 bits.
    fields = (size, mtime_ns, ctime_ns, inode)
    return Stamp(*((each + _SIGNED) % (2 * _SIGNED) - _SIGNED for each in fields))


def may_hide_an_edit(stamp: Stamp) -> bool:
    """Tell whether the file system's times are so coarse that an edit right now would not show."""
    whole_seconds = stamp.ctime_ns % 1_000_000_000 == 0
    return whole_seconds and time.time_ns() - stamp.ctime_ns < _COARSE_TICK_NS


def let_the_clock_pass(stamp: Stamp) -> None:
    """Wait until a later edit must get another time than the one in the stamp."""
    if time.time_ns() - stamp.ctime_ns < CLOCK_TICK_NS:
        time.sleep(CLOCK_TICK_NS / 1e9)


class LocalSource:
    """A directory, and what the index knows of it.

    Args:
        root: the directory, held open; closed with the reader.
        rows: gives the index's rows in key order, anew at each call.
        trust_index: False makes every file one that nothing vouches for (`--verify`).
        follow_links: take what a symbolic link leads to, as long as it is in the directory.
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
        self._known_mounts: frozenset[str] = frozenset()
        """The hints of the scan that is under way."""
        self._mounts: list[str] = []
        """The directories on which something is mounted, or should be, as the scan finds them."""
        self._leftovers: list[str] = []
        """Temporary files of the agent's own that the scan meets."""

    def close(self) -> None:
        """Let go of the directory."""
        self._root.close()

    # --- scan ---

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """Yield what is there in key order, each file with the ETag that the index vouches for."""
        return Scan(self._scan(hints))

    def _scan(self, hints: ScanHints) -> Generator[Entry | Problem, None, Learned]:
        self._known_mounts = frozenset(hints.mounts)
        self._leftovers.clear()
        self._mounts.clear()
        rows = iter(self._rows())
        row = next(rows, None)
        for key, stamp, other in self._walk():
            while row is not None and row.key < key:
                yield Entry(row.key, row.stamp.size, row.etag, Kind.GONE)
                row = next(rows, None)
            known = row if row is not None and row.key == key else None
            if stamp is not None:
                yield self._file(key, stamp, known)
            elif isinstance(other, Entry) and known is not None:
                yield other._replace(edited=True)
            elif other is not None:
                yield other
            if known is not None:
                row = next(rows, None)
        while row is not None:
            yield Entry(row.key, row.stamp.size, row.etag, Kind.GONE)
            row = next(rows, None)
        mounts = tuple(self._mounts) if self._enters_mounts else None
        return Learned(mounts=mounts, leftovers=tuple(self._leftovers))

    def _file(self, key: str, stamp: Stamp, known: IndexRow | None) -> Entry:
        if known is None:
            return Entry(key, stamp.size)
        if stamp == known.stamp and self._trust_index:
            return Entry(key, stamp.size, known.etag)
        return Entry(key, stamp.size, edited=True)

    def _walk(self) -> Iterator[_Seen]:
        """Walk in key order: a directory sorts with its slash, `a-b` before `a/b` before `a0`.

        Without recursion, so that depth costs descriptors only.
        """
        try:
            levels = [self._begin(self._root.level(""), "")]
        except OSError as error:
            raise DirectoryError(f'"{self._root.path}": {error.strerror}') from error
        try:
            while levels:
                here = levels[-1]
                name = next(here.names, None)
                if name is None:
                    levels.pop().level.close()
                elif name.endswith("/"):
                    found, inner = self._descend(levels, name)
                    if inner is not None:
                        levels.append(
                            inner
                        )  # before the walk can be given up, so that it is closed
                    if found is not None:
                        yield found.key, None, found
                elif name[0] == "." and self._is_nobodys(here.prefix + name, name):
                    continue
                elif seen := self._look_at(here, name):
                    yield seen
        finally:
            for each in levels:
                each.level.close()

    def _begin(self, level: Level, prefix: str) -> _Visit:
        try:
            names = level.names(follow=self._follow_links)
        except BaseException:
            level.close()
            raise
        names.sort()
        wanted = (
            name for name in names if prefix or not keys.is_left_alone(name, at_the_top=True)
        )
        return _Visit(level, prefix, iter(wanted), not names)

    def _is_nobodys(self, key: str, name: str) -> bool:
        if name.startswith(keys.TEMPORARY):
            self._leftovers.append(key)
            return True
        return keys.is_left_alone(name, at_the_top=False)

    def _look_at(self, here: _Visit, name: str) -> _Seen | None:
        """Say what a name stands for; None when it is gone again."""
        key = here.prefix + name
        try:
            status = here.level.status(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Problem(key, f"cannot be read: {error.strerror}", key, fatal=True)
            return key, None, problem
        if self._follow_links and stat.S_ISLNK(status.st_mode):
            try:
                status = self._root.status(self._led_to(key))
            except OSError as error:
                return key, None, Problem(key, f"the symbolic link: {error.strerror}", key)
        if stat.S_ISREG(status.st_mode):
            return key, stamp_of(status), None
        kind = Kind.LINK if stat.S_ISLNK(status.st_mode) else Kind.SPECIAL
        return key, None, Entry(key, kind=kind)

    def _descend(
        self, levels: list[_Visit], name: str
    ) -> tuple[Entry | Problem | None, _Visit | None]:
        """Enter a directory; give what is to be said of it, and the visit."""
        here = levels[-1]
        key = here.prefix + name
        try:
            level = self._enter(here, name, levels)
            visit = self._begin(level, key)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            if error.errno == errno.EXDEV:
                return Entry(key, kind=Kind.MOUNT), None
            self._mounts += (each for each in self._known_mounts if each.startswith(key))
            led_astray = error.errno == errno.ELOOP
            what = "the symbolic link" if led_astray else "cannot be read"
            return Problem(key, f"{what}: {error.strerror}", key, fatal=not led_astray), None
        if self._enters_mounts:
            if level.device != here.level.device:
                self._mounts.append(key)
            elif key in self._known_mounts and visit.is_empty:
                self._mounts.append(key)
                return Problem(key, _UNMOUNTED, key, fatal=True), visit
        return Entry(key, kind=Kind.DIRECTORY), visit

    def _enter(self, here: _Visit, name: str, levels: list[_Visit]) -> Level:
        key = here.prefix + name
        if not self._follow_links or not stat.S_ISLNK(here.level.status(name[:-1]).st_mode):
            return here.level.enter(name[:-1])
        led_to = self._led_to(key[:-1])
        visited = [self._led_to(each.prefix[:-1]) if each.prefix else "" for each in levels]
        if led_to in visited:
            raise OSError(errno.ELOOP, "it leads back to a directory that it is in")
        return self._root.level(f"{led_to}/" if led_to else "")

    def _led_to(self, key: str) -> str:
        """Give the key that a path with links in it leads to.

        Raises:
            OSError: it leads out of the directory, or nowhere.
        """
        path = os.path.realpath(f"{self._root.path}/{key}", strict=True)
        inside = os.path.relpath(path, self._root.path).replace(os.sep, "/")
        if inside == "." or (not inside.startswith("../") and inside != ".."):
            return "" if inside == "." else inside
        raise OSError(errno.ELOOP, "it leads out of the mapping's directory")

    # --- read ---

    @contextlib.contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        """Open a file; what is read is one version, or `SourceChanged`."""
        try:
            key = self._led_to(entry.key) if self._follow_links else entry.key
            fd = self._root.read(key)
        except OSError as error:
            raise SourceChanged(f'"{entry.key}": {error.strerror}') from error
        try:
            yield _FileContent(fd, entry)
        finally:
            os.close(fd)

    def current_version(self, _entry: Entry) -> Entry | None:
        """Take no other version: what changes while it is read is left for the next pass."""
        return None

    def confirm_absent(self, key: str) -> bool:
        """Look for the key itself; one that no file can have is absent.

        Raises:
            SourceChanged: it cannot be looked for.
        """
        if keys.unmappable(key):
            return True
        try:
            status = self._root.status(self._led_to(key) if self._follow_links else key)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            raise SourceChanged(f'"{key}": {error.strerror}') from error
        # A directory's key is another one, with a slash at its end.
        return stat.S_ISDIR(status.st_mode) and not key.endswith("/")


class _Visit(NamedTuple):
    """A directory in a walk: what is still to come of it."""

    level: Level
    prefix: str
    names: Iterator[str]
    is_empty: bool


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
        """The stamp of what was read; None when an edit could hide behind it."""
        return None if may_hide_an_edit(self._stamp) else self._stamp

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; the stamp must be the same before and after."""
        # From here on, whoever changes the file gives it another time than the stamp has.
        let_the_clock_pass(self._stamp)
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
