"""A source and a target that can be made to fail, an index, and what carries out plans between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.errors import (
    AgentError,
    EntryError,
)
from s32s_agent.model import (
    Copy,
    Delete,
    Entry,
    IndexRow,
    Outcome,
    Plan,
    Stamp,
    Withheld,
)
from s32s_agent.run.context import MappingContext
from s32s_agent.run.execute import carry_out
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.state.index import Index, MappingIndex
from s32s_agent.stores.base import Content, Published, Staged
from s32s_agent.stores.memory import MemoryStore
from support.contents import copy_of, entry_of

STAMP = Stamp(4, 1, 2, 3)


class Sleepless(CancelToken):
    """Counts the seconds instead of sleeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float, _heartbeat: Heartbeat | None = None) -> None:
        self.check()
        self.slept.append(seconds)


class Source(MemoryStore):
    """A store whose versions can be made to fail, by key."""

    def __init__(self, entries: dict[str, bytes] | None = None) -> None:
        super().__init__(entries)
        self.failures: dict[str, list[Exception]] = {}
        self.opened: list[str] = []
        self.asked: list[str] = []
        self.missed: set[str] = set()
        """What exists although no listing showed it."""
        self.when_asked: Callable[[], None] = lambda: None
        self.when_opened: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        self.opened.append(entry.key)
        self.when_opened()
        if failures := self.failures.get(entry.key):
            raise failures.pop(0)
        with super().open(entry) as content:
            yield content

    def confirm_absent(self, key: str) -> bool:
        self.asked.append(key)
        self.when_asked()
        return super().confirm_absent(key) and key not in self.missed


class Target(MemoryStore):
    """A store that notes what is done to it, in order."""

    def __init__(self, entries: dict[str, bytes] | None = None) -> None:
        super().__init__(entries)
        self.log: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.batches: list[int] = []
        self.discarded: list[str] = []
        self.refused: set[str] = set()
        """Keys that cannot be published."""
        self.stuck: dict[str, AgentError] = {}
        """What cannot be swept."""
        self.room = 0
        self.together: list[set[str] | AgentError] = []
        """What became of each request that deletes many: the keys that are gone, or an error."""
        self.when_put: Callable[[str], None] = lambda _key: None

    def put(self, copy: Copy, content: Content, _heartbeat: Heartbeat = UNWATCHED) -> Staged:
        key = copy.entry.key
        self.when_put(key)
        if failures := self.failures.get(key):
            raise failures.pop(0)
        staged = super().put(copy, content)
        self.log.append(f"put {key}")
        return replace(staged, stamp=STAMP)

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        self.batches.append(len(staged))
        self.log += [f"show {each.copy.entry.key}" for each in staged]
        for each in staged:
            if each.copy.entry.key in self.refused:
                yield Published(each, None, EntryError("in the way"))
            else:
                yield from super().publish([each])

    def discard(self, staged: Staged) -> None:
        self.discarded.append(staged.copy.entry.key)
        super().discard(staged)

    def delete(self, entry: Entry) -> bool:
        self.log.append(f"delete {entry.key}")
        if failures := self.failures.get(entry.key):
            raise failures.pop(0)
        return super().delete(entry)

    def delete_many(self, entries: Sequence[Entry]) -> set[str]:
        self.log.append(f"delete together {' '.join(each.key for each in entries)}")
        result = self.together.pop(0)
        if isinstance(result, AgentError):
            raise result
        for key in result:
            del self.entries[key]
        return result

    def remove_leftovers(
        self, leftovers: Sequence[str] = (), copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        self.log.append("remove leftovers")
        return super().remove_leftovers(leftovers, copies) | self.stuck

    def free_space(self) -> bool:
        self.log.append("free space")
        self.room -= 1
        return self.room >= 0


@dataclass
class MappingRig:
    """A source, a target, an index, and what carries out plans between them."""

    source: Source
    target: Target
    index: MappingIndex
    cancel_token: Sleepless = field(default_factory=Sleepless)
    workers: int = 4
    progress: list[tuple[int, int]] = field(default_factory=list)

    @property
    def context(self) -> MappingContext:
        return MappingContext(
            self.source,
            self.target,
            self.index,
            self.workers,
            Meter(
                Throttle(None, self.cancel_token),
                self.cancel_token,
                lambda entries, size: self.progress.append((entries, size)),
            ),
        )

    def throttled(self, throttle: Throttle) -> MappingContext:
        """The same with another throttle."""
        context = self.context
        return replace(context, meter=replace(context.meter, throttle=throttle))

    def run(self, plan: Plan) -> list[Outcome | Withheld]:
        return list(carry_out(plan, self.context))

    def run_to_its_end(
        self, plan: Plan, error: type[BaseException]
    ) -> tuple[list[Outcome | Withheld], str]:
        """Carry out a plan that ends early; also give the error's message."""
        found: list[Outcome | Withheld] = []
        with pytest.raises(error) as caught:
            found.extend(carry_out(plan, self.context))
        return found, str(caught.value)

    def known(self) -> list[str]:
        return [row.key for row in self.index.rows()]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[MappingRig]:
    """A source with two files and a directory, and a target with others that the index knows."""
    with contextlib.closing(Index(tmp_path / "index.db")) as index:
        rows = index.of_mapping("m")
        rows.remember([IndexRow("old", "e", STAMP), IndexRow("x", "e", STAMP)])
        source = Source({"a": b"aaaa", "b": b"bbbb", "d/": b""})
        target = Target({"old": b"", "x": b"", "e/": b""})
        yield MappingRig(source, target, rows)


def copies(source: MemoryStore, *names: str) -> tuple[Copy, ...]:
    return tuple(copy_of(name, source.entries[name]) for name in names)


def blocked(source: MemoryStore, *names: str) -> tuple[Copy, ...]:
    """Make copies in whose way something stands."""
    return tuple(each._replace(blocked=True) for each in copies(source, *names))


def deletes(*names: str) -> tuple[Delete, ...]:
    return tuple(Delete(entry_of(name)) for name in names)


def brief(found: Sequence[Outcome | Withheld]) -> dict[str, str]:
    return {each.key: each.status.value for each in found if isinstance(each, Outcome)}


def many(source: MemoryStore, count: int) -> tuple[Copy, ...]:
    names = [f"f{number:05}" for number in range(count)]
    source.entries.update(dict.fromkeys(names, b"data"))
    return copies(source, *names)
