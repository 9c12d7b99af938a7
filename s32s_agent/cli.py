"""Run the program: dispatch to the mode, print errors, return the exit status."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from s32s_agent.arguments import OF_SNAPSHOTS, Arguments, parse_arguments
from s32s_agent.errors import AgentError, Cancelled, ConfigError
from s32s_agent.text import printable

if TYPE_CHECKING:
    from s32s_agent.config.settings import Settings
    from s32s_agent.stores.s3.timeouts import Timeouts


def main(words: Sequence[str] | None = None, timeouts: Timeouts | None = None) -> int:
    """Run the program and return its exit status.

    Args:
        words: the arguments; those of the process when left out.
        timeouts: how long a run waits for S3; what users have when left out.

    Raises:
        SystemExit: the command line is wrong, or asks for help or the version.
    """
    arguments = parse_arguments(words)
    try:
        _settle_encodings()
        return _dispatch(arguments, timeouts)
    except (AgentError, Cancelled) as error:
        _print_error(error)
        return error.exit_status
    except BrokenPipeError:
        # The program that read our standard output has ended: there is nothing left to print to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(arguments: Arguments, timeouts: Timeouts | None) -> int:
    """Call the mode. Each is imported when it is called, since most of them take long to import."""
    if arguments.mode == "status":
        from s32s_agent.commands.status import show_status  # noqa: PLC0415

        return show_status(arguments)
    if arguments.mode == "fleet":
        from s32s_agent.commands.fleet import show_fleet  # noqa: PLC0415

        return show_fleet(arguments)
    from s32s_agent.commands.configuration import load_trusted_settings  # noqa: PLC0415

    settings = load_trusted_settings(arguments.config)
    if arguments.mode == "check":
        from s32s_agent.commands.check import check  # noqa: PLC0415

        return check(settings, arguments.config, as_json=arguments.as_json)
    if arguments.mode in OF_SNAPSHOTS:
        return _dispatch_snapshots(settings, arguments, timeouts)
    from s32s_agent.commands.once import run_once  # noqa: PLC0415

    return run_once(settings, arguments, timeouts)


def _dispatch_snapshots(
    settings: Settings, arguments: Arguments, timeouts: Timeouts | None
) -> int:
    if arguments.mode == "publish":
        from s32s_agent.commands.publish import publish  # noqa: PLC0415

        return publish(settings, arguments)
    if arguments.mode == "snapshots":
        from s32s_agent.commands.snapshots import show_snapshots  # noqa: PLC0415

        return show_snapshots(settings, arguments)
    if arguments.mode == "promote" or (arguments.mode == "rollback" and arguments.channel):
        from s32s_agent.commands.channels import promote, roll_back_channel  # noqa: PLC0415

        move = promote if arguments.mode == "promote" else roll_back_channel
        return move(settings, arguments)
    from s32s_agent.commands.pins import follow, roll_back  # noqa: PLC0415

    pin = follow if arguments.mode == "follow" else roll_back
    return pin(settings, arguments, timeouts)


def _settle_encodings() -> None:
    """Require UTF-8 for file names, as for keys, and let no character that a terminal lacks end the program.

    Raises:
        ConfigError: the locale writes file names in another encoding, so that each key would name another file.
    """
    if sys.getfilesystemencoding() != "utf-8":
        found = sys.getfilesystemencoding()
        remedy = "set PYTHONUTF8=1, or a locale such as C.UTF-8"
        raise ConfigError("the locale", [f"file names are {found}, not UTF-8"], remedy=remedy)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _print_error(error: AgentError | Cancelled) -> None:
    """Print an error for a person to standard error, with its remedy."""
    lines = [f"s32s-agent: {printable(str(error))}"]
    if error.remedy:
        lines.append(f"  {printable(error.remedy)}")
    with contextlib.suppress(OSError):
        print("\n".join(lines), file=sys.stderr)
