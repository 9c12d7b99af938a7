"""How far a rollout is, as the reports of servers say."""

from __future__ import annotations

from dataclasses import replace

from s32s_agent.monitoring.rollouts import Follower, Rollout, rollouts

OLD, NEW = "20261201T094500Z-81c02e", "20261201T101500Z-3fd2a1"
WEB = Follower("site", "current", NEW, "2026-12-01T10:20:00+00:00", True, False)
EARLIER = "2026-12-01T10:10:00+00:00"


def test_a_server_that_failed_does_not_count_as_done() -> None:
    failed = replace(WEB, is_in_sync=False)
    behind = replace(WEB, snapshot=OLD, asked=EARLIER)

    assert rollouts([WEB, failed, behind]) == [Rollout("site", "current", NEW, 1, 3, 0)]


def test_a_rollback_of_the_fleet_is_no_rollout_of_the_bad_release() -> None:
    """The server that asked last knows what the channel points to, though it is not the newest snapshot."""
    back = replace(WEB, snapshot=OLD)
    still_bad = replace(WEB, asked=EARLIER)

    (found,) = rollouts([still_bad, back, still_bad])

    assert (found.snapshot, found.at, found.percent) == (OLD, 1, 33)


def test_a_pinned_server_does_not_say_what_a_channel_points_to() -> None:
    pinned = replace(WEB, snapshot=OLD, asked="2026-12-01T10:30:00+00:00", is_pinned=True)

    assert rollouts([WEB, pinned]) == [Rollout("site", "current", NEW, 1, 2, 1)]
    assert rollouts([pinned]) == []


def test_channels_and_mappings_are_apart() -> None:
    canary = replace(WEB, channel="canary")
    data = replace(WEB, mapping="data", snapshot=OLD)

    found = rollouts([WEB, canary, data])

    names = [("data", "current"), ("site", "canary"), ("site", "current")]
    assert [(each.mapping, each.channel) for each in found] == names
    assert all(each.percent == 100 for each in found)
