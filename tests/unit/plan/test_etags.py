"""What an ETag proves."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.plan import etags
from s32s_agent.plan.etags import Digest

MIB = 1 << 20
ZEROS = bytes(10 * MIB)
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
OTHER = "0cc175b9c0f1b6a831c399e269772661"


@pytest.mark.parametrize(
    ("part_size", "expected"),
    [
        (None, "f1c9645dbc14efddc7d8a322685f26eb"),
        (8 * MIB, "669fdad9e309b552f1e9cf7b489c1f73-2"),
        (5 * MIB, "a7d414b9133d6483d9a1c4e04e856e3b-2"),
    ],
)
def test_known_values(part_size: int | None, expected: str) -> None:
    """Ten MiB of zeros have the ETags that S3 gives them."""
    digest = Digest(part_size)
    for start in range(0, len(ZEROS), 3_000_001):
        digest.update(ZEROS[start : start + 3_000_001])

    assert digest.etag() == expected


def test_an_empty_object() -> None:
    """No bytes have an ETag, in one piece and as the one part of an upload."""
    one_part = hashlib.md5(bytes.fromhex(EMPTY)).hexdigest() + "-1"

    assert Digest().etag() == EMPTY
    assert Digest(5 * MIB).etag() == one_part


@given(st.binary(max_size=60), st.integers(1, 20), st.lists(st.integers(0, 60), max_size=6))
def test_the_chunks_do_not_matter(data: bytes, part_size: int, cuts: list[int]) -> None:
    """However the bytes come, the ETag is that of the parts."""
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    digest = Digest(part_size)
    for start, end in itertools.pairwise(edges):
        digest.update(data[start:end])
    parts = [data[at : at + part_size] for at in range(0, len(data), part_size)] or [b""]
    whole = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts))

    assert digest.etag() == f"{whole.hexdigest()}-{len(parts)}"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (f'"{EMPTY}"', EMPTY),
        (EMPTY, EMPTY),
        (f'W/"{EMPTY}"', EMPTY),
        (f' "{EMPTY.upper()}" ', EMPTY),
        (f'"{EMPTY.upper()}-12"', f"{EMPTY}-12"),
        ('"ABwcsNIE-Opaque"', "ABwcsNIE-Opaque"),
        ("", ""),
        ('""', ""),
    ],
)
def test_one_version_has_one_spelling(raw: str, expected: str) -> None:
    """Quotes, weakness and the case of hex digits change nothing; an opaque name keeps its case."""

    assert etags.normal(raw) == expected


def test_forms() -> None:
    """An MD5 and a multipart ETag are told by their form, and nothing else has one."""

    assert etags.is_md5(EMPTY)
    assert not etags.is_md5(f"{EMPTY}-1")
    assert not etags.is_md5(EMPTY[:-1])
    assert [etags.part_count(each) for each in (f"{EMPTY}-1", f"{EMPTY}-10000")] == [1, 10000]
    opaque = (EMPTY, f"{EMPTY}-0", f"{EMPTY}-", f"{EMPTY}-123456", "opaque-2", "")
    assert [etags.part_count(each) for each in opaque] == [0] * len(opaque)


def test_which_etags_can_name_the_same_bytes() -> None:
    """Two MD5s that differ are two contents; anything else proves nothing."""

    assert not etags.may_name_same_bytes(EMPTY, OTHER)
    assert etags.may_name_same_bytes(EMPTY, f"{OTHER}-2")
    assert etags.may_name_same_bytes(f"{OTHER}-3", f"{OTHER}-2")
    assert etags.may_name_same_bytes("opaque", EMPTY)


@pytest.mark.parametrize(
    ("size", "parts", "expected"),
    [
        (0, 1, ()),
        (10, 0, ()),
        (10 * MIB, 1, (10 * MIB,)),
        (10 * MIB, 2, (8 * MIB, 5 * MIB, 8_000_000, 10_000_000)),
        (100 * MIB, 7, (15 * MIB, 16 * MIB, 15_000_000, 16_000_000, 14_979_658)),
        (3, 5, ()),
    ],
)
def test_candidate_part_sizes(size: int, parts: int, expected: tuple[int, ...]) -> None:
    """Only sizes that cut the object into so many parts are tried, the likeliest first."""

    assert etags.candidate_part_sizes(size, parts) == expected


@given(st.integers(1, 1 << 40), st.integers(1, 10_000))
def test_every_candidate_gives_the_right_number_of_parts(size: int, parts: int) -> None:
    """No candidate could give another number of parts than the ETag names."""
    counts = {-(-size // each) for each in etags.candidate_part_sizes(size, parts)}

    assert counts <= {parts}


def test_the_best_digest() -> None:
    """An MD5 is computed plainly, parts with the size that is known, and nothing for an opaque name."""
    two_parts = "669fdad9e309b552f1e9cf7b489c1f73-2"
    plain, guessed = etags.best_digest(0, EMPTY), etags.best_digest(len(ZEROS), two_parts)
    known = etags.best_digest(len(ZEROS), two_parts, (5 * MIB,))
    assert plain is not None
    assert guessed is not None
    assert known is not None
    guessed.update(ZEROS)
    known.update(ZEROS)

    assert plain.etag() == EMPTY
    assert guessed.etag() == two_parts
    assert known.etag() == "a7d414b9133d6483d9a1c4e04e856e3b-2"
    assert etags.best_digest(10, "opaque") is None
    assert etags.best_digest(10, "opaque", (5,)) is None
    assert etags.best_digest(3, f"{EMPTY}-5") is None
