"""How far the rollout of a release is: how many servers of a channel have the snapshot that it points to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Follower:
    """A mapping of one server that has snapshots; every text is printable and short."""

    mapping: str
    channel: str
    snapshot: str
    asked: str
    """ISO 8601: when the server's last run ended, which asked the channel."""
    is_in_sync: bool
    """Its directory, or its prefix, is what the snapshot says."""
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Rollout:
    """One channel of one mapping."""

    mapping: str
    channel: str
    snapshot: str
    """What the channel points to, as the server says that asked it last."""
    at: int
    """Servers that have it, and are in sync."""
    total: int
    """Servers that follow the channel or are pinned in spite of it; masters that publish to it count too."""
    pinned: int

    @property
    def percent(self) -> int:
        """The share of servers that have it, rounded down: 100 are all."""
        return 100 * self.at // self.total


def rollouts(followers: Iterable[Follower]) -> Sequence[Rollout]:
    """Return how far each channel of each mapping is, by name.

    What a channel points to is what the server says that asked it last, and not the newest snapshot: after a rollback
    that is the older one. Of servers that asked at the same time the newer one counts. Servers that are pinned
    do not ask; a channel with no other server is left out.
    """
    groups: dict[tuple[str, str], list[Follower]] = {}
    for each in followers:
        groups.setdefault((each.mapping, each.channel), []).append(each)
    found = []
    for (mapping, channel), group in sorted(groups.items()):
        asking = [each for each in group if not each.is_pinned]
        if not asking:
            continue
        snapshot = max(asking, key=lambda each: (each.asked, each.snapshot)).snapshot
        at = sum(each.is_in_sync and each.snapshot == snapshot for each in group)
        pinned = len(group) - len(asking)
        found.append(Rollout(mapping, channel, snapshot, at, len(group), pinned))
    return found
