"""In which order copies are taken when some of them fail, and which failures end a mapping."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    DiskFull,
    EntryError,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, Why
from s32s_agent.run.waiting import (
    MAX_CONSECUTIVE_FAILURES,
    MAX_TIMES_FULL,
    PROBES,
    Failures,
    Waiting,
    may_be_shared,
)
from s32s_agent.stores.local.translate import translate


def copies(*keys: str, size: int = 1) -> list[Copy]:
    return [Copy(Entry(key, size), Why.NEW) for key in keys]


def from_system(number: int) -> AgentError:
    return translate(OSError(number, os.strerror(number)), "key")


@pytest.mark.parametrize(
    ("error", "shared"),
    [
        (from_system(errno.EROFS), True),
        (from_system(errno.EIO), True),
        (from_system(errno.ESTALE), True),
        (from_system(errno.EMFILE), True),
        (from_system(errno.EACCES), False),
        (from_system(errno.EPERM), False),
        (from_system(errno.EBUSY), False),
        (StoreUnavailable("connection refused"), True),
        (AccessDenied("403"), True),
        (EntryError("a name that no file has"), False),
    ],
)
def test_which_causes_entries_may_share(error: Exception, *, shared: bool) -> None:
    """What the system says of one name is that name's own."""
    assert may_be_shared(error) is shared


def test_others_are_tried_before_a_mapping_ends() -> None:
    """In each directory where nothing has failed, before the rest of the one where all did."""
    bad = copies(*(f"a/{number:03}" for number in range(100)))
    rest = copies(*(f"{name}/{number}" for name in "bcd" for number in range(9)))
    waiting = Waiting([*bad, *rest])
    failures, taken = Failures(waiting), iter(waiting)
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        assert not failures.add(next(taken), AccessDenied("403"))

    tried = [next(taken) for _ in range(PROBES)]

    assert {copy.entry.key for copy in tried} >= {"b/0", "c/0", "d/0"}
    assert [failures.add(copy, AccessDenied("403")) for copy in tried] == [
        *([False] * (PROBES - 1)),
        True,
    ]


def test_one_that_arrives_elsewhere_begins_the_count_again() -> None:
    """The others in the bad directory are tried, and only so many failures later is it looked elsewhere again."""
    waiting = Waiting(copies(*(f"a/{number:03}" for number in range(200)), "b/0"))
    failures, taken = Failures(waiting), iter(waiting)
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        failures.add(next(taken), AccessDenied("403"))
    assert next(taken).entry.key == "b/0"
    failures.begin_again()

    assert not any(failures.add(next(taken), AccessDenied("403")) for _ in range(PROBES + 9))


@pytest.mark.parametrize("settles_nothing", [from_system(errno.EACCES), DiskFull("full")])
def test_a_store_that_goes_down_ends_the_mapping_whatever_became_of_an_entry_elsewhere(
    settles_nothing: Exception,
) -> None:
    """One that fails for a reason of its own, or does not fit, was waited for for ever, and every entry was tried."""
    waiting = Waiting(
        copies(*(f"{name}/{number:03}" for name in "abcdefghijkl" for number in range(200)))
    )
    failures, taken = Failures(waiting), iter(waiting)
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        failures.add(next(taken), AccessDenied("403"))
    first = next(taken)
    assert not failures.add(
        first._replace(entry=first.entry._replace(size=9)), settles_nothing
    )

    tried = 0
    while not failures.add(next(taken), StoreUnavailable("connection refused")):
        tried += 1

    assert tried < 2 * (MAX_CONSECUTIVE_FAILURES + PROBES)


def test_failures_that_no_worker_waits_behind_end_nothing() -> None:
    """All have been taken: their results are on the way, and may be good ones."""
    waiting = Waiting(copies(*(f"a/{number:03}" for number in range(60))))
    failures, taken = Failures(waiting), list(waiting)

    assert not any(failures.add(copy, StoreUnavailable("refused")) for copy in taken)


def test_a_file_that_does_not_fit_leaves_the_smaller_ones() -> None:
    """What is as large is not tried; the first error is kept, and a disk that is full again and again ends it."""
    sizes = [5, 900, 700, 3, 900, 1, 800]
    waiting = Waiting([Copy(Entry(f"{n}", size), Why.NEW) for n, size in enumerate(sizes)])
    failures, taken, first = Failures(waiting), iter(waiting), DiskFull("full")
    next(taken)
    assert not failures.add(next(taken), first)
    assert not failures.add(next(taken), DiskFull("again"))

    assert [copy.entry.size for copy in taken] == [3, 1]
    assert failures.disk_full is first
    results = [failures.add(copies("x")[0], DiskFull("x")) for _ in range(MAX_TIMES_FULL - 2)]
    assert results[-1]
    assert not any(results[:-1])


@given(
    st.lists(st.text("abc/", min_size=1, max_size=6), unique=True, max_size=80),
    st.data(),
)
def test_every_copy_is_taken_once_whatever_fails(keys: list[str], data: st.DataObject) -> None:
    """However often it is looked elsewhere meanwhile."""
    waiting = Waiting(copies(*keys))
    taken = []
    for copy in waiting:
        taken.append(copy.entry.key)
        if data.draw(st.booleans()):
            waiting.look_elsewhere({copy.entry.key.rpartition("/")[0]})

    assert sorted(taken) == sorted(keys)
