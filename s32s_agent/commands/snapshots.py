"""Show the snapshots of each mapping: `--snapshots`."""

from __future__ import annotations

from typing import Any

from s32s_agent.arguments import Arguments
from s32s_agent.commands.of_snapshots import each_mapping, time_of
from s32s_agent.config.settings import Settings
from s32s_agent.model import Location, Mapping
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

    def act(_mapping: Mapping, location: Location) -> dict[str, object]:
        place = Place(connection, location)
        channels = channels_of(place)
        rows = [
            {
                "id": each.id,
                "created": time_of(each.created),
                "by": each.by,
                "objects": each.objects,
                "bytes": each.bytes,
                "channels": sorted(
                    name
                    for name, found in channels.items()
                    if found.channel.snapshot == each.id
                ),
            }
            for each in snapshots_of(place)
        ]
        return {
            "channels": {
                name: {"snapshot": found.channel.snapshot, "sequence": found.channel.sequence}
                for name, found in channels.items()
            },
            "snapshots": rows,
        }

    return each_mapping(settings, arguments, connection, act, _lines)


def _lines(found: dict[str, Any]) -> str:
    lines = [f"{printable(found['mapping'])}:"]
    for row in found["snapshots"]:
        channels = ", ".join(row["channels"])
        what = f"{row['objects']} objects, {size_text(row['bytes'])}"
        line = f"  {row['id']}  {row['created']}  by {row['by'] or '?'}  {what}  {channels}"
        lines.append(printable(line.rstrip()))
    if not found["snapshots"]:
        lines.append("  none")
    return "\n".join(lines)
