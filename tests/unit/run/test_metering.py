"""Bytes are counted, held to a rate, and stopped, whichever way they take."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from support.contents import Bytes
from support.mapping_rig import (
    MappingRig,
    Sleepless,
    copies,
)

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.errors import (
    Cancelled,
)
from s32s_agent.model import (
    Copy,
    Entry,
    Plan,
)
from s32s_agent.run.execute import carry_out
from s32s_agent.run.metering import Throttle
from s32s_agent.run.staging import ONE_PIECE
from s32s_agent.stores.base import Content, File, RangedContent, Staged

# --- the throttle ---


def test_the_throttle_holds_all_workers_to_one_rate() -> None:
    """A second's worth costs a second, and what comes at once queues up behind it."""
    token = Sleepless()
    throttle = Throttle(1000, token)
    for _ in range(3):
        throttle.take(1000)

    assert [round(pause) for pause in token.slept] == [1, 2, 3]


def test_without_a_rate_nobody_waits() -> None:
    """No limit is no waiting."""
    token = Sleepless()
    Throttle(None, token).take(1 << 40)

    assert token.slept == []


def test_bytes_are_paid_for_before_they_come(rig: MappingRig) -> None:
    """Otherwise every worker would have its first object for nothing; and no byte is paid for twice."""
    told: list[str] = []

    class Watched(Throttle):
        def take(self, size: int, _heartbeat: Heartbeat = UNWATCHED) -> None:
            told.append(f"pay {size}")

    large = b"x" * (ONE_PIECE + 5)
    rig.source.entries["a"] = large
    rig.target.when_put = lambda key: told.append(f"put {key}")
    context = replace(rig.throttled(Watched(None, rig.cancel_token)), workers=1)
    list(carry_out(Plan(copies=copies(rig.source, "a", "b")), context))

    assert told == ["pay 0", "put a", f"pay {len(large)}", "pay 4", "put b", "pay 0"]


def test_a_throttled_run_can_be_cancelled() -> None:
    """A worker that waits for the throttle ends when the run is cancelled."""
    token = CancelToken()
    throttle = Throttle(1, token)
    token.cancel()

    with pytest.raises(Cancelled):
        throttle.take(3600)


def test_every_chunk_passes_the_throttle(rig: MappingRig) -> None:
    """The bytes of all entries are counted, not their number."""
    context = rig.throttled(Throttle(4, rig.cancel_token))
    list(carry_out(Plan(copies=copies(rig.source, "a", "b")), context))

    assert sorted(round(pause) for pause in rig.cancel_token.slept) == [1, 2]


@dataclass
class Ranged(Bytes, RangedContent):
    """A content that writes its pieces to a file, the last one first, and then reads it all."""

    def fill(self, file: File, kept: int) -> None:
        end = kept + sum(map(len, self.pieces))
        for piece in reversed(self.pieces):
            end -= len(piece)
            file.write(piece, end)
        file.read(1 << 20, 0)


@dataclass
class Noted:
    """A file that notes what is done to it."""

    log: list[str] = field(default_factory=list)
    when_written: Callable[[], None] = lambda: None

    def write(self, chunk: bytes, position: int) -> None:
        self.when_written()
        self.log.append(f"write {len(chunk)} at {position}")

    def read(self, size: int, position: int) -> bytes:
        self.log.append(f"read {size} at {position}")
        return b""


@pytest.fixture
def ranged(rig: MappingRig) -> tuple[MappingRig, Noted]:
    """A source whose one entry comes in two ranges behind ten bytes that are there already, and the file."""
    content = Ranged((b"123", b"4567"))

    @contextlib.contextmanager
    def opened(_: Entry, __: Heartbeat) -> Iterator[Content]:
        yield content

    rig.source.open = opened  # type: ignore[method-assign, assignment]
    file = Noted()

    def put(copy: Copy, content: Content, _: Heartbeat = UNWATCHED) -> Staged:
        assert isinstance(content, RangedContent)
        content.fill(file, 10)
        rig.target.staged[copy.entry.key] = b""
        return Staged(copy, content.verified, "", None, copy.entry.key)

    rig.target.put = put  # type: ignore[method-assign, assignment]
    return rig, file


def test_every_range_passes_the_throttle_and_is_counted(
    ranged: tuple[MappingRig, Noted],
) -> None:
    """What is transferred is held to the rate; what was there already is only counted."""
    rig, file = ranged
    context = rig.throttled(Throttle(1, rig.cancel_token))
    (copy,) = copies(rig.source, "a")
    large = copy._replace(entry=copy.entry._replace(size=ONE_PIECE + 1))

    list(carry_out(Plan(copies=(large,)), context))

    assert sorted(round(pause) for pause in rig.cancel_token.slept) == [4, 7]
    assert sorted(size for entries, size in rig.progress if not entries) == [3, 4, 10]
    assert file.log == ["write 4 at 13", "write 3 at 10", "read 1048576 at 0"]


def test_a_stop_ends_a_download_in_ranges(ranged: tuple[MappingRig, Noted]) -> None:
    """When somebody asked, not one range more is written, and nothing is hashed."""
    rig, file = ranged
    file.when_written = rig.cancel_token.cancel

    with pytest.raises(Cancelled):
        list(carry_out(Plan(copies=copies(rig.source, "a")), rig.context))

    assert file.log == ["write 4 at 13"]
