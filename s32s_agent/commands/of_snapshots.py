"""What the commands about snapshots share: which mappings they concern, and how they report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

from s32s_agent.arguments import Arguments
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, UsageError
from s32s_agent.model import Location, Mapping
from s32s_agent.run.map_files import MapCache
from s32s_agent.run.mappings import load_mappings
from s32s_agent.run.report import one_code
from s32s_agent.snapshots.fields import TIME
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.text import printable

_NO_SNAPSHOTS = "give a mapping `snapshots`, a prefix apart from it, in the map file"


def each_mapping(
    settings: Settings,
    arguments: Arguments,
    connection: Connection,
    act: Callable[[Mapping, Location], dict[str, object]],
    text_of: Callable[[dict[str, object]], str],
) -> int:
    """Do something with the snapshots of each mapping, print what comes of it, and return the exit status.

    Args:
        settings: the config's.
        arguments: the command line.
        connection: to S3.
        act: is called with a mapping and the place of its snapshots; what it returns is printed.
        text_of: makes lines for people of it.

    Raises:
        UsageError: no mapping that is meant has snapshots.
        AgentError: the maps cannot be read.
    """
    done: list[dict[str, object]] = []
    codes: set[int] = set()
    for mapping, place in _mappings(settings, arguments, connection, codes):
        try:
            found = {"mapping": mapping.name, **act(mapping, place)}
        except AgentError as error:
            _print_error(f'mapping "{mapping.name}"', error)
            codes.add(error.exit_status)
            continue
        done.append(found)
        if not arguments.as_json:
            print(text_of(found), flush=True)
    if arguments.as_json:
        print(json.dumps(done, ensure_ascii=False, indent=2))
    return one_code(codes)


def _mappings(
    settings: Settings, arguments: Arguments, connection: Connection, codes: set[int]
) -> Sequence[tuple[Mapping, Location]]:
    loaded = load_mappings(settings, arguments.config, connection, MapCache(None))
    loaded.require_known(arguments.names)
    for failure in loaded.failures:
        if not arguments.names or failure.mapping in arguments.names:
            _print_error(f'mapping "{failure.mapping}"', failure.error)
            codes.add(failure.error.exit_status)
    found = [
        (mapping, mapping.snapshots)
        for mapping in loaded.mappings
        if mapping.snapshots and (not arguments.names or mapping.name in arguments.names)
    ]
    if not found and not codes:
        raise UsageError("no mapping has snapshots", remedy=_NO_SNAPSHOTS)
    return found


def _print_error(subject: str, error: AgentError) -> None:
    print(f"s32s-agent: {printable(subject)}: {printable(str(error))}", file=sys.stderr)
    if error.remedy:
        print(f"  {printable(error.remedy)}", file=sys.stderr)


def time_of(time: datetime) -> str:
    """Return a time as the documents of snapshots write it."""
    return time.strftime(TIME)
