"""Order the copies that no worker has taken yet, and decide when failures end a mapping.

Only a cause that entries share, such as a read-only file system or a store that refuses connections, may end a mapping:
forty files that only root can replace, or a policy on some keys, keep no other entry from being copied. So after a
number of failures in a row some entries are tried elsewhere, in directories where nothing failed; when all of them fail
of such a cause, the others would, too. An entry that does not fit on the disk leaves those that are smaller.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from s32s_agent.errors import AccessDenied, DirectoryError, DiskFull, StoreUnavailable
from s32s_agent.model import Copy
from s32s_agent.plan import keys

MAX_CONSECUTIVE_FAILURES = 24
"""After so many failures in a row, all of a cause that entries may share, others are tried elsewhere."""
PROBES = 8
"""How many at most; when all of them fail, the mapping ends."""
MAX_TIMES_FULL = 8
"""How often the disk may be full before nothing smaller is tried."""
_SEARCHED = 4096
"""Entries, spread over all that wait, among which others are looked for."""
_OWN_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.EBUSY,
        errno.ETXTBSY,
        errno.EFBIG,
        errno.EINVAL,
        errno.ENAMETOOLONG,
    }
)
"""Of the operating system, about one name."""


def may_be_shared(error: Exception) -> bool:
    """Return whether the cause of a failure may be one that other entries share. Pure."""
    if isinstance(error, DirectoryError):
        cause = error.__cause__
        return not (isinstance(cause, OSError) and cause.errno in _OWN_ERRORS)
    return isinstance(error, (StoreUnavailable, AccessDenied))


class Waiting:
    """The copies that no worker has taken, in their order; thread-safe.

    Args:
        copies: all of them.
    """

    def __init__(self, copies: Sequence[Copy]) -> None:
        self._copies = copies
        self._next = 0
        self._early: set[int] = set()
        """Places of those that were taken before their turn."""
        self._first: deque[int] = deque()
        """Places of those that are taken before all others."""
        self._below: int | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Copy]:
        while (copy := self._take()) is not None:
            yield copy

    def _take(self) -> Copy | None:
        with self._lock:
            while (place := self._take_place()) < len(self._copies):
                copy = self._copies[place]
                if self._below is None or copy.entry.size < self._below:
                    return copy
            return None

    def _take_place(self) -> int:
        if self._first:
            place = self._first.popleft()
            self._early.add(place)
            return place
        while self._next in self._early:
            self._next += 1
        self._next += 1
        return self._next - 1

    def look_elsewhere(self, failed: Collection[str]) -> set[str]:
        """Have some copies taken next that are far from those that failed; return their keys.

        Args:
            failed: the directories in which entries failed.
        """
        with self._lock:
            known = self._early.union(self._first)
            step = max(1, (len(self._copies) - self._next) // _SEARCHED)
            places = [
                each
                for each in range(self._next, len(self._copies), step)
                if each not in known
            ]
            of_directory: dict[str, int] = {}
            for each in places:
                of_directory.setdefault(keys.parent(self._copies[each].entry.key), each)
            found = [place for name, place in of_directory.items() if name not in failed]
            spread = places[:: max(1, len(places) // PROBES)]
            chosen = dict.fromkeys([*found[:: max(1, len(found) // PROBES)], *spread])
            self._first.extend(list(chosen)[:PROBES])
            return {self._copies[place].entry.key for place in self._first}

    def leave_out_from(self, size: int) -> None:
        """Leave out, from now on, every copy of so many bytes or more."""
        with self._lock:
            self._below = size if self._below is None else min(self._below, size)


class Failures:
    """The failures since an entry was last copied, and whether they end the mapping.

    Args:
        waiting: from which others are taken.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._in_a_row = 0
        self._directories: set[str] = set()
        self._elsewhere: set[str] = set()
        """Keys that are tried there."""
        self._times_full = 0
        self.disk_full: DiskFull | None = None
        """The first; smaller entries are still tried."""

    def begin_again(self) -> None:
        """Count from nothing: the cause is not shared, or what was tried elsewhere cannot tell."""
        self._in_a_row = 0
        self._elsewhere.clear()
        self._directories.clear()

    def add(self, copy: Copy, error: Exception) -> bool:
        """Count a failure; return whether the other entries would fail, too."""
        key = copy.entry.key
        if isinstance(error, DiskFull):
            self.disk_full = self.disk_full or error
            self._times_full += 1
            self._waiting.leave_out_from(copy.entry.size)
            self.begin_again()  # the store has answered, and what waits elsewhere may now be left out
            return self._times_full >= MAX_TIMES_FULL
        if not may_be_shared(error):
            if key in self._elsewhere:
                self.begin_again()
            return False
        self._in_a_row += 1
        self._directories.add(keys.parent(key))
        if key in self._elsewhere:
            self._elsewhere.remove(key)
            return not self._elsewhere
        if self._in_a_row >= MAX_CONSECUTIVE_FAILURES and not self._elsewhere:
            # Where none waits, all have been tried.
            self._elsewhere = self._waiting.look_elsewhere(self._directories)
        return False
