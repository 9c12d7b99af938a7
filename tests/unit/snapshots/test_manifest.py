"""The format of snapshots: what is written can be read, and what anything is wrong with is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from s32s_agent.errors import ListingInconsistent
from s32s_agent.model import Entry, Kind, Location
from s32s_agent.snapshots.chunks import MAX_UNPACKED, Chunk, Cut, pack, unpack
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import (
    Channel,
    Snapshot,
    decode_channel,
    decode_snapshot,
    encode_channel,
    encode_snapshot,
    sha256_of,
)

ETAG = "0" * 32
WHEN = datetime(2026, 12, 1, 10, 15, tzinfo=UTC)
SITE = Location("bucket", "site")
CHUNK = Chunk("a" * 64, "a", 2, 100)
SNAPSHOT = Snapshot("20261201T101500Z-3fd2a1", "site", str(SITE), WHEN, "web1", 1, 5, (CHUNK,))
SMALL = Cut(least=2, mean=4, greatest=16)
FREE = Cut(least=1, mean=4)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def channel_of(data: bytes, **changes: Any) -> Channel:
    """Return a channel that points to these bytes of a snapshot."""
    channel = Channel(7, SNAPSHOT.id, sha256_of(data), 1, 5, WHEN, "web1", "")
    return replace(channel, **changes)


def entry_of(key: str, etag: str = ETAG) -> Entry:
    """Return an entry of this key."""
    return Entry(key, kind=Kind.DIRECTORY) if key.endswith("/") else Entry(key, 5, etag)


def file_of(key: str) -> Entry:
    """Return a file."""
    return Entry(key, 5, ETAG)


def chunk_of(data: bytes, **changes: Any) -> Chunk:
    """Return how a snapshot would name these bytes."""
    chunk = Chunk(hashlib.sha256(data).hexdigest(), "a", 1, len(data))
    return chunk._replace(**changes)


def lines(*rows: str) -> bytes:
    """Return a chunk of these lines."""
    return gzip.compress("".join(f"{row}\n" for row in rows).encode(), mtime=0)


LINE = f'{{"key":"a","size":5,"etag":"{ETAG}"}}'


@given(st.sets(KEYS), st.sampled_from([SMALL, FREE, Cut()]))
def test_a_list_of_entries_survives_the_round_trip(names: set[str], cut: Cut) -> None:
    entries = [entry_of(key) for key in sorted(names)]

    found: list[Entry] = []
    for chunk, data in pack(entries, cut):
        found += unpack(chunk, data, found[-1].key if found else "")

    assert found == entries


def test_an_etag_that_the_store_writes_in_its_own_way_survives() -> None:
    entry = Entry("a", 5, "abc", raw_etag='W/"abc"')

    ((chunk, data),) = pack([entry])

    assert unpack(chunk, data) == [entry]


@given(st.sets(KEYS, min_size=1, max_size=60), st.data())
def test_a_changed_entry_changes_one_chunk(names: set[str], data: st.DataObject) -> None:
    keys = [f"k{name}x" for name in sorted(names)]
    changed = data.draw(st.sampled_from(keys))

    before = {chunk for chunk, _ in pack(map(entry_of, keys), SMALL)}
    after = {
        chunk
        for chunk, _ in pack(
            (entry_of(key, "1" * 32 if key == changed else ETAG) for key in keys), SMALL
        )
    }

    assert (len(before - after), len(after - before)) == (1, 1)


@given(st.sets(KEYS, min_size=1, max_size=60), st.data())
def test_an_added_entry_changes_one_chunk_or_splits_it(
    names: set[str], data: st.DataObject
) -> None:
    keys = sorted(f"k{name}x" for name in names)
    added = data.draw(st.sampled_from(keys))

    before = {chunk for chunk, _ in pack((file_of(k) for k in keys if k != added), FREE)}
    after = {chunk for chunk, _ in pack(map(file_of, keys), FREE)}

    assert len(before - after) <= 1
    assert len(after - before) <= 2


def test_one_new_key_in_a_large_prefix_costs_one_or_two_chunks() -> None:
    """With the cut that is used: 200 kB of 30 MB."""
    names = [f"d{number // 100:04}/{number:06}.html" for number in range(30_000)]
    cut = Cut(least=64, mean=512, greatest=4096)
    before = {chunk for chunk, _ in pack(map(file_of, names), cut)}

    for place in range(500, 30_000, 7_000):
        more = sorted([*names, f"{names[place]}.new"])
        after = {chunk for chunk, _ in pack(map(file_of, more), cut)}
        assert len(after - before) <= 2
    assert 20 < len(before) < 100


@settings(max_examples=60)
@given(st.data())
def test_no_changed_byte_of_a_chunk_is_believed(data: st.DataObject) -> None:
    ((chunk, packed),) = pack([Entry("a", 1, ETAG), Entry("b", 2, ETAG)])
    place = data.draw(st.integers(0, len(packed) - 1))
    flipped = packed[place] ^ data.draw(st.integers(1, 255))

    with pytest.raises(NotASnapshot):
        unpack(chunk, packed[:place] + bytes([flipped]) + packed[place + 1 :])


@settings(max_examples=60)
@given(st.data())
def test_no_changed_byte_of_a_snapshot_is_believed(data: st.DataObject) -> None:
    encoded = encode_snapshot(SNAPSHOT)
    place = data.draw(st.integers(0, len(encoded) - 1))
    flipped = encoded[place] ^ data.draw(st.integers(1, 255))

    with pytest.raises(NotASnapshot):
        decode_snapshot(
            encoded[:place] + bytes([flipped]) + encoded[place + 1 :],
            channel_of(encoded),
            "site",
            SITE,
        )


def test_channel_and_snapshot_survive_the_round_trip() -> None:
    data = encode_snapshot(SNAPSHOT)
    channel = channel_of(data, previous="20261201T101400Z-000000")

    assert decode_channel(encode_channel(channel)) == channel
    assert decode_snapshot(data, channel, "site", SITE) == SNAPSHOT


def test_fields_of_a_later_version_are_ignored() -> None:
    data = encode_snapshot(SNAPSHOT)
    document = {**json.loads(encode_channel(channel_of(data))), "colour": {"deep": [1]}}

    assert decode_channel(json.dumps(document).encode()) == channel_of(data)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_end_in_another_error(data: bytes) -> None:
    for read in (
        lambda: decode_channel(data),
        lambda: decode_snapshot(data, channel_of(data), "site", SITE),
        lambda: unpack(chunk_of(data), data),
        lambda: unpack(chunk_of(gzip.compress(data)), gzip.compress(data)),
    ):
        with pytest.raises(ListingInconsistent):
            read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema_version", 2),
        ("schema_version", True),
        ("sequence", -1),
        ("sequence", 2**63),
        ("sequence", 1.5),
        ("sequence", "7"),
        ("snapshot", "../../maps/evil"),
        ("snapshot", None),
        ("sha256", "A" * 64),
        ("objects", None),
        ("created", "2026-12-01"),
        ("created", "x" * 2000),
        ("by", 1),
        ("by", "\ud800"),
        ("previous", "no id"),
    ],
)
def test_a_channel_with_a_wrong_field_moves_no_server(name: str, value: object) -> None:
    document = json.loads(encode_channel(channel_of(b"")))
    document[name] = value

    with pytest.raises(NotASnapshot, match=name):
        decode_channel(json.dumps(document).encode())


def test_a_channel_that_says_two_things_is_refused() -> None:
    data = encode_channel(channel_of(b"")).replace(b'"by"', b'"sequence": 8, "by"')

    with pytest.raises(NotASnapshot, match="repeated"):
        decode_channel(data)


def test_the_snapshot_of_another_mapping_or_prefix_empties_no_directory() -> None:
    data = encode_snapshot(SNAPSHOT)

    with pytest.raises(NotASnapshot, match='"site", expected "other"'):
        decode_snapshot(data, channel_of(data), "other", SITE)
    with pytest.raises(NotASnapshot, match="bucket/site"):
        decode_snapshot(data, channel_of(data), "site", Location("bucket", "other"))


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.update(id="20261201T101500Z-000000"),
        lambda each: each.update(objects=3),
        lambda each: each.update(bytes=6),
        lambda each: each.update(chunks=None),
        lambda each: each.update(chunks=[1]),
        lambda each: each["chunks"].append(each["chunks"][0]),
        lambda each: each["chunks"][0].update(count=0),
        lambda each: each["chunks"][0].update(count=10**6),
        lambda each: each["chunks"][0].update(size=10**9),
        lambda each: each["chunks"][0].update(sha256="../x"),
        lambda each: each["chunks"][0].update(first=""),
        lambda each: each["chunks"][0].update(first="k" * 1025),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    document = json.loads(encode_snapshot(SNAPSHOT))
    change(document)
    data = json.dumps(document).encode()

    with pytest.raises(NotASnapshot):
        decode_snapshot(data, channel_of(data), "site", SITE)


@pytest.mark.parametrize(
    "data",
    [
        lines(LINE, LINE),
        lines(LINE, f'{{"key":"A","size":5,"etag":"{ETAG}"}}'),
        lines(f"{LINE},{LINE}"),
        lines("[1]"),
        lines("[" * 100_000),
        lines('{"key":"a","size":5,"etag":"x"', '"size":6}'),
        lines(f'{{"key":"a","size":5,"size":6,"etag":"{ETAG}"}}'),
        lines('{"key":"a","size":-5,"etag":"x"}'),
        lines('{"key":"a","size":true,"etag":"x"}'),
        lines('{"key":"a","size":5,"etag":""}'),
        lines('{"key":"a","size":5}'),
        lines('{"key":"a","size":5,"etag":"x\\r\\nHost: evil"}'),
        lines('{"key":"a","size":5,"etag":"modified 2026"}'),
        lines('{"key":"a","size":5,"etag":"x","raw_etag":"\\"other\\""}'),
        lines('{"key":"a/","size":5,"etag":""}'),
        lines('{"key":"\\ud800","size":5,"etag":"x"}'),
        gzip.compress(b"", mtime=0),
        gzip.compress(LINE.encode(), mtime=0),
        gzip.compress(b"\n" * (MAX_UNPACKED + 1), mtime=0),
        lines(LINE)[:-1],
        lines(LINE) + b"\0",
        lines(LINE) + lines(LINE),
        b"",
    ],
    ids=lambda data: hashlib.sha256(data).hexdigest()[:8],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_chunk_that_anything_is_wrong_with_proves_nothing(data: bytes, count: int) -> None:
    with pytest.raises(NotASnapshot):
        unpack(chunk_of(data, entries=count), data)


def test_a_chunk_is_where_the_snapshot_says() -> None:
    data = lines(LINE)

    assert unpack(chunk_of(data), data) == [Entry("a", 5, ETAG)]
    for chunk, after in (
        (chunk_of(data, first="b"), ""),
        (chunk_of(data, entries=2), ""),
        (chunk_of(data), "a"),
    ):
        with pytest.raises(NotASnapshot):
            unpack(chunk, data, after)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", 5, "modified 2026-12-01T10:15:00Z"),
        Entry("a", 5, None),
        Entry("a", kind=Kind.LINK),
        Entry("a\ud800", 5, ETAG),
        Entry("a" * 1025, 5, ETAG),
    ],
)
def test_an_entry_that_no_request_can_pin_is_not_published(entry: Entry) -> None:
    with pytest.raises(NotASnapshot):
        list(pack([entry]))


def test_the_published_schema_takes_what_is_written_and_refuses_what_is_not_read() -> None:
    path = Path(__file__).parents[3] / "etc/schema/snapshots.schema.json"
    takes = Draft202012Validator(json.loads(path.read_text())).is_valid
    data = encode_snapshot(SNAPSHOT)
    channel, snapshot = json.loads(encode_channel(channel_of(data))), json.loads(data)

    assert all(map(takes, (channel, snapshot, json.loads(LINE))))
    assert not takes({**channel, "sequence": -1})
    assert not takes({**snapshot, "chunks": [1]})
    assert not takes({"key": "", "size": 1, "etag": ""})


def test_a_listing_out_of_order_is_not_published() -> None:
    with pytest.raises(NotASnapshot, match="after"):
        list(pack([entry_of("b"), entry_of("a")]))
