"""System calls that Python has no function for, and the flags with which directories are opened. POSIX only.

Each returns or raises as the functions of `os` do. Where a kernel, a sandbox or a file system lacks a call, the
function does what comes nearest to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FALLOC_FL_KEEP_SIZE = 1
_SYNC_FILE_RANGE_WRITE = 2
_OPENAT2 = 437
"""The number of the call, which is the same on all of Linux."""
_RESOLVE_NO_XDEV = 0x01
"""Enter no mount, not even another directory of the same file system that is mounted there (`mount --bind`)."""

LIBC = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_directory(name: str, parent: int | None = None) -> int:
    """Open a directory, itself no symbolic link; the caller closes the descriptor.

    Args:
        name: a path, or a name in `parent`.
        parent: the descriptor of a directory.
    """
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_unmounted(name: str, parent: int) -> int:
    """Open a directory in another one, unless something is mounted on it; the caller closes the descriptor.

    Without openat2, which an old kernel or a sandbox may lack, the mounts of both descriptors are compared.

    Raises:
        OSError: EXDEV when something is mounted on it.
    """
    if sys.platform == "linux":
        how = _OpenHow(flags=_DIRECTORY, resolve=_RESOLVE_NO_XDEV)
        size, path = ctypes.sizeof(how), os.fsencode(name)
        fd = LIBC.syscall(_OPENAT2, parent, path, ctypes.byref(how), size)
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, os.strerror(number), name)
    fd = open_directory(name, parent)
    if _mount_of(fd) != _mount_of(parent):
        os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return fd


def _mount_of(fd: int) -> tuple[int, str]:
    """Return what distinguishes mounts: the device, and the kernel's number of the mount where /proc is there."""
    number = ""
    with (
        contextlib.suppress(OSError),
        open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines,
    ):
        number = next((line for line in lines if line.startswith("mnt_id:")), "")
    return os.fstat(fd).st_dev, number


def preallocate(fd: int, size: int) -> None:
    """Reserve disk space now, so that a full disk shows before the transfer; the file does not get longer.

    Does nothing where the system or the file system has no such call.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, _FALLOC_FL_KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number))


def start_writeback(fd: int, position: int, size: int) -> None:
    """Ask the kernel to begin writing a range of a file to the disk, without waiting for it.

    Its result is not checked: the call leaves errors for the later sync to report.
    """
    if sys.platform == "linux":
        LIBC.sync_file_range(
            fd, ctypes.c_int64(position), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE
        )


def sync_directory(fd: int) -> None:
    """Make the names in a directory durable; some file systems have no such thing."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def sync_file_system(fd: int) -> bool:
    """Make everything on the file system of `fd` durable at once; return False where the system has no such call."""
    if sys.platform != "linux":
        return False
    if LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
