"""Both roles, and what other tools filled, on every S3 server that can be had here."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.store_servers import STORES, Store
from support.store_suite import Result, Suite

pytestmark = pytest.mark.stores
KNOWN: dict[str, dict[str, str]] = {}
"""By store and step, why a step cannot succeed there."""


@pytest.mark.parametrize("store", STORES, ids=[each.name for each in STORES])
def test_a_store_is_mirrored_both_ways(tmp_path: Path, store: Store) -> None:
    """A tree arrives whole and stays quiet, changes and deletes too, whatever tool filled the bucket."""
    if reason := store.missing():
        pytest.skip(reason)
    served, suite = tmp_path / "served", tmp_path / "suite"
    served.mkdir()
    suite.mkdir()
    result = Result(store.name, store.version())

    with store.start(served) as server:
        Suite(server, suite, result).run()

    expected = KNOWN.get(store.name, {})
    assert set(result.problems) == set(expected), result.problems
    assert all(each in result.problems[step] for step, each in expected.items())
    if result.skipped:
        pytest.skip(f"works; not tried: {'; '.join(result.skipped.values())}")
