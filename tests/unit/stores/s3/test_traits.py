"""What a store can promise, and what is remembered of it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from s32s_agent.stores.s3.known_traits import KnownTraits
from s32s_agent.stores.s3.traits import AS_AWS, Guard, StoreTraits, promises

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
FOUND = replace(AS_AWS, server="Store 1.0", replace=Guard.BARE, lists_etags=False)
GUARDS = ("create", "replace", "complete_new", "complete_over", "read")
HARMLESS = {"server", "versioned", "crc64nvme"}
"""What may be any way."""


def test_a_store_that_does_what_aws_does_lacks_nothing() -> None:
    """Every line says so."""
    assert [each for each in promises(AS_AWS) if each.consequence or each.is_risk] == []


@pytest.mark.parametrize(
    "name", [each.name for each in fields(StoreTraits) if each.name not in HARMLESS]
)
def test_whatever_a_store_lacks_has_one_line_with_its_consequence(name: str) -> None:
    """A trait that no line tells of would be found out for nobody."""
    flaw: dict[str, Any] = {
        name: Guard.IGNORED if name in GUARDS else not getattr(AS_AWS, name)
    }

    assert len([each for each in promises(replace(AS_AWS, **flaw)) if each.consequence]) == 1


@pytest.mark.parametrize("guard", [Guard.IGNORED, Guard.REFUSED])
@pytest.mark.parametrize("name", GUARDS[:4])
def test_two_masters_that_overwrite_each_other_unwarned(name: str, guard: Guard) -> None:
    """A write that no condition protects is a risk; one whose ETag only has to be sent bare is none."""
    unprotected: dict[str, Any] = {name: guard}
    bare: dict[str, Any] = {name: Guard.BARE}

    assert sum(each.is_risk for each in promises(replace(AS_AWS, **unprotected))) == 1
    assert not any(each.is_risk for each in promises(replace(AS_AWS, **bare)))


def test_traits_survive_as_json() -> None:
    """All of them, each with its type."""
    assert StoreTraits.from_json(json.loads(json.dumps(FOUND.as_json()))) == FOUND


@pytest.mark.parametrize(
    ("name", "value"),
    [("create", "perhaps"), ("versioned", 1), ("server", None), ("crc64nvme", "held")],
)
def test_a_document_that_is_none_of_ours_is_refused(name: str, value: object) -> None:
    """A value of another type or word is no trait."""
    with pytest.raises(ValueError, match=r"."):
        StoreTraits.from_json({**FOUND.as_json(), name: value})


# --- what is remembered ---


def known(directory: Path, now: datetime = NOW) -> KnownTraits:
    return KnownTraits(directory / "stores.json", now)


def test_a_store_is_tried_out_once(tmp_path: Path) -> None:
    """What was found is known in the next run, for this store and no other."""
    known(tmp_path).remember("one", FOUND)
    known(tmp_path).remember("two", AS_AWS)

    assert known(tmp_path).of("one", "Store 1.0") == FOUND
    assert known(tmp_path).of("two", "") == AS_AWS
    assert known(tmp_path).of("three", "") is None


def test_a_store_that_was_upgraded_and_is_still_trusted(tmp_path: Path) -> None:
    """Another name or version of the server, a month, or a clock that went back: it is tried out again."""
    known(tmp_path).remember("one", FOUND)

    assert known(tmp_path).of("one", "Store 1.1") is None
    assert known(tmp_path, NOW + timedelta(days=29)).of("one", "Store 1.0") == FOUND
    assert known(tmp_path, NOW + timedelta(days=30)).of("one", "Store 1.0") is None
    assert known(tmp_path, NOW - timedelta(seconds=1)).of("one", "Store 1.0") is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema_version": 2, "stores": {}}',
        b'{"schema_version": 1, "stores": []}',
        b'{"schema_version": 1, "stores": {"one": []}}',
        b'{"schema_version": 1, "stores": {"one": {"traits": [], "found": ""}}}',
        b'{"schema_version": 1, "stores": {"one": {"traits": {}, "found": "2026-12-01T12:00:00+00:00"}}}',
    ],
)
def test_a_damaged_note_ends_no_run(tmp_path: Path, damage: bytes) -> None:
    """The store is tried out again, and what is found replaces the damage."""
    (tmp_path / "stores.json").write_bytes(damage)

    assert known(tmp_path).of("one", "Store 1.0") is None
    known(tmp_path).remember("one", FOUND)
    assert known(tmp_path).of("one", "Store 1.0") == FOUND
