"""Show what all servers report: `--fleet`. Reads the reports in S3, and no state of this computer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from s32s_agent.arguments import Arguments
from s32s_agent.commands.configuration import has_config, load_settings
from s32s_agent.config.locations import parse_location
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import UsageError
from s32s_agent.model import Location
from s32s_agent.monitoring.fleet import fleet_document, fleet_text, read_fleet
from s32s_agent.stores.s3.connection import Connection


def show_fleet(arguments: Arguments) -> int:
    """Show what all servers report, and return the exit status.

    Raises:
        AgentError: the reports cannot be listed, or the page cannot be written.
    """
    s3, location = _reports(arguments)
    connection = Connection(s3)
    fleet = read_fleet(connection, location, datetime.now(UTC), arguments.limits)
    if arguments.html is not None:
        from s32s_agent.monitoring.fleet_page import write_page  # noqa: PLC0415 (only where wanted)

        write_page(fleet, Path(arguments.html))
    if arguments.as_json:
        print(json.dumps(fleet_document(fleet), indent=2))
    elif arguments.html is None:
        print(fleet_text(fleet), end="")
    return 0


def _reports(arguments: Arguments) -> tuple[S3Settings, Location]:
    """Return where the reports are, and how to reach them; a command line that names them needs no config."""
    s3, location = S3Settings(), None
    if not arguments.fleet or has_config(arguments.config):
        settings = load_settings(arguments.config)
        s3, location = settings.s3, settings.monitoring.report
    try:
        location = parse_location(arguments.fleet) if arguments.fleet else location
    except ValueError as error:
        raise UsageError(f"--fleet: {error}") from error
    if location is None:
        remedy = "set it, or use --fleet BUCKET/PREFIX"
        raise UsageError("--fleet: the config has no monitoring.report", remedy=remedy)
    return s3, location
