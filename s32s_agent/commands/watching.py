"""What people ask who watch: `--status` and `--fleet`. Reads and shows; a pass has nothing to do with it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from s32s_agent.config.locations import parse_location
from s32s_agent.config.option_forms import duration
from s32s_agent.config.settings import S3Settings, Settings
from s32s_agent.errors import AgentError, UsageError
from s32s_agent.model import Location
from s32s_agent.monitoring.health import Health, Limits, judge, nagios_line
from s32s_agent.text import printable

_CONNECTIONS = 16
_OF_A_PASS = ("map", "dry_run", "verify", "allow_deletes", "splay", "lock_wait", "quiet")
"""What only `--once` heeds. What the log is like may be said with every mode, as a wrapper does."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what goes with --status and --fleet."""
    parser.add_argument(
        "--json", action="store_true", help="with --status or --fleet: as JSON"
    )
    parser.add_argument(
        "--nagios",
        action="store_true",
        help="with --status: one line, and the exit status of a Nagios plugin",
    )
    parser.add_argument("--html", metavar="FILE", help="with --fleet: write a web page")
    parser.add_argument(
        "--warn",
        metavar="AGE",
        type=_age,
        help="with --nagios or --fleet: age of the last success to warn at; default: 15m",
    )
    parser.add_argument(
        "--crit",
        metavar="AGE",
        type=_age,
        help="with --nagios or --fleet: age that is critical; default: 1h",
    )


def _age(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def refuse_what_does_not_fit(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """End the program with its usage when an option would have no effect: who gave it expects one."""
    fleet = options.fleet is not None
    for name in () if options.once else _OF_A_PASS:
        if getattr(options, name):
            option = name.replace("_", "-")
            parser.error(f"--{option} goes with --once, and not with --{_mode(options)}")
    if options.json and not options.status and not fleet:
        parser.error("--json goes with --status or --fleet")
    if options.nagios and (options.json or not options.status):
        parser.error("--nagios goes with --status, and not with --json")
    if options.html is not None and not fleet:
        parser.error("--html goes with --fleet")
    if (options.warn or options.crit) and not options.nagios and not fleet:
        parser.error("--warn and --crit go with --status --nagios or --fleet")
    limits = limits_of(options)
    if limits.warn > limits.crit:
        parser.error("--warn: expected no longer time than --crit")


def _mode(options: argparse.Namespace) -> str:
    return "check" if options.check else "status" if options.status else "fleet"


def limits_of(options: argparse.Namespace) -> Limits:
    """Give the limits; where one is given, the default of the other one gives way."""
    default = Limits()
    warn = options.warn or min(default.warn, options.crit or default.warn)
    return Limits(warn, options.crit or max(default.crit, warn))


def show(
    options: argparse.Namespace, load: Callable[[], Settings], *, has_config: bool
) -> int:
    """Show what was asked for, and give the exit status.

    Args:
        options: of the command line.
        load: reads the config.
        has_config: whether there is one, or was meant to be.

    Raises:
        AgentError: it cannot be shown; never with `--nagios`.
    """
    if options.nagios:
        return _show_nagios(options, load)
    if options.status:
        return _show_status(options, load)
    return _show_fleet(options, *_fleet_place(options, load, has_config=has_config))


def _show_status(options: argparse.Namespace, load: Callable[[], Settings]) -> int:
    from s32s_agent.monitoring.last_run import LastRun, read_document  # noqa: PLC0415 (only where wanted)
    from s32s_agent.monitoring.status_text import render_status  # noqa: PLC0415

    document = read_document(load().state_dir)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        run = None if document is None else LastRun.from_json(document)
        print(render_status(run, datetime.now(UTC)), end="")
    return 0


def _show_nagios(options: argparse.Namespace, load: Callable[[], Settings]) -> int:
    """Write the line of a Nagios plugin; what keeps it from knowing is UNKNOWN, whatever its own exit status."""
    from s32s_agent.monitoring.last_run import read_last_run  # noqa: PLC0415 (only where wanted)

    limits = limits_of(options)
    try:
        run = read_last_run(load().state_dir)
    except AgentError as error:
        print(f"S32S-AGENT UNKNOWN - {printable(str(error)).replace('|', '/')}")
        return Health.UNKNOWN
    verdict = judge(run, datetime.now(UTC), limits)
    print(nagios_line(run, verdict, limits))
    return verdict.health


def _show_fleet(options: argparse.Namespace, s3: S3Settings, location: Location) -> int:
    from s32s_agent.monitoring.fleet import fleet_document, fleet_lines, read_fleet  # noqa: PLC0415 (imports boto3)
    from s32s_agent.stores.s3.connection import Connection  # noqa: PLC0415

    fleet = read_fleet(Connection(s3), location, datetime.now(UTC), limits_of(options))
    if options.html is not None:
        from s32s_agent.monitoring.fleet_page import write_page  # noqa: PLC0415

        write_page(fleet, Path(options.html))
    if options.json:
        print(json.dumps(fleet_document(fleet), indent=2))
    elif options.html is None:
        print("\n".join(fleet_lines(fleet)))
    return 0


def _fleet_place(
    options: argparse.Namespace, load: Callable[[], Settings], *, has_config: bool
) -> tuple[S3Settings, Location]:
    """Find the reports, and the way there; who names them needs no config."""
    if options.fleet and not has_config:
        s3, location = S3Settings(), None
    else:
        settings = load()
        s3, location = settings.s3, settings.monitoring.report
    try:
        location = parse_location(options.fleet) if options.fleet else location
    except ValueError as error:
        raise UsageError(f"--fleet: {error}") from error
    if location is None:
        remedy = "set it, or name the place with --fleet BUCKET/PREFIX"
        raise UsageError("--fleet: the config has no monitoring.report", remedy=remedy)
    return s3, location
