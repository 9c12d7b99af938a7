"""Whatever both sides hold, one pass makes the target equal to the source, and the next one finds nothing to do."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.trees import snapshot

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    DiskFull,
    EntryError,
    EntryUnreadable,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import (
    Check,
    Copy,
    Delete,
    Entry,
    Extras,
    IndexRow,
    Location,
    Mapping,
    Outcome,
    Plan,
    Status,
    Withheld,
)
from s32s_agent.plan import keys
from s32s_agent.plan.compare import difference
from s32s_agent.plan.plan import DeleteGuards, make_plan
from s32s_agent.run.context import MappingContext
from s32s_agent.run.execute import carry_out
from s32s_agent.run.hashing import equal_by_hash
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.state.index import Index, MappingIndex
from s32s_agent.stores.base import Content, Source, Staged, Target
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.local.target import LocalOptions, LocalTarget
from s32s_agent.stores.local.tree import Tree
from s32s_agent.stores.memory import MemoryStore

MAPPING = Mapping("m", Location("bucket", "p"), "/srv/m")
EVERYTHING = DeleteGuards(lambda count: count, allow_empty_source=True)
PROFILE = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

PARTS = st.sampled_from(["a", "b", "a-", "a.", "-", "a0", "b.c"])
KEYS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
IMPOSSIBLE = st.sampled_from(["../a", "a/../b", "a//b", "/a", "a/.", ".s32s/a", ".s32s-tmp.a"])
DATA = st.sampled_from([b"", b"1", b"2", b"33", b"44"])
"""Few sizes and few contents, so that equal sizes, and equal files, happen."""
DIRECTORIES = KEYS.map(lambda key: f"{key}/")
BUCKETS = st.builds(
    lambda files, odd, markers: {**files, **odd, **dict.fromkeys(markers, b"")},
    st.dictionaries(KEYS, DATA, max_size=8),
    st.dictionaries(IMPOSSIBLE, DATA, max_size=1),
    st.sets(DIRECTORIES, max_size=2),
)
Entries = dict[str, bytes]


@st.composite
def trees(draw: st.DrawFn) -> Entries:
    """Draw what a directory can hold: no file is a directory too."""
    found: Entries = {}
    for key, data in draw(
        st.dictionaries(st.one_of(KEYS, DIRECTORIES), DATA, max_size=8)
    ).items():
        bare = key.removesuffix("/")
        above = [name.removesuffix("/") for name in keys.ancestors(key)]
        taken = any(other.startswith(f"{bare}/") for other in found) or bare in found
        if not taken and found.keys().isdisjoint(above):
            found[key] = b"" if key.endswith("/") else data
    return found


class Sleepless(CancelToken):
    """Waits for nothing."""

    def sleep(self, seconds: float, _heartbeat: Heartbeat | None = None) -> None:
        assert seconds >= 0
        self.check()


FAILURES: dict[str, type[AgentError]] = {
    "changed": SourceChanged,
    "denied": AccessDenied,
    "down": StoreUnavailable,
    "archived": EntryUnreadable,
    "torn": IntegrityError,
    "full": DiskFull,
    "in the way": EntryError,
}
AT_TARGET = {"full", "in the way"}


class FlakySource(MemoryStore):
    """Fails for chosen keys, when they are opened or in the middle of their bytes."""

    def __init__(self, entries: Entries, failing: dict[str, str]) -> None:
        super().__init__(entries)
        self._failing = failing

    @contextlib.contextmanager
    def open(self, entry: Entry, _heartbeat: Heartbeat = UNWATCHED) -> Iterator[Content]:
        kind = self._failing.get(entry.key, "")
        if kind and kind not in AT_TARGET and kind != "torn":
            raise FAILURES[kind](kind)
        with super().open(entry) as content:
            yield _Torn(content) if kind == "torn" else content


class _Torn:
    def __init__(self, content: Content) -> None:
        self.attributes, self.stamp, self.verified = content.attributes, None, ""

    def chunks(self) -> Iterator[bytes]:
        yield b"half of"
        raise IntegrityError("torn")


class FlakyTarget(LocalTarget):
    """Fails for chosen keys, when they are put."""

    failing: dict[str, str]

    def put(self, copy: Copy, content: Content, _heartbeat: Heartbeat = UNWATCHED) -> Staged:
        kind = self.failing.get(copy.entry.key, "")
        if kind in AT_TARGET:
            raise FAILURES[kind](kind)
        return super().put(copy, content)


@dataclass
class World:
    """A directory with an index, and the bucket beside it."""

    root: Path
    index: MappingIndex
    passes: int = 0
    plan: Plan = field(default_factory=Plan)
    """Of the last pass."""
    outcomes: list[Outcome | Withheld] = field(default_factory=list)

    def fill(self, entries: Entries) -> None:
        for key, data in entries.items():
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            if key.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(data)

    def shown(self) -> Entries:
        """Give the tree as entries, every directory with its slash."""
        return {
            f"{key}/" if data is None else key: data or b""
            for key, data in snapshot(self.root).items()
        }

    @contextlib.contextmanager
    def store(self, failing: dict[str, str] | None = None) -> Iterator[FlakyTarget]:
        self.passes += 1
        options = LocalOptions(f"20261122T204012Z-{self.passes:06x}", durable=False)
        store = FlakyTarget(Tree(str(self.root)), self.index, options)
        store.failing = failing or {}
        with contextlib.closing(store):
            yield store

    def pass_between(
        self, source: Source, target: Target, local: LocalSource | LocalTarget
    ) -> Plan:
        """Do what a pass does; give its plan."""
        token = Sleepless()
        meter = Meter(Throttle(None, token), token, lambda _count, _size: None)
        context = MappingContext(source, target, self.index, 3, meter)
        is_slave = target is local
        target_scan = target.scan()
        found = difference(source.scan(), target_scan, MAPPING)

        def there(check: Check) -> Entry:
            return check.entry if is_slave else check.found

        same = equal_by_hash(
            found.checks,
            lambda check: local.open(check.found if is_slave else check.entry),
            lambda check: (there(check).etag or "", ()),
            context.workers,
            meter,
        )
        plan = make_plan(found, same, Extras.DELETE, EVERYTHING)
        self.index.remember(
            IndexRow(each.entry.key, there(each).etag or "", same[each.entry.key])
            for each in plan.adopted
        )
        self.plan = plan
        self.outcomes.clear()
        self.outcomes.extend(carry_out(plan, context, target_scan.learned.leftovers))
        return plan

    def pull(self, bucket: Entries, failing: dict[str, str] | None = None) -> Plan:
        """Make the directory equal to the bucket, as a slave does."""
        with self.store(failing) as local:
            return self.pass_between(FlakySource(bucket, failing or {}), local, local)

    def push(self, bucket: MemoryStore) -> Plan:
        """Make the bucket equal to the directory, as a master does."""
        with contextlib.closing(LocalSource(Tree(str(self.root)), self.index.rows)) as local:
            return self.pass_between(local, bucket, local)


FLAKY_BUCKETS = BUCKETS.flatmap(
    lambda bucket: st.tuples(
        st.just(bucket),
        st.dictionaries(
            st.sampled_from(sorted(bucket) or [""]),
            st.sampled_from(sorted(FAILURES)),
            max_size=3,
        ),
    )
)
"""A bucket, and what fails in it."""


@contextlib.contextmanager
def world(entries: Entries) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        root.mkdir()
        with contextlib.closing(Index(Path(directory) / "index.db")) as index:
            made = World(root, index.of_mapping("m"))
            made.fill(entries)
            yield made


def clashing(bucket: Entries) -> set[str]:
    """Give the files that have something below them."""
    files = [key for key in bucket if not key.endswith("/") and keys.unmappable(key) is None]
    mappable = [key for key in bucket if keys.unmappable(key) is None]
    return {file for file in files if any(key.startswith(f"{file}/") for key in mappable)}


def in_scope(key: str, scopes: set[str]) -> bool:
    return any(
        key.removesuffix("/") == scope or key.startswith(f"{scope}/") for scope in scopes
    )


def expected_tree(bucket: Entries, before: Entries) -> Entries:
    """Say what a pass leaves: the bucket, but for impossible names and for clashes, which stay as they were."""
    scopes = clashing(bucket)
    after = {
        key: data
        for key, data in bucket.items()
        if keys.unmappable(key) is None and not in_scope(key, scopes)
    }
    after |= {key: data for key, data in before.items() if in_scope(key, scopes)}
    above = {name for key in after for name in keys.ancestors(key)}
    # A directory that was there stays for what the bucket has in it, though it cannot come.
    above |= {name for key in scopes for name in keys.ancestors(key) if name in before}
    return after | dict.fromkeys(above, b"")


def actions(plan: Plan) -> list[Copy | Delete]:
    return [*plan.clears, *plan.copies, *plan.deletes]


@PROFILE
@given(BUCKETS, trees())
@example({"a/b": b"1"}, {"a": b"2"})
@example({"a": b"1"}, {"a/b/c": b"2", "a/d/": b""})
@example({"a": b"1", "a-": b"1", "a/b": b"1"}, {"a/": b""})
@example({"a": b"1", "a/b": b"1"}, {"a/c": b"1", "b": b"2"})
@example({"b": b"1", "a/": b""}, {"a": b"2"})
def test_one_pass_makes_the_directory_equal(bucket: Entries, tree: Entries) -> None:
    """After one pass the directory is the bucket, and the second pass has nothing to do."""
    with world(tree) as here:
        before = here.shown()
        here.pull(bucket)
        after = here.shown()
        again = here.pull(bucket)

        assert after == expected_tree(bucket, before)
        assert actions(again) == []
        assert again.adopted == ()
        assert here.shown() == after


@PROFILE
@given(BUCKETS, BUCKETS, trees())
def test_the_directory_follows_the_bucket(
    first: Entries, second: Entries, tree: Entries
) -> None:
    """A bucket that changed is followed with the index of the pass before."""
    with world(tree) as here:
        here.pull(first)
        before = here.shown()
        here.pull(second)
        after = here.shown()

        assert after == expected_tree(second, before)
        assert actions(here.pull(second)) == []


@PROFILE
@given(FLAKY_BUCKETS, trees())
@example(({"a": b"1", "b": b"22"}, {"a": "down"}), {"b": b"old", "a0": b"x"})
@example(({"a/b": b"1", "b": b""}, {"a/b": "full"}), {"a": b"x", "a0": b"x"})
def test_no_failure_loses_a_file(case: tuple[Entries, dict[str, str]], tree: Entries) -> None:
    """A pass with failures takes away only what its plan says, and nothing extra when a copy failed."""
    bucket, failing = case
    with world(tree) as here:
        before = here.shown()
        with contextlib.suppress(DiskFull):
            here.pull(bucket, failing)
        plan = here.plan
        during = here.shown()
        failed = any(
            isinstance(each, Outcome) and each.status is Status.FAILED
            for each in here.outcomes
        )
        allowed = {each.entry.key for each in actions(plan)}
        if failed:
            allowed -= {each.entry.key for each in plan.deletes}
        lost = {key for key in before if key not in during}
        changed = {key for key in during if during[key] != before.get(key)} & before.keys()
        leftovers = [path for path in here.root.rglob(".s32s-tmp.*") if path.is_file()]
        here.pull(bucket)

        assert lost <= allowed
        assert all(during[key] == bucket[key] for key in changed)
        assert leftovers == []
        assert here.shown() == expected_tree(bucket, before | _kept(during, bucket))
        assert actions(here.pull(bucket)) == []


def _kept(during: Entries, bucket: Entries) -> Entries:
    """What a first pass left in a clash's place stays there."""
    return {key: data for key, data in during.items() if in_scope(key, clashing(bucket))}


@PROFILE
@given(trees(), BUCKETS)
@example({"a/b": b"1"}, {"a": b"2"})
@example({"a": b"1"}, {"a/b": b"2"})
def test_one_pass_makes_the_bucket_equal(tree: Entries, bucket: Entries) -> None:
    """A master's bucket holds the files of its directory and no others, empty directories as markers."""
    store = MemoryStore(bucket)
    with world(tree) as here:
        here.push(store)
        shown = here.shown()
        files = {key: data for key, data in shown.items() if not key.endswith("/")}
        occupied = {name for key in shown for name in keys.ancestors(key)}
        empty = {key for key in shown if key.endswith("/")} - occupied
        markers = {key for key in store.entries if key.endswith("/")}
        again = here.push(store)

        assert {key: data for key, data in store.entries.items() if key[-1] != "/"} == files
        assert empty <= markers <= shown.keys()
        assert actions(again) == []
