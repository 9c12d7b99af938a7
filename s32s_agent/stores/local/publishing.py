"""Show staged files under their own names, whole and durably. POSIX only.

The bytes of a batch are synced, the temporary files renamed, and the new names synced; only then the index may vouch
for them. One sync of the file system serves a batch that would need many of single files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import stat
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Protocol, TypeAlias

from s32s_agent.errors import AgentError
from s32s_agent.model import Entry, IndexRow, Kind
from s32s_agent.plan import keys
from s32s_agent.stores.base import Published, Staged
from s32s_agent.stores.local.files import have_same_bytes
from s32s_agent.stores.local.last_batch import LastBatch
from s32s_agent.stores.local.stamps import CLOCK_TICK_NS, may_hide_an_edit, stamp_of
from s32s_agent.stores.local.syscalls import sync_directory, sync_file_system
from s32s_agent.stores.local.translate import translate
from s32s_agent.stores.local.trash import Trash
from s32s_agent.stores.local.tree import NewDirectories, Tree

_FEW = 4
"""Up to so many files, syncing each is cheaper than syncing the file system."""

_Content: TypeAlias = "tuple[int, int, int]"
"""Inode, size and mtime: what an edit changes and a rename does not."""


class RowLookup(Protocol):
    """The index, asked for single files."""

    def row(self, key: str) -> IndexRow | None:
        """Return the row of a key."""


class Publisher:
    """Publishes the staged entries of one directory.

    Args:
        tree: the directory.
        index: what the agent installed in it.
        trash: where files go that are replaced and that the agent did not install.
        last_batch: where each batch is noted before its files show.
        new_directories: how missing directories are created.
        durable: sync what is published.
    """

    def __init__(
        self,
        tree: Tree,
        index: RowLookup,
        trash: Trash,
        last_batch: LastBatch,
        new_directories: NewDirectories,
        *,
        durable: bool,
    ) -> None:
        self._tree = tree
        self._index = index
        self._trash = trash
        self._last_batch = last_batch
        self._new_directories = new_directories
        self._durable = durable
        self._durable_directories: set[str] = set()
        """The keys of directories whose names have been synced."""

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Rename the temporary files to their names, between two syncs where durability is asked for.

        The token of a staged file is the key of its temporary file; that of a directory, which exists already, "".
        """
        directories = [each for each in staged if not each.token]
        files = sorted((each for each in staged if each.token), key=_directory_of)
        files = yield from self._sync_files(files)
        files = yield from self._move_to_directories(files)
        self._last_batch.note({each.copy.entry.key: each.etag for each in files})
        moved: dict[str, _Content] = {}
        for directory, group in itertools.groupby(files, key=_directory_of):
            yield from self._rename_in(directory, list(group), moved)
        files = [each for each in files if each.copy.entry.key in moved]
        try:
            self._sync_names([*files, *directories])
        except OSError as error:
            # They show, but may not survive a power cut: the index must not vouch for them.
            yield from (Published(each, None, _translated(error, each)) for each in files)
            files = []
        time.sleep(CLOCK_TICK_NS / 1e9 if files else 0)
        yield from (Published(each, None) for each in directories)
        for directory, group in itertools.groupby(files, key=_directory_of):
            yield from self._stamp_in(directory, list(group), moved)

    def _sync_files(
        self, staged: Sequence[Staged]
    ) -> Generator[Published, None, list[Staged]]:
        """Make the bytes of temporary files durable; return those of which they are."""
        if not self._durable:
            return list(staged)
        try:
            if len(staged) > _FEW and sync_file_system(self._tree.fd):
                return list(staged)
        except OSError as error:
            yield from (self._failed(each, error) for each in staged)
            return []
        synced = []
        for each in staged:
            try:
                self._sync_file(each)
            except OSError as error:
                yield self._failed(each, error)
            else:
                synced.append(each)
        return synced

    def _sync_file(self, staged: Staged) -> None:
        with self._tree.parent(staged.token) as (directory, name):
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if not mode & stat.S_IRUSR:
                return  # whoever wrote it has synced it, since only root could open it now
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _move_to_directories(
        self, staged: Sequence[Staged]
    ) -> Generator[Published, None, list[Staged]]:
        """Move temporary files to the directories of their entries, which a blocked entry may not have had before."""
        moved = []
        for each in staged:
            try:
                moved.append(self._move_to_directory(each))
            except OSError as error:
                yield self._failed(each, error)
        return moved

    def _move_to_directory(self, staged: Staged) -> Staged:
        target = _directory_of(staged)
        if keys.parent(staged.token) == target:
            return staged
        with (
            self._tree.parent(staged.token) as (source, name),
            self._tree.directory(target, self._new_directories) as directory,
        ):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=directory)
        return dataclasses.replace(staged, token=target + name)

    def _rename_in(
        self, directory: str, staged: Sequence[Staged], moved: dict[str, _Content]
    ) -> list[Published]:
        """Rename one directory's temporary files; add those that moved to `moved`, and return those that failed."""
        failed = []
        try:
            with self._tree.directory(directory) as fd:
                for each in staged:
                    try:
                        moved[each.copy.entry.key] = self._rename(fd, each)
                    except (AgentError, OSError) as error:
                        failed.append(self._failed(each, error))
        except OSError as error:
            failed = [self._failed(each, error) for each in staged]
        return failed

    def _rename(self, directory: int, staged: Staged) -> _Content:
        """Rename a temporary file to its name; what is replaced goes to the trash unless the agent installed it."""
        name, temporary = _last_part(staged.copy.entry.key), _last_part(staged.token)
        is_ours = self._is_ours(directory, name, staged.copy.replaces)
        if not (is_ours or have_same_bytes(directory, name, temporary)):
            self._trash.keep(directory, name, staged.copy.entry.key)
        status = os.stat(temporary, dir_fd=directory, follow_symlinks=False)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        return _content_of(status)

    def _is_ours(self, directory: int, name: str, replaced: Entry | None) -> bool:
        """Return whether a file is a version that the agent installed, and that no other program changed since.

        No clock is used for that: after it was set back, an edit looks older than the scan.
        """
        if replaced is None or replaced.kind is not Kind.FILE:
            return False
        if replaced.etag is None:
            return self._last_batch.installed(directory, name, replaced.key)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        # The scan found the stamp of the index, or the entry would have no ETag.
        row = self._index.row(replaced.key)
        return row is not None and row.stamp == stamp_of(status)

    def _sync_names(self, staged: Sequence[Staged]) -> None:
        """Make the new names durable, and those of directories that may be new."""
        if not self._durable or not staged:
            return
        directories = {_directory_of(each) for each in staged}
        above = {name for each in staged for name in keys.ancestors(each.copy.entry.key)}
        above |= {each.copy.entry.key for each in staged if not each.token}
        new = above - self._durable_directories
        directories |= {keys.parent(name) for name in new}
        trash = self._trash.unsynced()
        if len(trash) + len(directories) <= _FEW or not sync_file_system(self._tree.fd):
            for each in trash:
                # The trash may have been removed meanwhile.
                with contextlib.suppress(FileNotFoundError), self._tree.directory(each) as fd:
                    sync_directory(fd)
            for each in directories:
                with self._tree.directory(each) as fd:
                    sync_directory(fd)
        self._durable_directories |= new

    def _stamp_in(
        self, directory: str, staged: Sequence[Staged], moved: dict[str, _Content]
    ) -> list[Published]:
        """Return published files with their stamps, once the clock has left the moment of their renaming.

        A later edit then has another ctime, even when it restores the mtime.
        """
        try:
            with self._tree.directory(directory) as fd:
                return [_stamped(fd, each, moved[each.copy.entry.key]) for each in staged]
        except OSError:
            return [Published(each, None) for each in staged]

    def _failed(self, staged: Staged, error: Exception) -> Published:
        """Remove the temporary file of an entry that could not be published."""
        remove_temporary(self._tree, staged)
        known = _translated(error, staged) if isinstance(error, OSError) else error
        return Published(staged, None, known)


def remove_temporary(tree: Tree, staged: Staged) -> None:
    """Remove the temporary file of a staged entry; one that cannot be removed is a leftover for the next run."""
    if staged.token:
        with contextlib.suppress(OSError), tree.parent(staged.token) as (directory, name):
            os.unlink(name, dir_fd=directory)


def _content_of(status: os.stat_result) -> _Content:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamped(directory: int, staged: Staged, moved: _Content) -> Published:
    try:
        name = _last_part(staged.copy.entry.key)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return Published(staged, None)
    stamp = stamp_of(status)
    same = _content_of(status) == moved
    return Published(staged, stamp if same and not may_hide_an_edit(stamp) else None)


def _directory_of(staged: Staged) -> str:
    return keys.parent(staged.copy.entry.key)


def _last_part(key: str) -> str:
    return key.rpartition("/")[2]


def _translated(error: OSError, staged: Staged) -> AgentError:
    return translate(error, staged.copy.entry.key)
