"""Stamps of local files: what the file system reports that changes when a file is edited."""

from __future__ import annotations

import os
import time

from s32s_agent.model import Stamp

CLOCK_TICK_NS = 10_000_000
"""More than the granularity of file times on Linux, which is at most one tick of 100 Hz."""
_COARSE_TICK_NS = 2_000_000_000
"""The granularity of FAT, the coarsest there is."""
_SIGNED = 1 << 63


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file from its stat."""
    size, mtime_ns, ctime_ns, inode = (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )
    if inode < _SIGNED and -_SIGNED <= mtime_ns < _SIGNED and -_SIGNED <= ctime_ns < _SIGNED:
        return Stamp(size, mtime_ns, ctime_ns, inode)
    # Folded to what SQLite can store: some file systems have inodes and times beyond 63 bits.
    fields = (size, mtime_ns, ctime_ns, inode)
    return Stamp(*((each + _SIGNED) % (2 * _SIGNED) - _SIGNED for each in fields))


def may_hide_an_edit(stamp: Stamp) -> bool:
    """Return whether the file system's times are so coarse that an edit right now would not change the stamp."""
    whole_seconds = stamp.ctime_ns % 1_000_000_000 == 0
    return whole_seconds and time.time_ns() - stamp.ctime_ns < _COARSE_TICK_NS


def wait_for_another_tick(stamp: Stamp) -> None:
    """Wait until an edit gives the file another time than the one in the stamp."""
    if time.time_ns() - stamp.ctime_ns < CLOCK_TICK_NS:
        time.sleep(CLOCK_TICK_NS / 1e9)
