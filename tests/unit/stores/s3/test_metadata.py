"""What is kept beside an object, and its media type."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.stores.base import Attributes
from s32s_agent.stores.s3.metadata import attributes_of, content_type, metadata_of

UPLOADED = datetime(2026, 11, 22, 20, 40, 12, 345678, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("index.html", "text/html"),
        ("INDEX.HTML", "text/html"),
        ("a/b.d/app.css", "text/css"),
        ("x.json", "application/json"),
        ("x.tar.gz", "application/gzip"),
        ("x.css.gz", "application/gzip"),
        ("x.bz2", "application/x-bzip2"),
        ("x.tar.xz", "application/x-xz"),
        ("x.Z", "application/octet-stream"),
        ("x", "application/octet-stream"),
        ("html", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("dir.html/x", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("http://x.html?a=b", "application/octet-stream"),
    ],
)
def test_content_type(key: str, expected: str) -> None:
    """The suffix of the last part decides; a packed file never has the type of what is inside."""

    assert content_type(key, {}) == expected


def test_chosen_types_come_first() -> None:
    """The map's own types win over every guess, the longest suffix over the others."""
    chosen = {".gz": "a/gz", ".tar.gz": "a/tar", "special": "a/special", ".html": "a/html"}
    keys = ["x.gz", "x.tar.gz", "d/special", "x.html", "x.css"]

    assert [content_type(key, chosen) for key in keys] == [
        "a/gz",
        "a/tar",
        "a/special",
        "a/html",
        "text/css",
    ]


@pytest.mark.parametrize(
    ("mtime_ns", "expected"),
    [
        (1_700_000_000_123_456_789, "1700000000.123456789"),
        (1_700_000_000_000_000_001, "1700000000.000000001"),
        (1_700_000_000_000_000_000, "1700000000"),
        (0, "0"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
    ],
)
def test_mtime(mtime_ns: int, expected: str) -> None:
    """Seconds with nine digits where there are any; before 1970 the digits count upwards, as the reader adds them."""

    assert metadata_of(Attributes(mtime_ns)) == {"mtime": expected}


def test_mode() -> None:
    """Octal, four digits; what is not known is not said."""

    assert metadata_of(Attributes(mode=0o644)) == {"mode": "0644"}
    assert metadata_of(Attributes(mode=0)) == {"mode": "0000"}
    assert metadata_of(Attributes()) == {}


@given(
    st.integers(-(10**11) * 10**9 + 1, 1 << 62) | st.none(),
    st.integers(0, 0o777) | st.none(),
)
def test_attributes_survive_the_way_through_s3(mtime_ns: int | None, mode: int | None) -> None:
    """What is written is read again, exactly."""
    written = metadata_of(Attributes(mtime_ns, mode))
    read = attributes_of(written, UPLOADED)

    assert read.mode == mode
    if mtime_ns is not None and abs(mtime_ns) <= 1 << 62:
        assert read.mtime_ns == mtime_ns


@pytest.mark.parametrize(
    ("metadata", "mtime_ns", "mode"),
    [
        ({}, 1_795_380_012_000_000_000, None),
        ({"MTIME": "12.5", "Mode": "0640"}, 12_500_000_000, 0o640),
        ({"mtime": "12.1234567899"}, 12_123_456_789, None),
        ({"mtime": "99999999999"}, 1_795_380_012_000_000_000, None),
        ({"mtime": "1e3", "mode": "rw-r--r--"}, 1_795_380_012_000_000_000, None),
        ({"mtime": "12\n", "mode": "0999"}, 1_795_380_012_000_000_000, None),
        ({"mode": "100644"}, 1_795_380_012_000_000_000, 0o644),
        ({"mode": "4755"}, 1_795_380_012_000_000_000, 0o755),
    ],
)
def test_what_other_programs_write_beside_an_object(
    metadata: dict[str, str], mtime_ns: int, mode: int | None
) -> None:
    """Names in any case; what is no time or mode, or none that a file can have, counts as absent; no set-user-id."""
    assert attributes_of(metadata, UPLOADED) == Attributes(mtime_ns, mode)
