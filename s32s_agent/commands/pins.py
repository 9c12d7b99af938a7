"""Hold mappings of this computer at an earlier snapshot, and release them: `--rollback` and `--follow`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from s32s_agent.arguments import Arguments
from s32s_agent.commands.channels import channel_to
from s32s_agent.commands.of_snapshots import each_mapping
from s32s_agent.commands.once import run_once
from s32s_agent.config.settings import Settings
from s32s_agent.errors import ConfigError
from s32s_agent.model import Location, Mapping, Role
from s32s_agent.output.progress import Progress
from s32s_agent.run.run import new_run_id
from s32s_agent.run.state_directory import PINS, locked_state, require_trusted_state
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import Channel
from s32s_agent.snapshots.pins import read_pin, release_pin, write_pin
from s32s_agent.snapshots.place import Place
from s32s_agent.snapshots.retention import snapshots_of
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.timeouts import Timeouts
from s32s_agent.text import printable

_NAME_ONE = "name a snapshot: --rollback ID; --snapshots shows them"


def roll_back(settings: Settings, arguments: Arguments, timeouts: Timeouts | None) -> int:
    """Pin mappings to the snapshot before, or to a named one, make a run, and return its exit status.

    Args:
        settings: the config's.
        arguments: the command line.
        timeouts: of the run.

    Raises:
        AgentError: what stops every mapping.
    """
    directory = Path(settings.state_dir, PINS)
    connection = Connection(settings.s3)
    pins: dict[str, Channel | None] = {}

    def act(mapping: Mapping, location: Location) -> dict[str, object]:
        place = Place(connection, location)
        now_at = read_pin(directory, mapping.name)
        wanted = arguments.rollback or _before(place, settings.sync.channel, now_at)
        target = channel_to(place, mapping, wanted)
        pins[mapping.name] = target
        if not arguments.dry_run:
            write_pin(directory, mapping.name, target)
        return {"snapshot": target.snapshot}

    def line(done: dict[str, object]) -> str:
        verb = "would be pinned" if arguments.dry_run else "pinned"
        return f"{printable(str(done['mapping']))}: {verb} to {done['snapshot']}; --follow releases it"

    failed = _change_pins(settings, arguments, connection, _Change(act, line))
    return failed or run_once(settings, arguments, timeouts, pins)


def _before(place: Place, channel: str, pinned: Channel | None) -> str:
    """Return the id of the snapshot before the one that is installed.

    Raises:
        NotASnapshot: there is none.
    """
    found = place.channel(channel)
    if pinned is None and found is not None and found.channel.previous:
        return found.channel.previous
    now_at = pinned or (found.channel if found else None)
    at = now_at.snapshot if now_at else ""
    for each in snapshots_of(place):
        if each.id < at:
            return each.id
    raise NotASnapshot(f"there is no snapshot before {at}", remedy=_NAME_ONE)


def follow(settings: Settings, arguments: Arguments, timeouts: Timeouts | None) -> int:
    """Release the pins of mappings, make a run, and return its exit status.

    Args:
        settings: the config's.
        arguments: the command line.
        timeouts: of the run.

    Raises:
        AgentError: what stops every mapping.
    """
    directory = Path(settings.state_dir, PINS)
    pins: dict[str, Channel | None] = {}

    def act(mapping: Mapping, _location: Location) -> dict[str, object]:
        pins[mapping.name] = None
        if arguments.dry_run:
            return {"released": read_pin(directory, mapping.name) is not None}
        return {"released": release_pin(directory, mapping.name)}

    def line(done: dict[str, object]) -> str:
        released = "would be released" if arguments.dry_run else "released"
        verb = released if done["released"] else "was not pinned"
        return f"{printable(str(done['mapping']))}: {verb}; follows {settings.sync.channel}"

    failed = _change_pins(settings, arguments, Connection(settings.s3), _Change(act, line))
    return failed or run_once(settings, arguments, timeouts, pins)


def _change_pins(
    settings: Settings, arguments: Arguments, connection: Connection, change: _Change
) -> int:
    """Change the pins, while no run is active, and return the exit status of that; a dry run changes and locks nothing.

    Raises:
        ConfigError: this computer is no slave.
        LockHeld: a run is active.
        DirectoryError: the state directory cannot be used.
    """
    if settings.role is not Role.SLAVE:
        raise ConfigError("role", ["pins need `role: slave`; --channel moves a channel"])
    require_trusted_state(settings.state_dir)
    if arguments.dry_run:
        return each_mapping(settings, arguments, connection, change.act, change.line)
    run_id = new_run_id(datetime.now(UTC))
    progress = Progress(sys.stderr, enabled=False)
    with locked_state(settings.state_dir, run_id, arguments.lock_wait, progress):
        return each_mapping(settings, arguments, connection, change.act, change.line)


class _Change(NamedTuple):
    """What is done to the pin of each mapping."""

    act: Callable[[Mapping, Location], dict[str, object]]
    line: Callable[[dict[str, object]], str]
    """Says so to people."""
