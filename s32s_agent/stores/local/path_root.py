"""A directory reached by paths, for systems without directory descriptors (Windows). It is only read.

Links and junctions are reported, not followed; a race between check and use can only make the agent read another
file, never write one.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys

from s32s_agent.stores.local.root import Level, Root

_LONG = "\\\\?\\"


def open_root(path: str) -> Root:
    """Open a source's directory in the safest way that the system has; what is mounted below it is part of it.

    Raises:
        OSError: it is not a directory that can be read.
    """
    if sys.platform != "win32":
        from s32s_agent.stores.local.tree import Tree  # noqa: PLC0415 (POSIX only)

        return Tree(path, cross_mounts=True)
    else:  # noqa: RET505 (so that the type checker sees two platforms, not dead code)
        return PathRoot(path)


class PathRoot:
    """A directory and what is below it.

    Args:
        path: the directory, its links resolved already, with forward slashes.

    Raises:
        OSError: it is not a directory.
    """

    def __init__(self, path: str) -> None:
        self.path = path if sys.platform != "win32" else long_form(path)
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def level(self, key: str) -> Level:
        """Open the directory of a key for a walk; the caller closes it."""
        return _PathLevel(_joined(self.path, key))

    def status(self, key: str) -> os.stat_result:
        """Stat a key, without following a link."""
        return os.lstat(_joined(self.path, key))

    def read(self, key: str) -> int:
        """Open a regular file for reading; the caller closes the descriptor."""
        path = _joined(self.path, key)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.ELOOP, "no longer a regular file", path)
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, "no longer a regular file", path)
        return fd

    def close(self) -> None:
        """Do nothing: nothing is held open."""


def long_form(path: str) -> str:
    """Return the form of an absolute Windows path that may have more than 260 characters.

    Without it, a longer path is not found, which looks as if the file were absent. See "Maximum Path Length Limitation"
    in the documentation of Windows.
    """
    plain = path.replace("/", "\\")
    if plain.startswith(_LONG):
        return plain
    if plain.startswith("\\\\"):
        return _LONG + "UNC" + plain[1:]
    return _LONG + plain


def _joined(path: str, key: str) -> str:
    """Return a path below another one; the long form knows no slash."""
    joined = f"{path}/{key}"
    return joined.replace("/", "\\") if path.startswith(_LONG) else joined


class _PathLevel:
    """One directory of a walk, by its path with a slash at its end."""

    def __init__(self, path: str) -> None:
        self._path = path

    @functools.cached_property
    def device(self) -> int:
        return os.stat(self._path).st_dev

    def names(self, *, follow: bool) -> list[str]:
        with os.scandir(self._path) as found:
            return [
                f"{each.name}/" if _is_directory(each, follow=follow) else each.name
                for each in found
            ]

    def status(self, name: str) -> os.stat_result:
        return os.lstat(self._path + name)

    def enter(self, name: str) -> Level:
        return _PathLevel(_joined(self._path + name, ""))

    def close(self) -> None:
        pass


def _is_directory(found: os.DirEntry[str], *, follow: bool) -> bool:
    # A junction is a directory to is_dir, but leads elsewhere as a link does; Python 3.12 distinguishes them.
    if not follow and (found.is_symlink() or getattr(found, "is_junction", bool)()):
        return False
    try:
        return found.is_dir()
    except OSError:
        return False  # a link that leads in circles, or through a directory that may not be searched
