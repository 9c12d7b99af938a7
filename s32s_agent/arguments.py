"""The command line: its parser, and which options go together. Does nothing that they ask for."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from s32s_agent import __version__
from s32s_agent.config.option_forms import LOG_FORMATS, LOG_LEVELS, duration
from s32s_agent.monitoring.health import Limits
from s32s_agent.snapshots.names import CHANNEL_NAME, SNAPSHOT_ID

DEFAULT_CONFIG = "/etc/s32s-agent/config.yaml"
MODES = (
    "once",
    "check",
    "status",
    "fleet",
    "publish",
    "snapshots",
    "promote",
    "rollback",
    "follow",
)

OF_SNAPSHOTS = ("publish", "snapshots", "promote", "rollback", "follow")
"""Modes that concern the snapshots of mappings."""
_ONLY_WITH_ONCE = ("dry_run", "verify", "allow_deletes", "splay", "lock_wait", "quiet")
"""How the log looks may be said with every mode, since a wrapper does that."""
_MAX_WAIT_SECONDS = 86400


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line asks for; options that do not go together were refused."""

    mode: str
    """One of `MODES`."""
    config: str
    """The config file."""
    # with --once and the modes of snapshots
    names: tuple[str, ...]
    """Only these mappings; () is all."""
    # with --once
    dry_run: bool
    verify: bool
    allow_deletes: bool
    splay: float
    """Seconds."""
    lock_wait: float
    """Seconds."""
    quiet: bool
    log_level: str | None
    log_format: str | None
    # with --status, --fleet, --publish and --snapshots
    fleet: str
    """`bucket/prefix` of the reports; "" is the one of the config."""
    as_json: bool
    nagios: bool
    html: str | None
    """The web page to write."""
    limits: Limits
    # with --promote and --rollback
    promote: tuple[str, ...] = ()
    """The channels, from which and to which."""
    rollback: str = ""
    """The snapshot's id; "" is the one before."""
    channel: str | None = None


def parse_arguments(words: Sequence[str] | None = None) -> Arguments:
    """Parse the command line.

    Args:
        words: those of the process when left out.

    Raises:
        SystemExit: it is wrong, or asks for help or the version; that is printed.
    """
    parser = make_parser()
    options = parser.parse_args(words)
    _refuse_options_without_effect(parser, options)
    return Arguments(
        mode=_mode(options),
        config=options.config,
        names=tuple(options.map),
        dry_run=options.dry_run,
        verify=options.verify,
        allow_deletes=options.allow_deletes,
        splay=options.splay,
        lock_wait=options.lock_wait,
        quiet=options.quiet,
        log_level=options.log_level,
        log_format=options.log_format,
        fleet=options.fleet or "",
        as_json=options.json,
        nagios=options.nagios,
        html=options.html,
        limits=_limits(options),
        promote=tuple(options.promote or ()),
        rollback=options.rollback or "",
        channel=options.channel,
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; completions and manual are generated from it, too."""
    parser = argparse.ArgumentParser(
        prog="s32s-agent",
        description="Keep local directories equal to prefixes in S3, as map files in S3 say.",
    )
    _add_modes(parser)
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=DEFAULT_CONFIG,
        help="another config file than %(default)s",
    )
    _add_options_of_a_run(parser)
    _add_options_of_the_log(parser)
    _add_options_of_reports(parser)
    return parser


def _add_modes(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--once", action="store_true", help="make one run over all mappings, and exit"
    )
    mode.add_argument(
        "--check",
        action="store_true",
        help="test config, maps, credentials, the store, and access to both sides of every mapping; change nothing",
    )
    mode.add_argument(
        "--status",
        action="store_true",
        help="show what the last run did, without network and lock",
    )
    mode.add_argument(
        "--fleet",
        metavar="BUCKET/PREFIX",
        nargs="?",
        const="",
        help="show what all servers report; the default is monitoring.report of the config",
    )
    mode.add_argument(
        "--publish",
        action="store_true",
        help="role master: publish a snapshot of what each prefix holds, without pushing anything",
    )
    mode.add_argument(
        "--snapshots",
        action="store_true",
        help="show the snapshots of each mapping, what changed in each, which channels point to them, and which one is"
        " installed here",
    )
    mode.add_argument(
        "--promote",
        metavar=("FROM", "TO"),
        nargs=2,
        type=_channel,
        help="role master: have the channel TO point to the snapshot that FROM points to",
    )
    mode.add_argument(
        "--rollback",
        metavar="ID",
        nargs="?",
        const="",
        type=_snapshot_id,
        help="role slave: pin mappings to the snapshot before, or to ID, and make a run; with --channel, in role"
        " master: the channel itself goes back",
    )
    mode.add_argument(
        "--follow",
        action="store_true",
        help="role slave: release the pins of --rollback, and make a run",
    )
    mode.add_argument("--version", action="version", version=f"s32s-agent {__version__}")


def _channel(text: str) -> str:
    if not CHANNEL_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected the name of a channel, got {text!r}")
    return text


def _snapshot_id(text: str) -> str:
    if text and not SNAPSHOT_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected the id of a snapshot, got {text!r}")
    return text


def _add_options_of_a_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--map",
        metavar="NAME",
        action="append",
        default=[],
        help="with --once and the modes of snapshots: only this mapping; may be repeated",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --once, --rollback and --follow: print the plan to standard output; change nothing, the state"
        " included. With --promote and --rollback --channel: show what the channel would point to",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="with --once: hash every local file instead of trusting the index",
    )
    parser.add_argument(
        "--allow-deletes",
        action="store_true",
        help="with --once: lift sync.max_delete for this run, and accept that a disk of a master is gone for good;"
        " no other guard is lifted",
    )
    parser.add_argument(
        "--splay",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="with --once: first wait a random time up to this, unless on a terminal, so that the servers of a fleet"
        " do not start at once",
    )
    parser.add_argument(
        "--lock-wait",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="with --once: how long to wait for another run to end",
    )


def _add_options_of_the_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="with --once: log only errors, and show no progress",
    )
    parser.add_argument(
        "--log-level",
        metavar="L",
        choices=LOG_LEVELS,
        help="instead of log.level, with every mode: %(choices)s",
    )
    parser.add_argument(
        "--log-format",
        metavar="F",
        choices=LOG_FORMATS,
        help="instead of log.format, with every mode: %(choices)s",
    )


def _add_options_of_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="with --check, --status, --fleet, --publish, --snapshots or --promote: print JSON",
    )
    parser.add_argument(
        "--channel",
        metavar="NAME",
        type=_channel,
        help="with --rollback: this channel goes back, for every server that follows it",
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
        help="with --nagios or --fleet: warn when the last success is older; the default is 15m",
    )
    parser.add_argument(
        "--crit",
        metavar="AGE",
        type=_age,
        help="with --nagios or --fleet: critical when the last success is older; the default is 1h",
    )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 <= seconds <= _MAX_WAIT_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError(
        f"expected 0 to {_MAX_WAIT_SECONDS} seconds, got {text!r}"
    )


def _age(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _refuse_options_without_effect(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """Print usage and exit when an option would have no effect: the operator who gave it expects one."""
    is_fleet = options.fleet is not None
    for name in _without_effect(options):
        if getattr(options, name):
            option = name.replace("_", "-")
            parser.error(f"--{option} goes with --once, and not with --{_mode(options)}")
    is_of_snapshots = _mode(options) in OF_SNAPSHOTS
    if options.map and not options.once and not is_of_snapshots:
        parser.error(
            f"--map goes with --once and the modes of snapshots, and not with --{_mode(options)}"
        )
    if options.channel is not None and options.rollback is None:
        parser.error("--channel goes with --rollback")
    if options.json and (options.rollback is not None or options.follow):
        parser.error("--json does not go with --rollback and --follow, which make a run")
    if options.json and options.once:
        parser.error(
            "--json goes with --check, --status, --fleet, --publish, --snapshots or --promote"
        )
    if options.nagios and (options.json or not options.status):
        parser.error("--nagios goes with --status, and not with --json")
    if options.html is not None and not is_fleet:
        parser.error("--html goes with --fleet")
    if (options.warn or options.crit) and not options.nagios and not is_fleet:
        parser.error("--warn and --crit go with --status --nagios or --fleet")
    limits = _limits(options)
    if limits.warn > limits.crit:
        parser.error("--warn: expected no longer time than --crit")


def _without_effect(options: argparse.Namespace) -> Sequence[str]:
    """Return the options of a run that have no effect in this mode."""
    has_run = options.rollback is not None and options.channel is None
    if options.once or options.follow or has_run:
        return ()
    moves_channel = options.promote is not None or options.rollback is not None
    return [each for each in _ONLY_WITH_ONCE if each != "dry_run" or not moves_channel]


def _mode(options: argparse.Namespace) -> str:
    """Return the mode: the one option of all that was given, with or without a value."""
    return next(mode for mode in MODES if getattr(options, mode) not in (None, False))


def _limits(options: argparse.Namespace) -> Limits:
    """Return the limits; where only one is given, the default of the other one adapts to it."""
    default = Limits()
    warn = options.warn or min(default.warn, options.crit or default.warn)
    return Limits(warn, options.crit or max(default.crit, warn))
