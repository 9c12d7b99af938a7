"""A local directory as a target: stage entries beside their names, publish them, remove what is not wanted. POSIX only.

What shows under an entry's own name is always a whole version: bytes are written to a temporary file, and it is
renamed once they are proven and, where asked for, on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.config.option_forms import Modes
from s32s_agent.config.settings import SyncSettings
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    DirectoryError,
    IntegrityError,
    LockHeld,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, IndexRow, Kind
from s32s_agent.plan import keys
from s32s_agent.stores.base import (
    NO_HINTS,
    Attributes,
    Content,
    Published,
    RangedContent,
    Scan,
    ScanHints,
    Staged,
)
from s32s_agent.stores.local import partial_downloads
from s32s_agent.stores.local.content import open_content
from s32s_agent.stores.local.files import OpenFile, create_file, is_refused, write_all
from s32s_agent.stores.local.last_batch import LastBatch
from s32s_agent.stores.local.listing import list_directory
from s32s_agent.stores.local.owners import UNCHANGED, Owner, find_owner
from s32s_agent.stores.local.publishing import Publisher, RowLookup, remove_temporary
from s32s_agent.stores.local.syscalls import preallocate, sync_file_system
from s32s_agent.stores.local.translate import translate
from s32s_agent.stores.local.trash import Trash
from s32s_agent.stores.local.tree import NewDirectories, Tree, reject_dots
from s32s_agent.stores.local.walk import Walk

_PREALLOCATE_FROM = 1 << 20
"""Bytes from which on reserving disk space beforehand is worth a system call."""
_INTERRUPTIONS = (Cancelled, StoreUnavailable, AccessDenied)
"""Errors after which the bytes that were received of a large entry are still good."""


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a local directory is written."""

    run_id: str
    durable: bool = True
    trash_days: float = 7
    restores_modes: bool = True
    """Whether a file has the mode that its object carries."""
    file_mode: int = 0o644
    dir_mode: int = 0o755
    owner: Owner = UNCHANGED

    @property
    def new_directories(self) -> NewDirectories:
        """How directories are created."""
        return NewDirectories(self.dir_mode, self.owner)


class IndexReader(RowLookup, Protocol):
    """What the index knows of a directory."""

    def rows(self) -> Iterable[IndexRow]:
        """Return every row in key order, from the first one at each call."""


def open_target(
    directory: str,
    index: IndexReader,
    settings: SyncSettings,
    run_id: str,
    *,
    trust_index: bool = True,
    notes: Path | None = None,
) -> LocalTarget:
    """Open a directory to be written as the settings say; closing the target closes it.

    Args:
        directory: its path, the links in it resolved.
        index: what is known of it.
        settings: how it is written.
        run_id: the run's name, for the trash.
        trust_index: False treats every file as edited (`--verify`).
        notes: the directory for notes about batches, see `LastBatch`; None keeps none.

    Raises:
        DirectoryError: it cannot be opened.
        ConfigError: `sync.owner` is not known here.
    """
    options = LocalOptions(
        run_id,
        settings.durable,
        settings.trash_days,
        settings.modes is Modes.RESTORE,
        settings.file_mode,
        settings.dir_mode,
        find_owner(settings.owner),
    )
    try:
        tree = Tree(directory, create=options.new_directories)
    except FileNotFoundError as error:
        parent = directory.rpartition("/")[0]
        remedy = "create it, or mount its file system"
        raise DirectoryError(f'"{parent}" does not exist', remedy=remedy) from error
    except OSError as error:
        raise DirectoryError(f'"{directory}": {error.strerror}') from error
    last_batch = LastBatch.of(directory, notes) if notes else None
    return LocalTarget(tree, index, options, trust_index=trust_index, last_batch=last_batch)


class LocalTarget:
    """A directory that is listed against the index and written.

    Args:
        tree: the directory, held open; closed with the target.
        index: what is known of it.
        options: how it is written.
        trust_index: False treats every file as edited (`--verify`).
        last_batch: what the run before installed last; None keeps no note of that.
    """

    publishes_on_put = False
    deletes_at_once = 1

    def __init__(
        self,
        tree: Tree,
        index: IndexReader,
        options: LocalOptions,
        *,
        trust_index: bool = True,
        last_batch: LastBatch | None = None,
    ) -> None:
        self._tree = tree
        self._index = index
        self._options = options
        self._trust_index = trust_index
        self._refused: set[str] = set()
        """The kinds of attributes that the file system does not take."""
        self._trash = Trash(tree, options.run_id, options.trash_days)
        self._publisher = Publisher(
            tree,
            index,
            self._trash,
            last_batch or LastBatch(),
            options.new_directories,
            durable=options.durable,
        )
        self._partial: dict[str, str] = {}
        """By the key of an entry, the key of the file that holds an interrupted download of it."""

    def close(self) -> None:
        """Close the directory."""
        self._tree.close()

    def lock(self) -> None:
        """Lock the directory against every other run, whatever its config and state, until `close`.

        Raises:
            LockHeld: another run is active in it.
        """
        try:
            fcntl.flock(self._tree.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"{self._tree.path}: locked by another run") from None
        except OSError:
            # Some network file systems cannot lock a directory; the lock on the state still holds.
            return

    # --- read ---

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:  # noqa: ARG002 - nothing mounted is entered
        """Yield what is there in key order, each file with the ETag that the index vouches for."""
        walk = Walk(self._tree)
        return Scan(list_directory(walk, self._index.rows, trust_index=self._trust_index))

    def open(self, entry: Entry) -> AbstractContextManager[Content]:
        """Open a file, to be compared; what is read is one version, or `SourceChanged`."""
        return open_content(lambda: self._tree.read(entry.key), entry)

    # --- write ---

    def put(self, copy: Copy, content: Content, _heartbeat: Heartbeat = UNWATCHED) -> Staged:
        """Write the bytes to a temporary file in the entry's directory; create a directory at once."""
        key = copy.entry.key
        try:
            if copy.entry.kind is Kind.DIRECTORY:
                with self._tree.directory(key, self._options.new_directories):
                    return Staged(copy, "", copy.entry.etag or "", None)
            reject_dots(key)
            parent = self._nearest(key) if copy.blocked else keys.parent(key)
            create = None if copy.blocked else self._options.new_directories
            with self._tree.directory(parent, create) as directory:
                token = self._write(directory, parent, copy.entry, content)
            self._remove_other_partial(key, token)
        except OSError as error:
            raise translate(error, key) from error
        return Staged(copy, content.verified, copy.entry.etag or "", None, token)

    def _nearest(self, key: str) -> str:
        """Return the innermost directory above a key that exists."""
        for parent in reversed([*keys.ancestors(key)]):
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                self._tree.directory(parent),
            ):
                return parent
        return ""

    def _write(self, directory: int, parent: str, entry: Entry, content: Content) -> str:
        """Write a temporary file; return its key."""
        fd, name, kept = self._open_temporary(directory, entry, content)
        try:
            if entry.size >= _PREALLOCATE_FROM:
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
            self._set_attributes(fd, content.attributes)
        except BaseException as error:
            if partial_downloads.is_partial(name) and isinstance(error, _INTERRUPTIONS):
                self._partial[entry.key] = parent + name
            else:
                os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(fd)
        return parent + name

    def _open_temporary(
        self, directory: int, entry: Entry, content: Content
    ) -> tuple[int, str, int]:
        """Open a temporary file; return its descriptor, its name, and how many bytes of the entry it already has."""
        random = keys.TEMPORARY + secrets.token_hex(8)
        if not isinstance(content, RangedContent):
            return create_file(directory, random), random, 0
        name = partial_downloads.name_of(entry)
        users = os.geteuid(), self._options.owner.user
        try:
            fd, kept = partial_downloads.reopen(directory, name, entry.size, users)
        except FileNotFoundError:
            return create_file(directory, name), name, 0
        except FileExistsError:
            # Not a partial download: another name serves as well.
            return create_file(directory, random), random, 0
        return fd, name, kept

    def _remove_other_partial(self, key: str, token: str) -> None:
        """Remove a partial download of an entry that was staged without it, or in another version."""
        partial = self._partial.pop(key, token)
        if partial != token:
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                self._tree.parent(partial) as (directory, name),
            ):
                os.unlink(name, dir_fd=directory)

    def _set_attributes(self, fd: int, attributes: Attributes) -> None:
        """Set the owner, mode and time of a file that does not show yet."""
        if self._options.owner != UNCHANGED:
            os.fchown(fd, *self._options.owner)
        carried = attributes.mode if self._options.restores_modes else None
        mode = self._options.file_mode if carried is None else carried & 0o777
        if is_refused(lambda: os.fchmod(fd, mode)):
            self._refused.add("modes")
        time_ns = attributes.mtime_ns
        if time_ns is not None and is_refused(lambda: os.utime(fd, ns=(time_ns, time_ns))):
            self._refused.add("times")
        if self._options.durable and not mode & stat.S_IRUSR:
            os.fsync(fd)  # it cannot be opened again for that

    def remarks(self) -> list[str]:
        """Return what this file system does not keep."""
        path = self._tree.path
        return [
            f'"{path}": the file system refuses {each}, so files are installed without them'
            for each in sorted(self._refused)
        ]

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Rename the temporary files to their names, between two syncs where durability is asked for."""
        return self._publisher.publish(staged)

    def make_durable(self) -> None:
        """Sync the file system, since the index is about to vouch for files that other programs wrote."""
        try:
            if self._options.durable:
                sync_file_system(self._tree.fd)
        except OSError as error:
            raise translate(error, "") from error

    # --- remove ---

    def discard(self, staged: Staged) -> None:
        """Remove a temporary file, unless a later run can resume it."""
        if not partial_downloads.is_partial(staged.token.rpartition("/")[2]):
            remove_temporary(self._tree, staged)

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

    def delete_many(self, _entries: Sequence[Entry]) -> set[str]:
        """Remove nothing: entries are removed one at a time."""
        return set()

    def remove_leftovers(
        self, leftovers: Sequence[str] = (), copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        """Remove temporary files of a killed run, but not what a copy can resume; return by key what prevents it."""
        resumable = partial_downloads.resumable(copies) if leftovers else {}
        failures = {}
        for leftover in leftovers:
            if leftover in resumable:
                self._partial[resumable[leftover]] = leftover
                continue
            try:
                self._remove_leftover(leftover)
            except FileNotFoundError:
                continue
            except OSError as error:
                failures[leftover] = translate(error, leftover)
        return failures

    def _remove_leftover(self, key: str) -> None:
        with self._tree.parent(key) as (directory, name):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and os.geteuid() in (0, status.st_uid):
                os.unlink(name, dir_fd=directory)

    def prune(self, now: datetime) -> list[str]:
        """Remove what the trash has kept for long enough; return what stays, and why."""
        return self._trash.prune(now)

    def free_space(self) -> bool:
        """Empty the trash of earlier runs, since the disk is full; return whether there was any."""
        with contextlib.suppress(OSError):
            return self._trash.empty()
        return False


def _remove_empty(directory: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False  # another program put something into it: the next run compares again
        raise
    return True
