"""Keep for some days what a run removes from a directory, in the same directory. POSIX only.

`.s32s/trash/<run_id>/<key>`, readable by its owner only. A version that the agent installed itself and replaces by a
newer one is not kept. The trash is no backup: when the disk is full it is removed first.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from s32s_agent.errors import EntryError
from s32s_agent.plan import keys
from s32s_agent.stores.local.tree import NewDirectories, Tree, remove_tree

_PRIVATE = NewDirectories(0o700)
_DIRECTORY = f"{keys.TRASH}/trash"
_DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors that would prevent the new version too, after the old one had lost its name."""
_RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]+")


class Trash:
    """The trash of one directory.

    Args:
        tree: the directory.
        run_id: the run, which begins with its UTC time as `20261122T204012Z-`.
        days: how long to keep files; 0 keeps none.
    """

    def __init__(self, tree: Tree, run_id: str, days: float) -> None:
        self._tree = tree
        self._run_id = run_id
        self._days = days
        self._unsynced: set[str] = set()
        """The keys of the directories into which something was put since `unsynced` was last called."""

    def unsynced(self) -> list[str]:
        """Return, once each, the directories to sync before those that files were taken from, innermost first.

        On btrfs a directory that is synced alone loses a file that was moved out of it, although it has a new name.
        """
        found = {above for key in self._unsynced for above in (key, *keys.ancestors(key))}
        self._unsynced.clear()
        return sorted(found, key=len, reverse=True)

    @property
    def is_used(self) -> bool:
        """Whether anything is kept at all."""
        return self._days > 0

    def take(self, directory: int, name: str, key: str) -> None:
        """Move a file or link out of a directory; without a trash, remove it.

        Raises:
            EntryError: it is a directory now.
            OSError: it cannot be moved.
        """
        _reject_directory(directory, name, key)
        if not self.is_used:
            os.unlink(name, dir_fd=directory)
            return
        with self._free_name(key) as (trash, free):
            os.rename(name, free, src_dir_fd=directory, dst_dir_fd=trash)

    def keep(self, directory: int, name: str, key: str) -> None:
        """Keep a file or link that is about to be replaced; its name shows all the time.

        Raises:
            EntryError: it is a directory now.
            OSError: it cannot be kept.
        """
        if not self.is_used:
            return
        try:
            _reject_directory(directory, name, key)
        except FileNotFoundError:
            return
        with self._free_name(key) as (trash, free):
            try:
                os.link(
                    name, free, src_dir_fd=directory, dst_dir_fd=trash, follow_symlinks=False
                )
            except OSError as error:
                if error.errno in _DISK_FAILURES:
                    raise
                # No hard links on this file system, or not to this file: the name is missing for a moment.
                os.rename(name, free, src_dir_fd=directory, dst_dir_fd=trash)

    @contextlib.contextmanager
    def _free_name(self, key: str) -> Iterator[tuple[int, str]]:
        """Yield the directory of a key in the trash, and a name in it that does not exist."""
        with self._tree.parent(f"{_DIRECTORY}/{self._run_id}/{key}", _PRIVATE) as (fd, name):
            # One run may put the same key here twice: replaced, then removed.
            names = itertools.chain(
                [name], (f"{name[:60]}~{each}" for each in itertools.count(1))
            )
            yield fd, next(free for free in names if not _exists(fd, free))
        self._unsynced.add(f"{_DIRECTORY}/{self._run_id}/{keys.parent(key)}")

    def prune(self, now: datetime) -> list[str]:
        """Remove what was kept for long enough; return what stays although no run needs it, and why.

        Whoever owns the directory can put anything here. A name that is none of a run's is left alone, and what cannot
        be removed keeps nothing else from being removed.
        """
        limit = now - timedelta(days=self._days)
        try:
            runs, foreign = self._runs()
            problems = self._remove([run_id for run_id, when in runs if when < limit])[1]
        except OSError as error:
            return [f'"{_DIRECTORY}": {error.strerror}']
        told = (
            f'"{_DIRECTORY}/{name}": not a name of a run, so it is left alone'
            for name in foreign
        )
        return [*problems, *told]

    def empty(self) -> bool:
        """Remove what earlier runs kept; return whether any of it is gone."""
        runs, _ = self._runs()
        return self._remove([run_id for run_id, _ in runs if run_id != self._run_id])[0] > 0

    def _runs(self) -> tuple[list[tuple[str, datetime]], list[str]]:
        """Return the runs that kept something, when they began, and the names that are no run's."""
        try:
            with self._tree.directory(_DIRECTORY) as fd:
                names = sorted(os.listdir(fd))
        except FileNotFoundError:
            return [], []
        times = {name: _time_of(name) for name in names}
        runs = [(name, when) for name, when in times.items() if when is not None]
        return runs, [name for name, when in times.items() if when is None]

    def _remove(self, run_ids: list[str]) -> tuple[int, list[str]]:
        """Remove the trash of runs; return of how many, and why that of others stays."""
        if not run_ids:
            return 0, []
        problems = []
        with self._tree.directory(_DIRECTORY) as fd:
            for run_id in run_ids:
                try:
                    remove_tree(run_id, fd)
                except OSError as error:
                    problems.append(f'"{_DIRECTORY}/{run_id}": {error.strerror}')
                except RecursionError:
                    problems.append(
                        f'"{_DIRECTORY}/{run_id}": too many directories in each other'
                    )
        # The agent's own directories go with the last of them, so that none stays in the tree.
        for directory in (_DIRECTORY, keys.TRASH):
            with contextlib.suppress(OSError), self._tree.parent(directory) as (fd, name):
                os.rmdir(name, dir_fd=fd)
        return len(run_ids) - len(problems), problems


def _time_of(name: str) -> datetime | None:
    """Return when a run began, from its name; None when it is not one, such as the 99th day of a 99th month."""
    match = _RUN_ID.fullmatch(name)
    try:
        return (
            datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if match
            else None
        )
    except ValueError:
        return None


def _reject_directory(directory: int, name: str, key: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        raise EntryError(f'"{key}" was replaced by a directory during the run')


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
