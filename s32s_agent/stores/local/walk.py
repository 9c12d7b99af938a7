"""Walk a directory in key order, on every system.

What cannot be read is a problem, never an absence; what is not a regular file is reported by its kind and not opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

from s32s_agent.errors import DirectoryError
from s32s_agent.model import Entry, Kind, Problem, Stamp
from s32s_agent.plan import keys
from s32s_agent.stores.local.root import Level, Root
from s32s_agent.stores.local.stamps import stamp_of

_UNMOUNTED = (
    "a disk was mounted here, and now the directory is empty (--allow-deletes accepts that)"
)
_LOOKS = 3
"""How often a name is looked for that is listed: another program may replace the file at that moment."""
T = TypeVar("T")

Found: TypeAlias = "tuple[str, Stamp | None, Entry | Problem | None]"
"""A key, and the stamp of a regular file, or else the entry or problem that is there."""


def resolve_inside(root: Root, key: str) -> str:
    """Return the key that a path with symbolic links in it leads to.

    Raises:
        OSError: it leads out of the directory (ELOOP), or its end does not exist.
    """
    path = os.path.realpath(f"{root.path}/{key}", strict=True)
    inside = os.path.relpath(path, root.path).replace(os.sep, "/")
    if inside == "." or (not inside.startswith("../") and inside != ".."):
        return "" if inside == "." else inside
    raise OSError(errno.ELOOP, "leads out of the mapping's directory")


class Walk:
    """One walk over a directory.

    Args:
        root: the directory, held open by the caller.
        follow_links: report what a symbolic link leads to, as long as it is in the directory.
        known_mounts: the directories, as keys, on which something was mounted; one that is empty without it was not
            emptied. None where nothing mounted is entered.
    """

    def __init__(
        self,
        root: Root,
        *,
        follow_links: bool = False,
        known_mounts: frozenset[str] | None = None,
    ) -> None:
        self._root = root
        self._follow_links = follow_links
        self._known_mounts = known_mounts
        self._mounts: list[str] = []
        self.leftovers: list[str] = []
        """The agent's own temporary files that the walk met."""

    def __iter__(self) -> Iterator[Found]:
        """Yield what is there in key order: a directory sorts with its slash, `a-b` before `a/b` before `a0`.

        Without recursion, so that depth costs descriptors only.

        Raises:
            DirectoryError: the directory itself cannot be read.
        """
        try:
            visits = [self._begin(self._root.level(""), "")]
        except OSError as error:
            raise DirectoryError(f'"{self._root.path}": {error.strerror}') from error
        try:
            while visits:
                visit = visits[-1]
                name = next(visit.names, None)
                if name is None:
                    visits.pop().level.close()
                elif name.endswith("/"):
                    found, inner = self._descend(visits, name)
                    if inner is not None:
                        # Before the yield, at which the walk may end: it is closed below.
                        visits.append(inner)
                    if found is not None:
                        yield found.key, None, found
                elif name[0] == "." and self._is_ignored(visit.prefix + name, name):
                    continue
                elif file := self._inspect(visit, name):
                    yield file
        finally:
            for each in visits:
                each.level.close()

    def mounts(self) -> tuple[str, ...] | None:
        """Return the directories on which something is mounted, or was and still should be.

        None where nothing mounted is entered.
        """
        return None if self._known_mounts is None else tuple(self._mounts)

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

    def _is_ignored(self, key: str, name: str) -> bool:
        """Return whether a file is not part of the tree; note the agent's own temporary files."""
        if name.startswith(keys.TEMPORARY):
            self.leftovers.append(key)
            return True
        return keys.is_left_alone(name, at_the_top=False)

    def _inspect(self, visit: _Visit, name: str) -> Found | None:
        """Return what a name that is no directory stands for; None when it has vanished."""
        key = visit.prefix + name
        try:
            status = _found(visit.level, name, visit.level.status)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Problem(key, f"cannot be read: {error.strerror}", key, fatal=True)
            return key, None, problem
        if self._follow_links and stat.S_ISLNK(status.st_mode):
            try:
                status = self._root.status(resolve_inside(self._root, key))
            except OSError as error:
                return key, None, Problem(key, f"symbolic link: {error.strerror}", key)
        if stat.S_ISREG(status.st_mode):
            return key, stamp_of(status), None
        kind = Kind.LINK if stat.S_ISLNK(status.st_mode) else Kind.SPECIAL
        return key, None, Entry(key, kind=kind)

    def _descend(
        self, visits: list[_Visit], name: str
    ) -> tuple[Entry | Problem | None, _Visit | None]:
        """Enter a directory; return what to report of it, and its visit."""
        key = visits[-1].prefix + name
        try:
            level = _found(visits[-1].level, name, lambda each: self._enter(visits, each))
            visit = self._begin(level, key)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            if error.errno == errno.EXDEV:
                return Entry(key, kind=Kind.MOUNT), None
            self._mounts += (each for each in self._known_mounts or () if each.startswith(key))
            is_link = error.errno == errno.ELOOP
            what = "symbolic link" if is_link else "cannot be read"
            return Problem(key, f"{what}: {error.strerror}", key, fatal=not is_link), None
        return self._check_mount(visits[-1], visit), visit

    def _check_mount(self, outer: _Visit, visit: _Visit) -> Entry | Problem:
        """Return the entry of a directory; a problem when the file system that belongs on it is not mounted."""
        key = visit.prefix
        if self._known_mounts is not None:
            if visit.level.device != outer.level.device:
                self._mounts.append(key)
            elif key in self._known_mounts and visit.is_empty:
                self._mounts.append(key)
                return Problem(key, _UNMOUNTED, key, fatal=True)
        return Entry(key, kind=Kind.DIRECTORY)

    def _enter(self, visits: list[_Visit], name: str) -> Level:
        here = visits[-1]
        if not self._follow_links or not stat.S_ISLNK(here.level.status(name[:-1]).st_mode):
            return here.level.enter(name[:-1])
        target = resolve_inside(self._root, here.prefix + name[:-1])
        if target in [self._resolved(each.prefix) for each in visits]:
            raise OSError(errno.ELOOP, "leads back to a directory that contains it")
        return self._root.level(f"{target}/" if target else "")

    def _resolved(self, prefix: str) -> str:
        return resolve_inside(self._root, prefix[:-1]) if prefix else ""


class _Visit(NamedTuple):
    """A directory in a walk, and the names in it that are still to come."""

    level: Level
    prefix: str
    names: Iterator[str]
    is_empty: bool


def _found(level: Level, name: str, look: Callable[[str], T]) -> T:
    """Return what looking at a name gives that its directory lists.

    A name that vanishes during a walk is no longer listed either. One that stays listed and cannot be found is a hole:
    a file system that is damaged or translates names, or a path that is too long for Windows. To take it for absent
    would delete its counterpart.

    Raises:
        FileNotFoundError: it has vanished.
        OSError: it cannot be looked at, or is such a hole.
    """
    for _ in range(_LOOKS):
        try:
            return look(name)
        except FileNotFoundError:
            listed = {each.removesuffix("/") for each in level.names(follow=False)}
            if name.removesuffix("/") not in listed:
                raise
    raise OSError(errno.EIO, "its directory lists it, but it cannot be found")
