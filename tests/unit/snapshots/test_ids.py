"""The ids of snapshots: `--snapshots`, `--rollback` and retention order snapshots by them."""

from __future__ import annotations

from datetime import UTC, datetime

from s32s_agent.snapshots.names import SNAPSHOT_ID
from s32s_agent.snapshots.publishing import new_snapshot_id

NOW = datetime(2026, 12, 1, 10, 15, tzinfo=UTC)


def test_a_rollback_does_not_go_forth_when_two_releases_came_in_one_second() -> None:
    ids = [new_snapshot_id(NOW)]
    for _ in range(8):
        ids.append(new_snapshot_id(NOW, ids[-1]))

    assert ids == sorted(ids)
    assert all(SNAPSHOT_ID.fullmatch(each) for each in ids)


def test_ids_of_a_second_that_has_no_more_are_still_ids() -> None:
    last = "20261201T101500Z-ffffff"

    assert SNAPSHOT_ID.fullmatch(new_snapshot_id(NOW, last))
    assert SNAPSHOT_ID.fullmatch(new_snapshot_id(NOW, "20261201T101459Z-ffffff"))
