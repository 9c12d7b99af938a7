"""Show the snapshots of each mapping: `--snapshots`."""

from __future__ import annotations

from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from s32s_agent.arguments import Arguments
from s32s_agent.commands.of_snapshots import each_mapping, time_of
from s32s_agent.config.settings import Settings
from s32s_agent.errors import DirectoryError
from s32s_agent.model import Location, Mapping, Role
from s32s_agent.monitoring.last_run import MappingResult, read_last_run
from s32s_agent.snapshots.changes import changes_between
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import Snapshot
from s32s_agent.snapshots.place import Place
from s32s_agent.snapshots.retention import channels_of, snapshots_of
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.text import printable, size_text


def show_snapshots(settings: Settings, arguments: Arguments) -> int:
    """Print the snapshots of each mapping, newest first, and return the exit status.

    Args:
        settings: the config's.
        arguments: the command line.

    Raises:
        AgentError: what stops every mapping.
    """
    connection = Connection(settings.s3)
    installed = _installed(settings)

    def act(mapping: Mapping, location: Location) -> dict[str, object]:
        place = Place(connection, location)
        channels, found = channels_of(place), list(snapshots_of(place))
        here = installed.get(mapping.name, MappingResult(name=mapping.name))
        rows = [
            {
                "id": each.id,
                "created": time_of(each.created),
                "by": each.by,
                "objects": each.objects,
                "bytes": each.bytes,
                "changes": _changes(place, before, each),
                "channels": sorted(
                    name for name, of in channels.items() if of.channel.snapshot == each.id
                ),
                "installed": each.id == here.snapshot,
                "pinned": each.id == here.pinned,
            }
            for each, before in zip_longest(found, found[1:])
        ]
        return {
            "channels": {
                name: {"snapshot": found.channel.snapshot, "sequence": found.channel.sequence}
                for name, found in channels.items()
            },
            "snapshots": rows,
        }

    return each_mapping(settings, arguments, connection, act, _lines)


def _installed(settings: Settings) -> dict[str, MappingResult]:
    """Return what the last run of this slave said of each mapping; nothing when that cannot be read."""
    if settings.role is not Role.SLAVE:
        return {}
    try:
        last = read_last_run(settings.state_dir)
    except DirectoryError:
        return {}
    return {each.name: each for each in last.mappings} if last else {}


def _changes(place: Place, before: Snapshot | None, after: Snapshot) -> dict[str, int] | None:
    """Return what changed against the snapshot before; None for the first, or where a list is damaged."""
    try:
        return asdict(changes_between(place, before, after)) if before else None
    except NotASnapshot:
        return None


def _lines(found: dict[str, Any]) -> str:
    lines = [f"{printable(found['mapping'])}:"]
    for row in found["snapshots"]:
        channels = ", ".join(row["channels"])
        what = f"{row['objects']} objects, {size_text(row['bytes'])}{_changes_text(row['changes'])}"
        notes = "  ".join(filter(None, (channels, _here(row))))
        line = f"  {row['id']}  {row['created']}  by {row['by'] or '?'}  {what}  {notes}"
        lines.append(printable(line.rstrip()))
    if not found["snapshots"]:
        lines.append("  none")
    return "\n".join(lines)


def _changes_text(changes: dict[str, int] | None) -> str:
    if changes is None:
        return ""
    counts = f"+{changes['added']} ~{changes['changed']} -{changes['deleted']}"
    return f" ({counts}, {size_text(changes['bytes'])})"


def _here(row: dict[str, Any]) -> str:
    if row["pinned"]:
        return "[installed here, pinned]" if row["installed"] else "[pinned here]"
    return "[installed here]" if row["installed"] else ""
