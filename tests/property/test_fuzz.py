"""Whatever bytes come in, a parser gives a value or its own error; nothing else, and nothing that has no bound.

The corpus is what such inputs look like; every example is one of them, spoilt. To look further, raise the number:
`FUZZ_EXAMPLES=100000 pytest -n0 tests/property/test_fuzz.py`.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s32s_agent.config import config_file
from s32s_agent.config.documents import MAX_DEPTH, load_json, load_yaml
from s32s_agent.config.map_file import MAX_MAPPINGS, MapFile, MapRules, read_maps
from s32s_agent.errors import (
    ConfigError,
    DirectoryError,
    ListingInconsistent,
    MapError,
    StoreUnavailable,
)
from s32s_agent.model import Entry, IndexRow, Problem, Role, Stamp
from s32s_agent.monitoring import last_run
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.monitoring.status_text import status_text
from s32s_agent.plan import etags, keys
from s32s_agent.run.map_files import MapCache
from s32s_agent.state import lock
from s32s_agent.state.index import Index
from s32s_agent.stores.s3.listing import Listing, NotAListing, decoded_keys, parse_page
from s32s_agent.stores.s3.unfinished_uploads import Uploads

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
PROFILE = settings(
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where making files durable takes no time."""
TOKENS = [
    *(b"", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\r", b"\t", b"\x1b[2J"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"- ", b"? ", b"&a ", b"*a", b"!!python/object:os.system ", b"|"),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 5000, b"0x1", b"1:2:3", b"<<: ", b"~", b"\\u0000"),
    *(b"<", b">", b"&", b"&lt;", b"&#0;", b"&#x1F600;", b"]]>", b"<!DOCTYPE a>", b"<Contents>", b"</Contents>", b"%2F"),
    *(b"<Key>", b"</Key>", b"../", b"..", b"/", b"//", b".s32s", b"s3://", b"c:\\", b"$HOME", b"%", b"-2", b'"-99999"'),
    *("é".encode(), "\u2028".encode(), "\ufeff".encode(), "\U0001f600".encode(), b"[" * 500, b"<a>" * 500),
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, kind: str) -> bytes:
    """Draw a file of the corpus with some pieces cut, doubled, exchanged or replaced."""
    data = draw(st.sampled_from(sorted(CORPUS.glob(f"{kind}-*")))).read_bytes()
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 3, 20, 200])))
        piece = draw(
            st.one_of(st.sampled_from([*TOKENS, data[start:end] * 2]), st.binary(max_size=4))
        )
        data = data[:start] + piece + data[end:]
    return data


RULES = [MapRules(role, ("/srv", "c:/data"), "/srv/state", ("/home/me",)) for role in Role]


@given(spoilt("config"))
@PROFILE
def test_a_config(data: bytes) -> None:
    """Settings, or a `ConfigError` whose problems are printable and few."""
    error = ""
    try:
        config_file.parse(data.decode(errors="surrogateescape"), "config.yaml")
    except ConfigError as refused:
        error = str(refused)

    assert error.isprintable()
    assert len(error) < 20_000


@given(spoilt("map"), st.sampled_from([".json", ".yaml"]), st.sampled_from(RULES))
@PROFILE
def test_a_map(data: bytes, suffix: str, rules: MapRules) -> None:
    """Mappings and failures; no mapping leads outside the roots, to the state, or to a place with dots."""
    maps = read_maps([MapFile(f"m{suffix}", data)], rules)

    for mapping in maps.mappings:
        assert mapping.directory.startswith(("/srv/", "c:/data", "C:/data"))
        assert not mapping.directory.startswith("/srv/state")
        assert ".." not in mapping.directory.split("/")
    for failure in maps.failures:
        assert isinstance(failure.error, MapError)
        assert str(failure.error).isprintable()


@given(spoilt("page"), st.booleans())
@PROFILE
def test_a_page(data: bytes, strictly_ordered: bool) -> None:  # noqa: FBT001 (drawn)
    """Entries and problems, or one of the two errors of a listing; what is mapped lies below the directory."""
    listing = Listing("bucket", "p/", strictly_ordered=strictly_ordered)
    try:
        page = parse_page(data)
        found = list(listing.take(page, decoded_keys(page)))
        listing.next_token(page)
    except (ListingInconsistent, StoreUnavailable):
        return
    for each in found:
        assert isinstance(each, (Entry, Problem))
        if keys.unmappable(each.key) is None:
            place = f"/t/{each.key}".removesuffix("/")
            assert os.path.normpath(place) == place
            assert "\0" not in place
            assert f"{place}/".startswith("/t/")
            assert not f"{place}/".startswith("/t/.s32s/")


@given(st.one_of(st.text(), st.from_regex(r'(W/)?"?[0-9a-fA-F]{32}(-[0-9]{1,7})?"?')))
@PROFILE
def test_an_etag(raw: str) -> None:
    """Any text is an opaque name; what looks like parts costs no more than a list of usual sizes."""
    etag = etags.normal(raw)

    assert etags.normal(etag) == etag
    for size in (0, 1, 10**6, 10**18):
        assert len(etags.candidate_part_sizes(size, etags.part_count(etag))) < 100
        digest = etags.best_digest(size, etag)
        if digest is not None:
            digest.update(b"x")
            digest.etag()


@given(spoilt("last_run"))
@PROFILE
def test_a_last_run(data: bytes) -> None:
    """A document that can be shown and carried on, or a `DirectoryError`; for the two files alike."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        for name in (last_run.LAST_RUN, last_run.LAST_SKIPPED):
            Path(directory, name).write_bytes(data)
            with contextlib.suppress(DirectoryError):
                run = last_run.read_last_run(directory)
                shown = status_text(run, datetime(2026, 11, 22, tzinfo=UTC))
                assert shown.replace("\n", "").isprintable()
                last_run.write_last_run(directory, LastRun(exit_code=1).following(run))


@given(spoilt("upload"), spoilt("holder"), spoilt("map"))
@PROFILE
def test_small_files_of_the_state(upload: bytes, holder: bytes, copy: bytes) -> None:
    """A spoilt note, lock or copy of a map is as good as none."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory)
        (path / "x.json").write_bytes(upload)
        (path / "run.lock").write_bytes(holder)
        cache = MapCache(path)
        cache.save("place", '"etag"', b"data")
        (saved,) = path.glob("*.map")
        for data in (copy, saved.read_bytes() + copy[:3], b"\xff\n" + copy):
            saved.write_bytes(data)
            assert cache.load("place") in (None, ('"etag"', b"data"))
        for _, found in Uploads(path).left_behind("https://s3", "b", ""):
            assert isinstance(found.key, str)
        assert isinstance(lock.read_holder(str(path / "run.lock")), dict)


@pytest.fixture(scope="module")
def sound_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of some rows."""
    path = tmp_path_factory.mktemp("index") / "index.db"
    with contextlib.closing(Index(path)) as index:
        index.of_mapping("m").remember(rows())
        index.of_mapping("m").note_unordered()
    return path


def rows() -> list[IndexRow]:
    return [
        IndexRow(f"é/{number:03}", f"{number:032x}", Stamp(number, 2, 3, 4))
        for number in range(100)
    ]


@given(st.integers(0, 2**32))
@PROFILE
def test_an_index(sound_index: Path, seed: int) -> None:
    """Rows of the right types or a `DirectoryError`; the next pass but one has a sound index again."""
    rng = random.Random(seed)
    data = bytearray(sound_index.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 30))):
        start = rng.randrange(len(data))
        data[start : start + rng.choice((1, 1, 4, 100))] = rng.randbytes(
            rng.choice((1, 1, 4, 100))
        )
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory, "index.db")
        path.write_bytes(data)
        with contextlib.suppress(DirectoryError):
            read_and_write(path, read_only=True)
        with contextlib.suppress(DirectoryError):
            read_and_write(path)
        read_and_write(path)
        assert read_and_write(path) <= set(rows())


def read_and_write(path: Path, *, read_only: bool = False) -> set[IndexRow]:
    """Use an index as a pass does; give the rows that it had and the agent may believe."""
    with contextlib.closing(Index(path, read_only=read_only)) as index:
        mapping = index.of_mapping("m")
        assert mapping.unordered in (True, False)
        found = list(mapping.rows())
        for row in found:
            types = [type(each) for each in (row.key, row.etag, *row.stamp)]
            assert types == [str, str, *[int] * 4]
            row.key.encode()
        mapping.remember(rows())
    return {row for row in found if row.key in {each.key for each in rows()}}


# --- bounds ---

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a: &a [x]\nb: *a", "anchors"),
        ("&a [x]", "anchors"),
        ("a: *a", "aliases"),
        ("!!set {a}", "tags"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nests too deeply"),
        ("- " * 1000 + "x", "nests too deeply"),
        ("[" * MIB, "nests too deeply"),
        ("a" * (MIB + 1), "at most 1048576 characters"),
        ("9" * 10_000, "not valid YAML"),
    ],
)
def test_hostile_yaml_is_refused(text: str, fact: str) -> None:
    """Size, depth, aliases, tags and digits have bounds."""
    with pytest.raises(ValueError, match=fact):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[" * (8 * MIB), "nests too deeply"),
        ('{"a":' * 100_000, "nests too deeply"),
        ('"' + "a" * (8 * MIB), "at most 8388608 characters"),
        ("9" * 10_000, "not valid JSON"),
    ],
)
def test_hostile_json_is_refused(text: str, fact: str) -> None:
    """Size, depth and digits have bounds."""
    with pytest.raises(ValueError, match=fact):
        load_json(text)


def test_a_million_mappings_are_one_failure() -> None:
    """Each would be a line of the log; so what comes after the first 10,000 of all files is refused, file by file."""
    few = MapFile("a.json", b"[" + b"{}," * 9 + b"{}]")
    many = MapFile("b.json", b"[" + b"1," * 1_000_000 + b"1]")

    maps = read_maps([few, many, few], RULES[0])

    assert len(maps.failures) == 21
    assert [failure.mapping for failure in maps.failures].count("") == 1
    assert f"at most {MAX_MAPPINGS} mappings" in str(maps.failures[0].error)


@pytest.mark.parametrize(
    "inside",
    [
        b"<Contents><Key>" + b"a" * 100_000 + b"</Key></Contents>",
        b"<NextContinuationToken>" + b"a" * 100_000 + b"</NextContinuationToken>",
        b"<Contents>"
        + b"".join(b"<a%d/>" % number for number in range(1000))
        + b"</Contents>",
        b"".join(b"<a%d/>" % number for number in range(1000)),
        b"<a>" * 1000,
    ],
    ids=["a long key", "a long token", "many fields in an entry", "many fields", "deep"],
)
def test_a_hostile_page_is_refused(inside: bytes) -> None:
    """Fields have a length, a number and a depth."""
    with pytest.raises(NotAListing):
        parse_page(b"<ListBucketResult>" + inside + b"</ListBucketResult>")
