"""The command line: arguments and signals in, messages and an exit status out."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s32s_agent import __version__
from s32s_agent.commands import watching
from s32s_agent.config.config_file import parse
from s32s_agent.config.settings import Settings
from s32s_agent.errors import AgentError, Cancelled, ConfigError
from s32s_agent.state.files import read_file
from s32s_agent.text import printable

if TYPE_CHECKING:
    from s32s_agent.stores.s3.timeouts import Timeouts

DEFAULT_CONFIG = "/etc/s32s-agent/config.yaml"


def main(arguments: Sequence[str] | None = None, timeouts: Timeouts | None = None) -> int:
    """Run the program and give its exit status.

    Args:
        arguments: those of the command line when left out.
        timeouts: how long a pass waits for S3; what users have when left out.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    watching.refuse_what_does_not_fit(parser, options)
    try:
        _settle_encodings()
        if options.status or options.fleet is not None:
            return watching.show(
                options, lambda: _settings(options), has_config=_has_config(options)
            )
        settings = _settings(options)
        _demand_trust(options.config, settings)
        if options.check:
            return _check(settings, options.config)
        return _once(settings, options, timeouts)
    except (AgentError, Cancelled) as error:
        _complain(error)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read our standard output has gone; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _settle_encodings() -> None:
    """Hold file names to UTF-8, as keys are, and let no character that a terminal lacks end a pass.

    Raises:
        ConfigError: the locale writes file names in another way, so that each key would name another file.
    """
    if sys.getfilesystemencoding() != "utf-8":
        found = sys.getfilesystemencoding()
        remedy = "set PYTHONUTF8=1, or a locale such as C.UTF-8"
        raise ConfigError("the locale", [f"file names are {found}, not UTF-8"], remedy=remedy)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line; completions and manual are made from it, too."""
    parser = argparse.ArgumentParser(
        prog="s32s-agent",
        description="Keep local directories equal to prefixes in S3, as map files in S3 say.",
    )
    _add_modes(parser)
    parser.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s"
    )
    _add_options_of_a_pass(parser)
    _add_options_of_the_log(parser)
    watching.add_options(parser)
    return parser


def _add_modes(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--once", action="store_true", help="make one full pass and exit")
    mode.add_argument(
        "--check", action="store_true", help="try config, maps and access; change nothing"
    )
    mode.add_argument("--status", action="store_true", help="show what the last pass did")
    mode.add_argument(
        "--fleet",
        metavar="BUCKET/PREFIX",
        nargs="?",
        const="",
        help="show what all servers report; default: monitoring.report of the config",
    )
    mode.add_argument("--version", action="version", version=f"s32s-agent {__version__}")


def _add_options_of_a_pass(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--map",
        metavar="NAME",
        action="append",
        default=[],
        help="only this mapping; repeatable",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, touch nothing")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="hash every local file instead of trusting the index",
    )
    parser.add_argument(
        "--allow-deletes", action="store_true", help="lift sync.max_delete for this pass"
    )
    parser.add_argument(
        "--splay",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="wait a random time first",
    )
    parser.add_argument(
        "--lock-wait",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="wait for another pass",
    )


def _add_options_of_the_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="log errors only")
    parser.add_argument(
        "--log-level",
        metavar="L",
        choices=("debug", "info", "warning", "error"),
        help="instead of log.level: %(choices)s",
    )
    parser.add_argument(
        "--log-format",
        metavar="F",
        choices=("auto", "json", "logfmt", "console", "journal"),
        help="instead of log.format: %(choices)s",
    )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 <= seconds <= 86400:  # noqa: PLR2004
            return seconds
    raise argparse.ArgumentTypeError(f"expected 0 to 86400 seconds, got {text!r}")


def _has_config(options: argparse.Namespace) -> bool:
    """Tell whether there is a config, or was meant to be."""
    return options.config != DEFAULT_CONFIG or Path(DEFAULT_CONFIG).exists()


def _settings(options: argparse.Namespace) -> Settings:
    path = Path(options.config)
    try:
        text = read_file(path, follow=True).decode()
    except OSError as error:
        remedy = "name the file with --config; a sample is etc/config.yaml"
        raise ConfigError(
            str(path), [f"cannot be read: {error.strerror}"], remedy=remedy
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["is not UTF-8"]) from error
    if path.suffix.lower() == ".ini":
        # Who comes from S32Server has its s32s.ini at hand; as YAML it would only give puzzling errors.
        problem = "is an INI file, expected YAML with role, maps and roots"
        remedy = (
            "the settings of S32Server are not read, its map files are: begin with etc/config.yaml,"
            ' and see "Coming from S32Server" in the README'
        )
        raise ConfigError(str(path), [problem], remedy=remedy)
    return parse(text, str(path))


def _demand_trust(config: str, settings: Settings) -> None:
    """Refuse what another user may have written of that which a pass believes.

    Raises:
        ConfigError: the config file, a file of the AWS chain, or a directory above one of them.
    """
    if sys.platform != "win32":
        from s32s_agent.config import ownership  # noqa: PLC0415 (POSIX only)

        ownership.require_trusted_config(config)
        ownership.require_trusted_aws_files(settings.s3.ca_bundle, os.environ)


def _complain(error: AgentError | Cancelled) -> None:
    """Write an error for a person to standard error, with what can be done about it."""
    lines = [f"s32s-agent: {printable(str(error))}"]
    if error.remedy:
        lines.append(f"  {printable(error.remedy)}")
    with contextlib.suppress(OSError):
        print("\n".join(lines), file=sys.stderr)


# --- --check ---


def _check(settings: Settings, config: str) -> int:
    from s32s_agent.commands.check import findings  # noqa: PLC0415 (imports boto3)
    from s32s_agent.run.report import one_code  # noqa: PLC0415

    codes: set[int] = set()
    for finding in findings(settings, config):
        if finding.error is None:
            verdict = (
                "warning" if finding.warning else "note   " if finding.note else "ok     "
            )
            print(
                f"{verdict} {printable(finding.subject)}: {printable(finding.detail)}",
                flush=True,
            )
            continue
        codes.add(finding.error.exit_status)
        print(f"FAILED  {printable(finding.subject)}: {printable(str(finding.error))}")
        if finding.error.remedy:
            print(f"        {printable(finding.error.remedy)}", flush=True)
    return one_code(codes)


# --- --once ---


def _once(settings: Settings, options: argparse.Namespace, timeouts: Timeouts | None) -> int:
    from s32s_agent.commands.once import once  # noqa: PLC0415 (the others need no log)
    from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS  # noqa: PLC0415

    return once(settings, options, timeouts or DEFAULT_TIMEOUTS)
