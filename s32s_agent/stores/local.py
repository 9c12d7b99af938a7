"""A local directory as a store: walk it, take entries in whole, give up what is not wanted.

What shows under an entry's own name is always a whole version, since bytes are written to a temporary file in the same
directory and renamed once they are proven and, where asked for, on the disk (hazards R4, F28-F34).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from s32s_agent import keys
from s32s_agent.errors import AgentError, EntryError, IntegrityError, LockHeld, SourceChanged
from s32s_agent.model import Copy, Entry, IndexRow, Kind, Problem, Stamp
from s32s_agent.stores.base import Attributes, Content, Published, Staged
from s32s_agent.stores.trash import Trash
from s32s_agent.stores.tree import (
    ANYBODY,
    NewDirectories,
    Owner,
    Tree,
    create_file,
    reserve,
    stamp_of,
    sync_directory,
    sync_file_system,
    translated,
    write_all,
)

_CHUNK = 1 << 20
_WORTH_RESERVING = 1 << 20
"""Bytes from which on claiming disk space beforehand is worth a system call."""
_CLOCK_TICK_SECONDS = 0.01
"""More than the granularity of file times on Linux, which is at most one tick of 100 Hz (hazard F41)."""
_COARSE_TICK_NS = 2_000_000_000
"""The granularity of FAT, the coarsest there is."""
_FEW = 4
"""Up to so many files, syncing each is cheaper than syncing the file system."""
_NFS_LEFTOVER = re.compile(r"\.nfs[0-9a-fA-F]{8,}")
"""An NFS client's name for a file that is removed but still open (hazard F39)."""


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a local directory is written."""

    run_id: str
    durable: bool = True
    trash_days: float = 7
    file_mode: int = 0o644
    dir_mode: int = 0o755
    owner: Owner = ANYBODY


class LocalStore:
    """A directory, and what the index knows of it.

    Args:
        tree: the directory, held open; closed with the store.
        rows: gives the index's rows in key order, anew at each call.
        options: how it is written.
        trust_index: False makes every file one that nothing vouches for (`--verify`).
    """

    def __init__(
        self,
        tree: Tree,
        rows: Callable[[], Iterable[IndexRow]],
        options: LocalOptions,
        *,
        trust_index: bool = True,
    ) -> None:
        self._tree = tree
        self._rows = rows
        self._options = options
        self._trust_index = trust_index
        self._trash = Trash(tree, options.run_id, options.trash_days)
        self._new_directories = NewDirectories(options.dir_mode, options.owner)
        self._leftovers: list[str] = []
        self._durable_directories: set[str] = set()

    def close(self) -> None:
        """Let go of the directory, and of the claim on it."""
        self._tree.close()

    def claim(self) -> None:
        """Keep every other pass, whatever its config and state, out of this directory until `close`.

        Raises:
            LockHeld: another pass is in it.
        """
        try:
            fcntl.flock(self._tree.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"{self._tree.path}: another pass is at work in it") from None
        except OSError:
            # Some network file systems cannot lock a directory; the lock on the state still holds.
            return

    # --- scan ---

    def scan(self) -> Iterator[Entry | Problem]:
        """Yield what is there in key order, each file with the ETag that the index vouches for."""
        self._leftovers.clear()
        rows = iter(self._rows())
        row = next(rows, None)
        for entry, stamp in self._walk():
            while row is not None and row.key < entry.key:
                yield Entry(row.key, row.stamp.size, row.etag, Kind.GONE)
                row = next(rows, None)
            if row is not None and row.key == entry.key:
                if isinstance(entry, Entry):
                    entry = self._vouched(entry, stamp, row)  # noqa: PLW2901 (the same entry, known better)
                row = next(rows, None)
            yield entry
        while row is not None:
            yield Entry(row.key, row.stamp.size, row.etag, Kind.GONE)
            row = next(rows, None)

    def _vouched(self, entry: Entry, stamp: Stamp | None, row: IndexRow) -> Entry:
        if stamp == row.stamp and self._trust_index:
            return entry._replace(etag=row.etag)
        return entry._replace(edited=True)

    def _walk(self) -> Iterator[tuple[Entry | Problem, Stamp | None]]:
        """Walk in key order, without recursion, so that depth costs descriptors only."""
        levels = [_Level(os.dup(self._tree.fd), "")]
        try:
            levels[0].read()
            while levels:
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    levels.pop().close()
                elif not name.endswith("/"):
                    if not self._is_ours(level.prefix, name):
                        yield from self._look_at(level, name)
                elif level.prefix or name not in (f"{keys.TRASH}/", "lost+found/"):
                    inner = self._descend(level, name)
                    yield inner.found
                    if inner.level is not None:
                        levels.append(inner.level)
        finally:
            for level in levels:
                level.close()

    def _is_ours(self, prefix: str, name: str) -> bool:
        if name.startswith(keys.TEMPORARY):
            self._leftovers.append(prefix + name)
            return True
        return _NFS_LEFTOVER.fullmatch(name) is not None

    def _look_at(
        self, level: _Level, name: str
    ) -> Iterator[tuple[Entry | Problem, Stamp | None]]:
        try:
            status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            yield Problem(level.prefix + name, str(error), fatal=True), None
            return
        key = level.prefix + name
        if stat.S_ISREG(status.st_mode):
            yield Entry(key, status.st_size), stamp_of(status)
        elif stat.S_ISLNK(status.st_mode):
            yield Entry(key, kind=Kind.LINK), None
        else:
            yield Entry(key, kind=Kind.SPECIAL), None

    def _descend(self, level: _Level, name: str) -> _Descent:
        key = level.prefix + name
        fd = -1
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name[:-1], flags, dir_fd=level.fd)
            if os.fstat(fd).st_dev != self._tree.device:
                os.close(fd)
                return _Descent((Entry(key, kind=Kind.MOUNT), None))
            inner = _Level(fd, key)
            inner.read()
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            problem = Problem(key, f"cannot be read: {error.strerror}", scope=key, fatal=True)
            return _Descent((problem, None))
        return _Descent((Entry(key, kind=Kind.DIRECTORY), None), inner)

    # --- read ---

    @contextlib.contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        """Open a file; what is read is one version, or `SourceChanged`."""
        try:
            fd = self._tree.read(entry.key)
        except OSError as error:
            raise SourceChanged(f'"{entry.key}": {error.strerror}') from error
        try:
            yield _FileContent(fd, entry)
        finally:
            os.close(fd)

    def fresh(self, _entry: Entry) -> Entry | None:
        """Take no other version: what changes while it is read is left for the next pass."""
        return None

    def confirm_absent(self, key: str) -> bool:
        """Look for the key itself."""
        try:
            with self._tree.parent(key) as (directory, name):
                os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise translated(error, key) from error
        return False

    # --- write ---

    def put(self, copy: Copy, content: Content) -> Staged:
        """Write the bytes to a temporary file beside the entry's place; make a directory at once."""
        key = copy.entry.key
        try:
            if copy.entry.kind is Kind.DIRECTORY:
                with self._tree.directory(key, self._new_directories):
                    return Staged(copy, "", copy.entry.etag or "", None)
            with self._tree.parent(key, self._new_directories) as (directory, _):
                token = keys.TEMPORARY + secrets.token_hex(8)
                self._write(directory, token, copy.entry, content)
        except OSError as error:
            raise translated(error, key) from error
        return Staged(copy, content.verified, copy.entry.etag or "", None, token)

    def _write(self, directory: int, token: str, entry: Entry, content: Content) -> None:
        fd = create_file(directory, token)
        try:
            if entry.size >= _WORTH_RESERVING:
                reserve(fd, entry.size)
            written = 0
            for chunk in content.chunks():
                write_all(fd, chunk)
                written += len(chunk)
            if written != entry.size:
                raise IntegrityError(
                    f'"{entry.key}": got {written} bytes, expected {entry.size}'
                )
            self._dress(fd, content.attributes)
        except BaseException:
            os.unlink(token, dir_fd=directory)
            raise
        finally:
            os.close(fd)

    def _dress(self, fd: int, attributes: Attributes) -> None:
        """Give a file its owner, mode and time on its descriptor, before anybody sees it (hazard F34)."""
        if self._options.owner != ANYBODY:
            os.fchown(fd, *self._options.owner)
        mode = self._options.file_mode if attributes.mode is None else attributes.mode & 0o777
        os.fchmod(fd, mode)
        if attributes.mtime_ns is not None:
            os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Rename the temporary files to their names, between two syncs where durability was asked for."""
        directories = [each for each in staged if not each.token]
        files = sorted((each for each in staged if each.token), key=_place)
        try:
            self._sync_files(files)
        except OSError as error:
            yield from (self._given_up(each, error) for each in files)
            files = []
        inodes: dict[str, int] = {}
        for directory, group in itertools.groupby(files, key=_place):
            yield from self._move_in(directory, list(group), inodes)
        moved = [each for each in files if each.copy.entry.key in inodes]
        try:
            self._sync_names([*moved, *directories])
        except OSError as error:
            # They show, but may not outlive a power cut: the index must not claim them.
            yield from (Published(each, None, _translated(error, each)) for each in moved)
            moved = []
        time.sleep(_CLOCK_TICK_SECONDS if moved else 0)
        yield from (Published(each, None) for each in directories)
        for directory, group in itertools.groupby(moved, key=_place):
            yield from self._stamp(directory, list(group), inodes)

    def _given_up(self, staged: Staged, error: OSError) -> Published:
        self.discard(staged)
        return Published(staged, None, _translated(error, staged))

    def _sync_files(self, staged: Sequence[Staged]) -> None:
        if not self._options.durable:
            return
        if len(staged) > _FEW and sync_file_system(self._tree.fd):
            return
        for each in staged:
            with self._tree.directory(_place(each)) as directory:
                fd = os.open(each.token, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _sync_names(self, staged: Sequence[Staged]) -> None:
        """Make the new names durable, and those of directories that may be new."""
        if not self._options.durable or not staged:
            return
        places = {_place(each) for each in staged}
        above = {name for each in staged for name in keys.ancestors(each.copy.entry.key)}
        above |= {each.copy.entry.key for each in staged if not each.token}
        fresh = above - self._durable_directories
        places |= {keys.parent(name) for name in fresh}
        if len(places) <= _FEW or not sync_file_system(self._tree.fd):
            for place in places:
                with self._tree.directory(place) as directory:
                    sync_directory(directory)
        self._durable_directories |= fresh

    def _move_in(
        self, place: str, staged: Sequence[Staged], inodes: dict[str, int]
    ) -> Iterator[Published]:
        """Rename one directory's temporary files; note the inodes of those that moved, yield those that could not."""
        for each in staged:
            try:
                with self._tree.directory(place) as directory:
                    inodes[each.copy.entry.key] = self._replace(directory, each)
            except EntryError as error:
                self.discard(each)
                yield Published(each, None, error)
            except OSError as error:
                yield self._given_up(each, error)

    def _replace(self, directory: int, staged: Staged) -> int:
        entry, replaced = staged.copy.entry, staged.copy.replaces
        name = entry.key.rpartition("/")[2]
        if replaced is None or replaced.etag is None or replaced.kind is not Kind.FILE:
            self._trash.keep(directory, name, entry.key)
        inode = os.stat(staged.token, dir_fd=directory, follow_symlinks=False).st_ino
        os.rename(staged.token, name, src_dir_fd=directory, dst_dir_fd=directory)
        return inode

    def _stamp(
        self, place: str, staged: Sequence[Staged], inodes: dict[str, int]
    ) -> Iterator[Published]:
        """Take the stamps of published files, once the clock has left the moment of their renaming.

        A later edit then has another ctime, even when it restores the mtime (hazard F41).
        """
        for each in staged:
            key = each.copy.entry.key
            try:
                with self._tree.directory(place) as directory:
                    name = key.rpartition("/")[2]
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except OSError:
                yield Published(each, None)
                continue
            stamp = stamp_of(status)
            same = status.st_ino == inodes[key] and status.st_size == each.copy.entry.size
            yield Published(each, stamp if same and not _may_hide_an_edit(stamp) else None)

    # --- remove ---

    def discard(self, staged: Staged) -> None:
        """Remove a temporary file."""
        if staged.token:
            with (
                contextlib.suppress(FileNotFoundError),
                self._tree.parent(staged.copy.entry.key) as (directory, _),
            ):
                os.unlink(staged.token, dir_fd=directory)

    def delete(self, entry: Entry) -> bool:
        """Move a file or link to the trash; remove a directory if it is empty."""
        try:
            with self._tree.parent(entry.key) as (directory, name):
                if entry.kind is Kind.DIRECTORY:
                    return _remove_empty(directory, name)
                self._trash.take(directory, name, entry.key)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise translated(error, entry.key) from error
        return True

    def sweep(self) -> int:
        """Remove the temporary files that the scan met, which a killed pass left; give their number."""
        removed = 0
        for key in self._leftovers:
            with (
                contextlib.suppress(OSError),
                self._tree.parent(key) as (directory, name),
            ):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and os.geteuid() in (0, status.st_uid):
                    os.unlink(name, dir_fd=directory)
                    removed += 1
        self._leftovers.clear()
        return removed

    def make_durable(self) -> None:
        """Put on the disk what others wrote and the index is about to vouch for."""
        try:
            if self._options.durable:
                sync_file_system(self._tree.fd)
        except OSError as error:
            raise translated(error, "") from error

    def prune_trash(self, now: datetime) -> int:
        """Remove what the trash has kept long enough; give the number of passes whose trash went."""
        try:
            return self._trash.prune(now)
        except OSError as error:
            raise translated(error, keys.TRASH) from error

    def make_room(self) -> bool:
        """Give up the trash, since the disk is short; tell whether there was any."""
        with contextlib.suppress(OSError):
            return self._trash.give_up()
        return False


class _Level:
    """A directory in a walk: its descriptor, and the names in it that are still to come."""

    def __init__(self, fd: int, prefix: str) -> None:
        self.fd = fd
        self.prefix = prefix
        self.names: Iterator[str] = iter(())

    def read(self) -> None:
        """Read the names in key order: a directory sorts with its slash, `a-b` before `a/b` before `a0`.

        Raises:
            OSError: they cannot be read.
        """
        with os.scandir(self.fd) as found:
            names = [
                f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name
                for each in found
            ]
        names.sort()
        self.names = iter(names)

    def close(self) -> None:
        os.close(self.fd)


class _Descent(NamedTuple):
    """What entering a directory gave."""

    found: tuple[Entry | Problem, Stamp | None]
    level: _Level | None = None


class _FileContent:
    """The bytes of an open file."""

    verified = ""

    def __init__(self, fd: int, entry: Entry) -> None:
        self._fd = fd
        self._entry = entry
        status = os.fstat(fd)
        self.stamp = stamp_of(status)
        self.attributes = Attributes(status.st_mtime_ns, stat.S_IMODE(status.st_mode) & 0o777)
        if status.st_size != entry.size:
            raise SourceChanged(f'"{entry.key}" changed after it was listed')

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; the stamp must be the same before and after (hazard X30)."""
        while chunk := os.read(self._fd, _CHUNK):
            yield chunk
        if stamp_of(os.fstat(self._fd)) != self.stamp:
            raise SourceChanged(f'"{self._entry.key}" changed while it was read')


def _place(staged: Staged) -> str:
    return keys.parent(staged.copy.entry.key)


def _translated(error: OSError, staged: Staged) -> AgentError:
    return translated(error, staged.copy.entry.key)


def _may_hide_an_edit(stamp: Stamp) -> bool:
    """Tell whether the file system's times are so coarse that an edit right now would not show."""
    whole_seconds = stamp.ctime_ns % 1_000_000_000 == 0
    return whole_seconds and time.time_ns() - stamp.ctime_ns < _COARSE_TICK_NS


def _remove_empty(directory: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False  # somebody put something in it: the next pass looks again
        raise
    return True
