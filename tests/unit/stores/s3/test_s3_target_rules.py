"""The rules of writing to S3 that need no server: part sizes, media types and metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import StoreUnavailable
from s32s_agent.stores.base import Attributes
from s32s_agent.stores.s3.target import (
    MAX_PARTS,
    PART_BYTES,
    _is_not_implemented,
    _metadata,
    content_type,
    part_size_for,
)

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (PART_BYTES + 1, 8 * MIB),
        (80_000 * MIB, 8 * MIB),
        (80_000 * MIB + 1, 9 * MIB),
        (5 * 1024 * GIB, 525 * MIB),
    ],
)
def test_part_bytes(size: int, expected: int) -> None:
    """8 MiB as long as 10,000 of them are enough, then the next whole MiB."""

    assert part_size_for(size) == expected


@given(st.integers(PART_BYTES + 1, 5 * 1024 * GIB))
def test_parts_are_legal(size: int) -> None:
    """Never more than 10,000 parts, never one outside 5 MiB to 5 GiB."""
    part = part_size_for(size)

    assert -(-size // part) <= MAX_PARTS
    assert (part % MIB, 5 * MIB <= part <= 5 * GIB) == (0, True)


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
    """The last part's suffix tells; what is packed is never said to be what is inside."""

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

    assert _metadata(Attributes(mtime_ns)) == {"mtime": expected}


def test_mode() -> None:
    """Octal, four digits; what is not known is not said."""

    assert _metadata(Attributes(mode=0o644)) == {"mode": "0644"}
    assert _metadata(Attributes(mode=0)) == {"mode": "0000"}
    assert _metadata(Attributes()) == {}


class _FromBoto(Exception):
    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (_FromBoto(501), True),
        (_FromBoto(503), False),
        (ValueError("non-2xx status code: 501 Not Implemented: "), True),
        (ValueError("PUT http://s3/b/501%20NotImplemented ... status code: 503 Slow"), False),
        (None, False),
    ],
)
def test_only_the_store_says_that_it_knows_no_conditions(
    cause: Exception | None,
    expected: bool,  # noqa: FBT001
) -> None:
    """A key that reads `501 NotImplemented` must not end the conditions that keep two writers apart."""
    error = StoreUnavailable('"501 NotImplemented": SlowDown')
    error.__cause__ = cause

    assert _is_not_implemented(error) == expected
