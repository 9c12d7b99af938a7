"""Reach what is below one directory, and nothing else, whatever anybody does to the tree meanwhile.

Every path is walked from a held descriptor, one part at a time, following no symbolic link and entering no other file
system. It knows nothing of S3 and decides nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from s32s_agent.errors import (
    AgentError,
    ConfigError,
    DirectoryError,
    DiskFull,
    EntryError,
    is_disk_full,
)
from s32s_agent.stores.local.source import Level

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE."""
_START_WRITING = 2
"""SYNC_FILE_RANGE_WRITE."""
_STRETCH = 8 << 20
"""Bytes of a large file that the disk is given at once."""
_BEHIND = 3
"""Stretches in which ranges may still be under way."""

_OPENAT2 = 437
"""The number of the call, which is the same on all of Linux."""
_NO_CROSSING = 0x01
"""RESOLVE_NO_XDEV: not even into another place of the same file system that is mounted there (`mount --bind`)."""

_LIBC = ctypes.CDLL(None, use_errno=True)

_PIECE = 1 << 20
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
_REMEDIES = {
    errno.EROFS: "the file system is mounted read-only",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "give the agent's user the right to it; an immutable file needs chattr -i",
    ),
    errno.EIO: "look at the disk; the kernel's log has its errors",
    errno.EFBIG: "raise the limit of a file's size (LimitFSIZE= in a unit, `ulimit -f`), or keep the directory on a "
    "file system that takes larger files",
    errno.ESTALE: "mount the network file system anew",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "raise the limit of open files (LimitNOFILE= in a unit), or lower sync.workers",
    ),
}
"""By error number, what helps where the general remedy of the error says too little."""


class Owner(NamedTuple):
    """Who new files belong to; -1 leaves that half alone."""

    user: int = -1
    group: int = -1


ANYBODY = Owner()


def owner_named(text: str | None) -> Owner:
    """Look up `user[:group]`, names or numbers; without a group, the user's own.

    Raises:
        ConfigError: the system knows no such user or group.
    """
    if text is None:
        return ANYBODY
    user, _, group = text.partition(":")
    try:
        if user.isdigit():
            known = int(user), -1
        else:
            entry = pwd.getpwnam(user)
            known = entry.pw_uid, entry.pw_gid
        if not group:
            return Owner(*known)
        return Owner(known[0], int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
    except KeyError as error:
        raise ConfigError("sync.owner", [f"{error.args[0]}"]) from error


class NewDirectories(NamedTuple):
    """How directories are made that a walk finds missing."""

    mode: int
    owner: Owner = ANYBODY


def translated(error: OSError, key: str) -> AgentError:
    """Name what an operating system error means for an entry, and note it as the cause."""
    meaning = _meaning(error, key)
    meaning.__cause__ = error
    return meaning


def _meaning(error: OSError, key: str) -> AgentError:
    reason = error.strerror or str(error)
    if is_disk_full(error):
        return DiskFull(f'"{key}": {reason}')
    if error.errno in _IN_THE_WAY:
        fact = "a link, file or directory of that name stands in the way"
        return EntryError(
            f'"{key}": {fact}', remedy="remove it, or leave it out with `ignore`"
        )
    if error.errno == errno.EXDEV:
        fact = "another file system is mounted on the way to it"
        return EntryError(
            f'"{key}": {fact}', remedy="unmount it, or leave it out with `ignore`"
        )
    return DirectoryError(f'"{key}": {reason}', remedy=_REMEDIES.get(error.errno or 0, ""))


def _open_top(path: str, create: NewDirectories | None) -> int:
    """Open a directory part by part from the root, following nothing."""
    fd = os.open("/", _DIRECTORY)
    above, _, last = path.strip("/").rpartition("/")
    try:
        for name in (each for each in above.split("/") if each):
            fd = _exchange(fd, _open_directory(fd, name))
        if last:
            fd = _exchange(fd, _open_or_make(fd, last, create, _open_directory))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_directory(fd: int, name: str) -> int:
    return os.open(name, _DIRECTORY, dir_fd=fd)


def _open_or_make(
    fd: int, name: str, create: NewDirectories | None, look: Callable[[int, str], int]
) -> int:
    try:
        return look(fd, name)
    except FileNotFoundError:
        if create is None:
            raise
        return _make_directory(fd, name, create)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _open_unmounted(fd: int, name: str) -> int:
    """Open a directory in another one, unless something is mounted on it.

    An old kernel, or a sandbox, may not have the call; then what the descriptors are on is compared.

    Raises:
        OSError: EXDEV when something is mounted on it.
    """
    if sys.platform == "linux":
        how = _OpenHow(flags=_DIRECTORY, resolve=_NO_CROSSING)
        size, path = ctypes.sizeof(how), os.fsencode(name)
        inner = _LIBC.syscall(_OPENAT2, fd, path, ctypes.byref(how), size)
        if inner >= 0:
            return int(inner)
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, os.strerror(number), name)
    inner = os.open(name, _DIRECTORY, dir_fd=fd)
    if _mount_of(inner) != _mount_of(fd):
        os.close(inner)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return inner


def _mount_of(fd: int) -> tuple[int, str]:
    """Give what tells one mount from another: the device, and the kernel's number of it, where /proc is there."""
    number = ""
    with (
        contextlib.suppress(OSError),
        open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as told,
    ):
        number = next((line for line in told if line.startswith("mnt_id:")), "")
    return os.fstat(fd).st_dev, number


def _exchange(fd: int, inner: int) -> int:
    os.close(fd)
    return inner


class Tree:
    """One directory, held open.

    Args:
        path: the directory, its symbolic links resolved already; a link on the way is one that was put there since.
        cross_mounts: enter other file systems that are mounted below it.
        create: make it so when only itself is missing.

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
        """Let go of the directory; a worker that comes late finds nothing to work on."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    @contextlib.contextmanager
    def directory(self, key: str, create: NewDirectories | None = None) -> Iterator[int]:
        """Open the directory of a key, "" for the top, as a descriptor that is closed on leaving.

        Raises:
            OSError: ENOENT when it is absent and may not be made, ELOOP or ENOTDIR when something else is on the
                way, EXDEV when a mount is.
        """
        refuse_dots(key)
        fd = os.dup(self.fd)
        try:
            for name in key.split("/"):
                if name:
                    fd = self._enter(fd, name, create)
            yield fd
        finally:
            os.close(fd)

    def _enter(self, fd: int, name: str, create: NewDirectories | None) -> int:
        """Exchange a directory's descriptor for that of a directory in it."""
        return _exchange(fd, _open_or_make(fd, name, create, self.look))

    def look(self, fd: int, name: str) -> int:
        """Open a directory in another one; EXDEV when something is mounted on it that may not be entered."""
        return (_open_directory if self._cross_mounts else _open_unmounted)(fd, name)

    @contextlib.contextmanager
    def parent(
        self, key: str, create: NewDirectories | None = None
    ) -> Iterator[tuple[int, str]]:
        """Open the directory that holds a key; yield its descriptor and the key's last part."""
        refuse_dots(key)
        above, _, name = key.removesuffix("/").rpartition("/")
        with self.directory(above, create) as fd:
            yield fd, name

    def level(self, key: str) -> Level:
        """Open the directory of a key for a walk."""
        with self.directory(key) as fd:
            return _TreeLevel(self, os.dup(fd))

    def status(self, key: str) -> os.stat_result:
        """Look at a key, not past a link."""
        with self.parent(key) as (directory, name):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def read(self, key: str) -> int:
        """Open a regular file for reading; the caller closes the descriptor.

        Raises:
            OSError: it cannot be opened, or it is a link (ELOOP).
            EntryError: it is not a regular file.
        """
        with self.parent(key) as (directory, name):
            fd = os.open(name, _READ, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise EntryError(f'"{key}" is not a regular file any more')
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
        return _TreeLevel(self._tree, self._tree.look(self._fd, name))

    def close(self) -> None:
        os.close(self._fd)


def refuse_dots(key: str) -> None:
    """Hold the line where the disk is touched, whoever was to do so before."""
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise EntryError(f'"{key}" would lead out of the directory')


def _is_directory(found: os.DirEntry[str], *, follow: bool) -> bool:
    if not follow or not found.is_symlink():
        return found.is_dir(follow_symlinks=False)
    try:
        return found.is_dir()
    except OSError:
        return False  # a link that leads in circles, or where nobody may look


def _make_directory(fd: int, name: str, create: NewDirectories) -> int:
    with contextlib.suppress(FileExistsError):  # another worker may have made it
        os.mkdir(name, create.mode, dir_fd=fd)
    inner = os.open(name, _DIRECTORY, dir_fd=fd)
    try:
        if create.owner != ANYBODY:
            os.fchown(inner, *create.owner)
        os.fchmod(inner, create.mode)  # past the umask
    except BaseException:
        os.close(inner)
        raise
    return inner


def create_file(directory: int, name: str) -> int:
    """Create a file that was not there, readable by its owner only; the caller closes the descriptor."""
    return os.open(name, _CREATE, 0o600, dir_fd=directory)


class OpenFile:
    """An open file that many threads write to, each elsewhere.

    Args:
        fd: its descriptor, which stays the caller's.
        to_disk: have the disk begin with what is there, since a sync will wait for it.
    """

    def __init__(self, fd: int, *, to_disk: bool) -> None:
        self._fd = fd
        self._to_disk = to_disk

    def write(self, chunk: bytes, position: int) -> None:
        """Write every byte; `pwrite` may take fewer than it was given."""
        begun = position // _STRETCH
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._fd, view, position)
            view, position = view[written:], position + written
        if self._to_disk and position // _STRETCH > begun:
            # And with those before, in which others may have been writing when their turn came.
            first = max(0, begun - _BEHIND)
            start_writing(self._fd, first * _STRETCH, (begun + 1 - first) * _STRETCH)

    def read(self, size: int, position: int) -> bytes:
        """Read what is there."""
        return os.pread(self._fd, size, position)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; `write` may take fewer than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def reserve(fd: int, size: int) -> None:
    """Claim disk space now, so that a full disk shows before the transfer does; the file does not get longer by it."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, _KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number))


def start_writing(fd: int, position: int, size: int) -> None:
    """Have the disk begin with a stretch of a file, without waiting for it.

    A hint: what it says does not matter, since it takes no note of the errors that the sync will tell.
    """
    if sys.platform == "linux":
        _LIBC.sync_file_range(
            fd, ctypes.c_int64(position), ctypes.c_int64(size), _START_WRITING
        )


def same_bytes(directory: int, one: str, other: str) -> bool:
    """Tell whether two names of a directory are regular files that hold the same bytes."""
    with contextlib.ExitStack() as stack:
        try:
            files = [
                stack.enter_context(os.fdopen(os.open(name, _READ, dir_fd=directory), "rb"))
                for name in (one, other)
            ]
        except OSError:
            return False  # gone, a link, a directory: whatever it is, it is not the same
        first, second = files
        status = [os.fstat(each.fileno()) for each in files]
        regular = all(stat.S_ISREG(each.st_mode) for each in status)
        if not regular or status[0].st_size != status[1].st_size:
            return False
        return all(
            piece == second.read(_PIECE) for piece in iter(lambda: first.read(_PIECE), b"")
        )


def sync_directory(fd: int) -> None:
    """Make the names in a directory durable; some file systems have no such thing."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def sync_file_system(fd: int) -> bool:
    """Make everything on the file system of `fd` durable in one go; False where the system has no such call."""
    if sys.platform != "linux":
        return False
    if _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def remove_tree(directory: int, name: str) -> None:
    """Remove a directory and what is in it, but nothing that is mounted there.

    Raises:
        OSError: EXDEV when something is.
    """
    fd = _open_unmounted(directory, name)
    try:
        for inner in os.listdir(fd):
            status = os.stat(inner, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                remove_tree(fd, inner)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)
