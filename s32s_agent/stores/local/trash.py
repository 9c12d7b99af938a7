"""Keep what a pass takes away from a directory for some days, in the same directory.

`.s32s/trash/<run_id>/<key>`, readable by its owner only. The trash never holds what the agent installed itself and
replaced by a newer version. It is a kindness, not a promise: when the disk is short it goes first.
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
_PLACE = f"{keys.TRASH}/trash"
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What would hit the new version as well, after the old one had left its place."""
_RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]+")


class Trash:
    """The trash of one directory.

    Args:
        tree: the directory.
        run_id: the pass, which begins with its UTC time as `20261122T204012Z-`.
        days: how long to keep; 0 keeps nothing.
    """

    def __init__(self, tree: Tree, run_id: str, days: float) -> None:
        self._tree = tree
        self._run_id = run_id
        self._days = days
        self._unsynced: set[str] = set()
        """The keys of the directories that something was put into since they were last asked for."""

    def unsynced(self) -> list[str]:
        """Give the directories to sync before a name is that was taken from, innermost first; they are told once.

        On btrfs a directory that is synced alone forgets what had its names, even where that has another name by then.
        """
        found = {above for key in self._unsynced for above in (key, *keys.ancestors(key))}
        self._unsynced.clear()
        return sorted(found, key=len, reverse=True)

    @property
    def used(self) -> bool:
        """Whether anything is kept at all."""
        return self._days > 0

    def take(self, directory: int, name: str, key: str) -> None:
        """Move a file or link out of a directory; without a trash, remove it.

        Raises:
            EntryError: it is a directory by now.
            OSError: it cannot be moved.
        """
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise EntryError(f'"{key}" became a directory while the pass ran')
        if not self.used:
            os.unlink(name, dir_fd=directory)
            return
        with self._place_for(key) as (trash, free):
            os.rename(name, free, src_dir_fd=directory, dst_dir_fd=trash)

    def keep(self, directory: int, name: str, key: str) -> None:
        """Keep a file or link that is about to be replaced, without a moment in which its name is gone.

        Raises:
            EntryError: it is a directory by now.
            OSError: it cannot be kept.
        """
        if not self.used:
            return
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise EntryError(f'"{key}" became a directory while the pass ran')
        except FileNotFoundError:
            return
        with self._place_for(key) as (trash, free):
            try:
                os.link(
                    name, free, src_dir_fd=directory, dst_dir_fd=trash, follow_symlinks=False
                )
            except OSError as error:
                if error.errno in _DISK_TROUBLE:
                    raise
                # No hard links on this file system, or not to this file: a short gap is the lesser evil.
                os.rename(name, free, src_dir_fd=directory, dst_dir_fd=trash)

    @contextlib.contextmanager
    def _place_for(self, key: str) -> Iterator[tuple[int, str]]:
        with self._tree.parent(f"{_PLACE}/{self._run_id}/{key}", _PRIVATE) as (fd, name):
            # Twice the same key in one pass: replaced, then removed.
            names = itertools.chain(
                [name], (f"{name[:60]}~{each}" for each in itertools.count(1))
            )
            yield fd, next(free for free in names if not _exists(fd, free))
        self._unsynced.add(f"{_PLACE}/{self._run_id}/{keys.parent(key)}")

    def prune(self, now: datetime) -> int:
        """Remove what was kept long enough; give the number of passes whose trash went."""
        limit = now - timedelta(days=self._days)
        return self._remove([run_id for run_id, when in self._kept() if when < limit])

    def give_up(self) -> bool:
        """Remove what earlier passes kept, since the disk is short; tell whether there was any."""
        return bool(
            self._remove([run_id for run_id, _ in self._kept() if run_id != self._run_id])
        )

    def _kept(self) -> list[tuple[str, datetime]]:
        try:
            with self._tree.directory(_PLACE) as fd:
                names = sorted(os.listdir(fd))
        except FileNotFoundError:
            return []
        found = [(name, _RUN_ID.fullmatch(name)) for name in names]
        return [
            (name, datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
            for name, match in found
            if match
        ]

    def _remove(self, run_ids: list[str]) -> int:
        if not run_ids:
            return 0
        with self._tree.directory(_PLACE) as fd:
            for run_id in run_ids:
                remove_tree(run_id, fd)
        # Their own directories go with the last of them, so that nothing of ours stays in a tree.
        for directory in (_PLACE, keys.TRASH):
            with contextlib.suppress(OSError), self._tree.parent(directory) as (fd, name):
                os.rmdir(name, dir_fd=fd)
        return len(run_ids)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
