"""A local directory as a target: take entries in whole, give up what is not wanted. POSIX only.

What shows under an entry's own name is always a whole version, since bytes are written to a temporary file in the same
directory and renamed once they are proven and, where asked for, on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from s32s_agent.config.settings import SyncSettings
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DirectoryError,
    EntryError,
    IntegrityError,
    LockHeld,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, IndexRow, Kind
from s32s_agent.plan import keys
from s32s_agent.stores.base import Attributes, Content, Published, RangedContent, Staged
from s32s_agent.stores.local import partial_downloads
from s32s_agent.stores.local.files import OpenFile, create_file, have_same_bytes, write_all
from s32s_agent.stores.local.last_batch import LastBatch
from s32s_agent.stores.local.owners import UNCHANGED, Owner, find_owner
from s32s_agent.stores.local.source import (
    CLOCK_TICK_NS,
    LocalSource,
    may_hide_an_edit,
    stamp_of,
)
from s32s_agent.stores.local.syscalls import preallocate, sync_directory, sync_file_system
from s32s_agent.stores.local.translate import translate
from s32s_agent.stores.local.trash import Trash
from s32s_agent.stores.local.tree import NewDirectories, Tree, reject_dots

_WORTH_RESERVING = 1 << 20
"""Bytes from which on claiming disk space beforehand is worth a system call."""
_PASSING = (Cancelled, StoreUnavailable, AccessDenied)
"""After these, what came of a large entry is as good as it was."""
_FEW = 4
"""Up to so many files, syncing each is cheaper than syncing the file system."""


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a local directory is written."""

    run_id: str
    durable: bool = True
    trash_days: float = 7
    file_mode: int = 0o644
    dir_mode: int = 0o755
    owner: Owner = UNCHANGED


class IndexReader(Protocol):
    """What the index knows of a directory."""

    def rows(self) -> Iterable[IndexRow]:
        """Give every row in key order, anew at each call."""

    def row(self, key: str) -> IndexRow | None:
        """Give the row of a key."""


def open_target(
    place: str,
    index: IndexReader,
    settings: SyncSettings,
    run_id: str,
    *,
    trust_index: bool = True,
    notes: Path | None = None,
) -> LocalTarget:
    """Open a directory to be written as the settings say; closed by closing the store.

    Args:
        place: the directory, its links resolved.
        index: what is known of it.
        settings: how it is written.
        run_id: the pass.
        trust_index: False makes every file one that nothing vouches for (`--verify`).
        notes: where batches are noted, see `LastBatch`; None for nowhere.

    Raises:
        DirectoryError: it cannot be opened.
        ConfigError: `sync.owner` is not known here.
    """
    options = LocalOptions(
        run_id,
        settings.durable,
        settings.trash_days,
        settings.file_mode,
        settings.dir_mode,
        find_owner(settings.owner),
    )
    try:
        tree = Tree(place, create=NewDirectories(options.dir_mode, options.owner))
    except FileNotFoundError as error:
        parent = place.rpartition("/")[0]
        remedy = "make it, or mount what should be there"
        raise DirectoryError(f'"{parent}" does not exist', remedy=remedy) from error
    except OSError as error:
        raise DirectoryError(f'"{place}": {error.strerror}') from error
    last_batch = LastBatch.of(place, notes) if notes else None
    return LocalTarget(tree, index, options, trust_index=trust_index, last_batch=last_batch)


class LocalTarget(LocalSource):
    """A directory that is read and written.

    Args:
        tree: the directory, held open; closed with the store.
        index: what is known of it.
        options: how it is written.
        trust_index: False makes every file one that nothing vouches for (`--verify`).
        last_batch: what the pass before installed at its end; None keeps no note of that.
    """

    publishes_on_put = False

    def __init__(
        self,
        tree: Tree,
        index: IndexReader,
        options: LocalOptions,
        *,
        trust_index: bool = True,
        last_batch: LastBatch | None = None,
    ) -> None:
        super().__init__(tree, index.rows, trust_index=trust_index)
        self._index = index
        self._tree = tree
        self._last_batch = last_batch or LastBatch()
        self._options = options
        self._trash = Trash(tree, options.run_id, options.trash_days)
        self._new_directories = NewDirectories(options.dir_mode, options.owner)
        self._durable_directories: set[str] = set()
        self._kept: dict[str, str] = {}
        """What is left of interrupted downloads: by key, the name of the temporary file."""
        self._aside: dict[str, str] = {}
        """By key, the directory in which a blocked entry's temporary file waits, where it is not the entry's own."""

    def lock(self) -> None:
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

    # --- write ---

    def put(self, copy: Copy, content: Content) -> Staged:
        """Write the bytes to a temporary file beside the entry's place; make a directory at once."""
        key = copy.entry.key
        try:
            if copy.entry.kind is Kind.DIRECTORY:
                with self._tree.directory(key, self._new_directories):
                    return Staged(copy, "", copy.entry.etag or "", None)
            reject_dots(key)
            place = self._nearest(key) if copy.blocked else keys.parent(key)
            make = None if copy.blocked else self._new_directories
            with self._tree.directory(place, make) as directory:
                token = self._write(directory, copy.entry, content)
                self._forget_other(directory, key, token)
            if place != keys.parent(key):
                self._aside[key] = place
        except OSError as error:
            raise translate(error, key) from error
        return Staged(copy, content.verified, copy.entry.etag or "", None, token)

    def _nearest(self, key: str) -> str:
        """Give the innermost directory above a key that is there already."""
        for place in reversed([*keys.ancestors(key)]):
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                self._tree.directory(place),
            ):
                return place
        return ""

    def _write(self, directory: int, entry: Entry, content: Content) -> str:
        """Write a temporary file; give its name."""
        fd, token, kept = self._open_temporary(directory, entry, content)
        try:
            if entry.size >= _WORTH_RESERVING:
                preallocate(fd, entry.size)
            if isinstance(content, RangedContent):
                content.fill(OpenFile(fd, to_disk=self._options.durable), kept)
            else:
                for chunk in content.chunks():
                    write_all(fd, chunk)
            written = os.fstat(fd).st_size
            if written != entry.size:
                raise IntegrityError(
                    f'"{entry.key}": got {written} bytes, expected {entry.size}'
                )
            self._dress(fd, content.attributes)
        except BaseException as error:
            if partial_downloads.is_one(token) and isinstance(error, _PASSING):
                self._kept[entry.key] = token
            else:
                os.unlink(token, dir_fd=directory)
            raise
        finally:
            os.close(fd)
        return token

    def _open_temporary(
        self, directory: int, entry: Entry, content: Content
    ) -> tuple[int, str, int]:
        """Open a temporary file; give its descriptor, its name, and how many bytes of the entry it has already."""
        token = keys.TEMPORARY + secrets.token_hex(8)
        if isinstance(content, RangedContent):
            name = partial_downloads.name_of(entry)
            users = os.geteuid(), self._options.owner.user
            try:
                fd, kept = partial_downloads.open_again(directory, name, entry.size, users)
            except FileNotFoundError:
                token = name
            except FileExistsError:
                pass  # what is in its place is nobody's: another name does as well
            else:
                return fd, name, kept
        return create_file(directory, token), token, 0

    def _forget_other(self, directory: int, key: str, token: str) -> None:
        """Remove what was kept of a key, now that it is there by another way, or in another version."""
        kept = self._kept.pop(key, token)
        if kept != token:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(kept, dir_fd=directory)

    def _dress(self, fd: int, attributes: Attributes) -> None:
        """Give a file its owner, mode and time on its descriptor, before anybody sees it."""
        if self._options.owner != UNCHANGED:
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
        for each in [each for each in files if each.copy.entry.key in self._aside]:
            try:
                self._bring_in(each)
            except OSError as error:
                yield self._given_up(each, error)
                files.remove(each)
        self._last_batch.note({each.copy.entry.key: each.etag for each in files})
        inodes: dict[str, tuple[int, ...]] = {}
        for directory, group in itertools.groupby(files, key=_place):
            yield from self._move_in(directory, list(group), inodes)
        moved = [each for each in files if each.copy.entry.key in inodes]
        try:
            self._sync_names([*moved, *directories])
        except OSError as error:
            # They show, but may not outlive a power cut: the index must not claim them.
            yield from (Published(each, None, _translated_for(error, each)) for each in moved)
            moved = []
        time.sleep(CLOCK_TICK_NS / 1e9 if moved else 0)
        yield from (Published(each, None) for each in directories)
        for directory, group in itertools.groupby(moved, key=_place):
            yield from self._stamp(directory, list(group), inodes)

    def _bring_in(self, staged: Staged) -> None:
        """Move a temporary file to its entry's directory, which may not have been one when it was written."""
        key, name = staged.copy.entry.key, staged.token
        with (
            self._tree.directory(self._aside[key]) as aside,
            self._tree.directory(keys.parent(key), self._new_directories) as directory,
        ):
            os.rename(name, name, src_dir_fd=aside, dst_dir_fd=directory)
        del self._aside[key]

    def _at(self, staged: Staged) -> str:
        """Give the directory in which the temporary file of an entry is."""
        return self._aside.get(staged.copy.entry.key, _place(staged))

    def _given_up(self, staged: Staged, error: OSError) -> Published:
        self._unlink(staged)
        return Published(staged, None, _translated_for(error, staged))

    def _sync_files(self, staged: Sequence[Staged]) -> None:
        if not self._options.durable:
            return
        if len(staged) > _FEW and sync_file_system(self._tree.fd):
            return
        for each in staged:
            with self._tree.directory(self._at(each)) as directory:
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
        trash = self._trash.unsynced()
        if len(trash) + len(places) <= _FEW or not sync_file_system(self._tree.fd):
            for place in trash:
                # The trash may have been given up meanwhile.
                with contextlib.suppress(FileNotFoundError), self._tree.directory(place) as fd:
                    sync_directory(fd)
            for place in places:
                with self._tree.directory(place) as directory:
                    sync_directory(directory)
        self._durable_directories |= fresh

    def _move_in(
        self, place: str, staged: Sequence[Staged], inodes: dict[str, tuple[int, ...]]
    ) -> list[Published]:
        """Rename one directory's temporary files; note the inodes of those that moved, give those that could not."""
        failed = []
        try:
            with self._tree.directory(place) as directory:
                for each in staged:
                    try:
                        inodes[each.copy.entry.key] = self._replace(directory, each)
                    except EntryError as error:
                        self._unlink(each)
                        failed.append(Published(each, None, error))
                    except OSError as error:
                        failed.append(self._given_up(each, error))
        except OSError as error:
            failed = [self._given_up(each, error) for each in staged]
        return failed

    def _replace(self, directory: int, staged: Staged) -> tuple[int, ...]:
        """Rename a temporary file to its name; give what of its stat a rename leaves alone."""
        name = staged.copy.entry.key.rpartition("/")[2]
        is_known = self._is_our_own(directory, name, staged.copy.replaces)
        if not (is_known or have_same_bytes(directory, name, staged.token)):
            self._trash.keep(directory, name, staged.copy.entry.key)
        status = os.stat(staged.token, dir_fd=directory, follow_symlinks=False)
        os.rename(staged.token, name, src_dir_fd=directory, dst_dir_fd=directory)
        return _lasting(status)

    def _is_our_own(self, directory: int, name: str, replaced: Entry | None) -> bool:
        """Tell whether what is at a name is a version that the agent installed, and nobody touched since.

        No clock is asked for that: one that is set back makes an edit look older than the scan.
        """
        if replaced is None or replaced.kind is not Kind.FILE:
            return False
        if replaced.etag is None:
            return self._last_batch.installed(directory, name, replaced.key)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        # The scan found the stamp of the index, or it would have given no ETag.
        row = self._index.row(replaced.key)
        return row is not None and row.stamp == stamp_of(status)

    def _stamp(
        self, place: str, staged: Sequence[Staged], inodes: dict[str, tuple[int, ...]]
    ) -> list[Published]:
        """Take the stamps of published files, once the clock has left the moment of their renaming.

        A later edit then has another ctime, even when it restores the mtime.
        """
        try:
            with self._tree.directory(place) as directory:
                return [
                    _stamped(directory, each, inodes[each.copy.entry.key]) for each in staged
                ]
        except OSError:
            return [Published(each, None) for each in staged]

    # --- remove ---

    def discard(self, staged: Staged) -> None:
        """Remove a temporary file, unless a later pass can go on with it."""
        if not partial_downloads.is_one(staged.token):
            self._unlink(staged)

    def _unlink(self, staged: Staged) -> None:
        """Remove a temporary file; one that is out of reach is left to the next sweep."""
        if staged.token:
            with (
                contextlib.suppress(OSError),
                self._tree.directory(self._at(staged)) as directory,
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
            raise translate(error, entry.key) from error
        return True

    def remove_leftovers(
        self, leftovers: Sequence[str] = (), copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        """Remove the temporary files that the scan met, which a killed run left; return by key what prevents it."""
        wanted = partial_downloads.to_go_on_with(copies) if leftovers else {}
        hindered = {}
        for place in leftovers:
            if place in wanted:
                self._kept[wanted[place]] = place.rpartition("/")[2]
                continue
            try:
                self._remove_leftover(place)
            except FileNotFoundError:
                continue
            except OSError as error:
                hindered[place] = translate(error, place)
        return hindered

    def _remove_leftover(self, place: str) -> None:
        with self._tree.parent(place) as (directory, name):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and os.geteuid() in (0, status.st_uid):
                os.unlink(name, dir_fd=directory)

    def make_durable(self) -> None:
        """Put on the disk what others wrote and the index is about to vouch for."""
        try:
            if self._options.durable:
                sync_file_system(self._tree.fd)
        except OSError as error:
            raise translate(error, "") from error

    def prune(self, now: datetime) -> None:
        """Remove what the trash has kept long enough."""
        try:
            self._trash.prune(now)
        except OSError as error:
            raise translate(error, keys.TRASH) from error

    def free_space(self) -> bool:
        """Give up the trash, since the disk is short; tell whether there was any."""
        with contextlib.suppress(OSError):
            return self._trash.give_up()
        return False


def _lasting(status: os.stat_result) -> tuple[int, ...]:
    """Take from a stat what an edit changes and a rename does not."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamped(directory: int, staged: Staged, moved: tuple[int, ...]) -> Published:
    name = staged.copy.entry.key.rpartition("/")[2]
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return Published(staged, None)
    stamp = stamp_of(status)
    same = _lasting(status) == moved
    return Published(staged, stamp if same and not may_hide_an_edit(stamp) else None)


def _place(staged: Staged) -> str:
    return keys.parent(staged.copy.entry.key)


def _translated_for(error: OSError, staged: Staged) -> AgentError:
    return translate(error, staged.copy.entry.key)


def _remove_empty(directory: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False  # somebody put something in it: the next pass looks again
        raise
    return True
