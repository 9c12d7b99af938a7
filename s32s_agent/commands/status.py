"""Show what the last run did: `--status`. Needs no network and no lock."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from s32s_agent.arguments import Arguments
from s32s_agent.commands.configuration import load_settings
from s32s_agent.errors import AgentError
from s32s_agent.monitoring.health import Health, Limits, judge, nagios_line
from s32s_agent.monitoring.last_run import LastRun, read_document, read_last_run
from s32s_agent.monitoring.status_text import status_text
from s32s_agent.text import printable


def show_status(arguments: Arguments) -> int:
    """Show what the last run did, and return the exit status.

    Raises:
        AgentError: it is not known; never with `--nagios`.
    """
    if arguments.nagios:
        return _show_nagios(arguments.config, arguments.limits)
    document = read_document(load_settings(arguments.config).state_dir)
    if arguments.as_json:
        print(json.dumps(document, indent=2))
    else:
        run = None if document is None else LastRun.from_json(document)
        print(status_text(run, datetime.now(UTC)), end="")
    return 0


def _show_nagios(config: str, limits: Limits) -> int:
    """Print the line of a Nagios plugin; an error is UNKNOWN, whatever its own exit status."""
    try:
        run = read_last_run(load_settings(config).state_dir)
    except AgentError as error:
        print(f"S32S-AGENT UNKNOWN - {printable(str(error)).replace('|', '/')}")
        return Health.UNKNOWN
    verdict = judge(run, datetime.now(UTC), limits)
    print(nagios_line(run, verdict, limits))
    return verdict.health
