"""Reach what is below one directory, and nothing else, whatever others change in the tree meanwhile. POSIX only.

Every path is walked from a held descriptor, one part at a time, following no symbolic link and, unless asked to,
entering no mount. It decides nothing and does not know S3.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from s32s_agent.errors import EntryError
from s32s_agent.stores.local.files import READ, is_refused
from s32s_agent.stores.local.owners import UNCHANGED, Owner
from s32s_agent.stores.local.root import Level
from s32s_agent.stores.local.syscalls import open_directory, open_unmounted


class NewDirectories(NamedTuple):
    """The mode and owner of directories that a walk creates."""

    mode: int
    owner: Owner = UNCHANGED


class Tree:
    """One directory, held open.

    Args:
        path: the directory, its symbolic links resolved already; a link in it was put there since.
        cross_mounts: enter what is mounted below it.
        create: how to create the directory when only its last part is missing; None never does.

    Raises:
        OSError: it is not a directory that can be opened.
    """

    def __init__(
        self, path: str, *, cross_mounts: bool = False, create: NewDirectories | None = None
    ) -> None:
        self.path = path
        self._cross_mounts = cross_mounts
        self.fd = _open_top(path, create)

    def close(self) -> None:
        """Close the directory; a worker that is late then fails."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    @contextlib.contextmanager
    def directory(self, key: str, create: NewDirectories | None = None) -> Iterator[int]:
        """Open the directory of a key, "" for the top, as a descriptor that is closed on leaving.

        Raises:
            OSError: ENOENT when it is absent and may not be created, ELOOP or ENOTDIR when something else is on the
                way, EXDEV when a mount is.
        """
        reject_dots(key)
        names = [name for name in key.split("/") if name]
        fd = self._open(names[0], self.fd, create) if names else os.dup(self.fd)
        try:
            for name in names[1:]:
                fd = _replaced(fd, self._open(name, fd, create))
            yield fd
        finally:
            os.close(fd)

    def _open(self, name: str, parent: int, create: NewDirectories | None) -> int:
        return _open_or_create(name, parent, create, self.open_inner)

    def open_inner(self, name: str, parent: int) -> int:
        """Open a directory in another one; EXDEV when something is mounted on it that may not be entered."""
        return (open_directory if self._cross_mounts else open_unmounted)(name, parent)

    @contextlib.contextmanager
    def parent(
        self, key: str, create: NewDirectories | None = None
    ) -> Iterator[tuple[int, str]]:
        """Open the directory that holds a key; yield its descriptor and the key's last part."""
        reject_dots(key)
        above, _, name = key.removesuffix("/").rpartition("/")
        with self.directory(above, create) as fd:
            yield fd, name

    def level(self, key: str) -> Level:
        """Open the directory of a key for a walk; the caller closes it."""
        with self.directory(key) as fd:
            return _TreeLevel(self, os.dup(fd))

    def status(self, key: str) -> os.stat_result:
        """Stat a key, without following a link."""
        with self.parent(key) as (directory, name):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def read(self, key: str) -> int:
        """Open a regular file for reading; the caller closes the descriptor.

        Raises:
            OSError: it cannot be opened, or it is a link (ELOOP).
            EntryError: it is not a regular file.
        """
        with self.parent(key) as (directory, name):
            fd = os.open(name, READ, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise EntryError(f'"{key}" is no longer a regular file')
        return fd


class _TreeLevel:
    """One directory of a walk."""

    def __init__(self, tree: Tree, fd: int) -> None:
        self._tree = tree
        self._fd = fd

    @functools.cached_property
    def device(self) -> int:
        return os.fstat(self._fd).st_dev

    def names(self, *, follow: bool) -> list[str]:
        with os.scandir(self._fd) as found:
            return [
                f"{each.name}/" if _is_directory(each, follow=follow) else each.name
                for each in found
            ]

    def status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def enter(self, name: str) -> Level:
        return _TreeLevel(self._tree, self._tree.open_inner(name, self._fd))

    def close(self) -> None:
        os.close(self._fd)


def _is_directory(found: os.DirEntry[str], *, follow: bool) -> bool:
    if not follow or not found.is_symlink():
        return found.is_dir(follow_symlinks=False)
    try:
        return found.is_dir()
    except OSError:
        return False  # a link that leads in circles, or through a directory that may not be searched


def reject_dots(key: str) -> None:
    """Reject a key that leads out of the directory, where the disk is touched, whoever checked it before.

    Raises:
        EntryError: a part of the key is "." or "..".
    """
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise EntryError(f'"{key}" would lead out of the directory')


def remove_tree(name: str, parent: int) -> None:
    """Remove a directory and all that is in it, but nothing that is mounted there.

    Raises:
        OSError: EXDEV when something is.
    """
    fd = open_unmounted(name, parent)
    try:
        for inner in os.listdir(fd):
            status = os.stat(inner, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                remove_tree(inner, fd)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _open_top(path: str, create: NewDirectories | None) -> int:
    """Open a directory part by part from the root, following no link."""
    fd = open_directory("/")
    above, _, last = path.strip("/").rpartition("/")
    try:
        for name in (each for each in above.split("/") if each):
            fd = _replaced(fd, open_directory(name, fd))
        if last:
            fd = _replaced(fd, _open_or_create(last, fd, create, open_directory))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _replaced(fd: int, inner: int) -> int:
    """Close a descriptor that is replaced by another one; return that."""
    os.close(fd)
    return inner


def _open_or_create(
    name: str,
    parent: int,
    create: NewDirectories | None,
    open_: Callable[[str, int], int],
) -> int:
    try:
        return open_(name, parent)
    except FileNotFoundError:
        if create is None:
            raise
        return _create_directory(name, parent, create)


def _create_directory(name: str, parent: int, create: NewDirectories) -> int:
    with contextlib.suppress(FileExistsError):  # another worker may have created it
        os.mkdir(name, create.mode, dir_fd=parent)
    fd = open_directory(name, parent)
    try:
        if create.owner != UNCHANGED:
            os.fchown(fd, *create.owner)
        # Past the umask; the kernel has handed down the set-group-id bit, with which a team shares a directory.
        mode = create.mode | (os.fstat(fd).st_mode & stat.S_ISGID)
        is_refused(lambda: os.fchmod(fd, mode))
    except BaseException:
        os.close(fd)
        raise
    return fd
