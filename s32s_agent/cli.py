"""The command line: arguments and signals in, messages and an exit status out."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from s32s_agent import __version__, sandbox, watching
from s32s_agent.config import LogSettings, Settings, parse
from s32s_agent.documents import printable
from s32s_agent.errors import (
    AgentError,
    ConfigError,
    DirectoryError,
    Interrupted,
    LockHeld,
    Stopped,
    TimeIsUp,
    UsageError,
)
from s32s_agent.files import read_file
from s32s_agent.model import Mapping, Plan
from s32s_agent.report import one_code

if TYPE_CHECKING:
    from s32s_agent.agent import Pass
    from s32s_agent.stores.connection import Patience
    from s32s_agent.telling import Telling

DEFAULT_CONFIG = "/etc/s32s-agent/config.yaml"
_SOFTWARE = 70
"""A bug."""


def main(arguments: Sequence[str] | None = None, patience: Patience | None = None) -> int:
    """Run the program and give its exit status.

    Args:
        arguments: those of the command line when left out.
        patience: how long a pass waits for S3; what users have when left out.
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
            return _check(settings)
        return _once(settings, options, patience)
    except AgentError as error:
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
    parser.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s"
    )
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
    watching.add_options(parser)
    return parser


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
        from s32s_agent import trust  # noqa: PLC0415 (POSIX only)

        trust.demand_config(config)
        trust.demand_aws_files(settings.s3.ca_bundle, os.environ)


def _complain(error: AgentError) -> None:
    """Write an error for a person to standard error, with what can be done about it."""
    lines = [f"s32s-agent: {printable(str(error))}"]
    if error.remedy:
        lines.append(f"  {printable(error.remedy)}")
    with contextlib.suppress(OSError):
        print("\n".join(lines), file=sys.stderr)


# --- --check ---


def _check(settings: Settings) -> int:
    from s32s_agent.check import findings  # noqa: PLC0415 (imports boto3)

    codes: set[int] = set()
    for finding in findings(settings):
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


def _once(settings: Settings, options: argparse.Namespace, patience: Patience | None) -> int:
    from s32s_agent import logs, notify  # noqa: PLC0415 (--status needs no log)
    from s32s_agent.agent import Pass, demand_state, new_run_id  # noqa: PLC0415
    from s32s_agent.parallel import Stop  # noqa: PLC0415
    from s32s_agent.progress import Progress  # noqa: PLC0415
    from s32s_agent.stores.connection import PATIENCE  # noqa: PLC0415
    from s32s_agent.work import Options  # noqa: PLC0415

    log_settings = _log_settings(settings.log, options)
    listener = notify.listener(os.environ)
    progress = Progress(sys.stderr, enabled=not options.quiet, listener=listener)
    logs.configure(
        log_settings.level,
        log_settings.format,
        quiet=options.quiet,
        stream=sys.stderr,
        before_line=progress.pause,
    )
    run_id = new_run_id(datetime.now(UTC))
    patience = patience or PATIENCE
    whole = Pass(
        settings,
        Options(tuple(options.map), options.dry_run, options.verify, options.allow_deletes),
        run_id,
        logs.bind(run_id),
        progress,
        stop=Stop(stalled_seconds=patience.stalled_seconds),
        show_plan=_plan_printer(settings),
        patience=patience,
    )
    signals = _Signals(whole.stop.set, whole.hooks.kill)
    signals.install()
    _raise_file_limit()
    progress.start("waiting", 0, 0)
    if options.splay and not sys.stderr.isatty():
        seconds = random.uniform(0, options.splay)  # noqa: S311 (spreads load, no secret)
        _wait(seconds, progress.waited)
    run = _Run(whole, settings, signals.rest)
    try:
        demand_state(settings.state_dir)
        with contextlib.nullcontext() if options.dry_run else _state(settings, options, whole):
            return run.go()
    except LockHeld as error:
        # It stands in the log, in the log's format, and nowhere else; so does what `tell_failure` tells.
        whole.log.warning("run.skipped", **error.fields())
        return error.exit_status
    except DirectoryError as error:
        return run.tell_failure(error)


def _wait(seconds: float, tell: Callable[[], None]) -> None:
    """Sleep, and tell now and then that this is meant."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tell()
        time.sleep(min(left, 1.0))


def _log_settings(settings: LogSettings, options: argparse.Namespace) -> LogSettings:
    given = {"level": options.log_level, "format": options.log_format}
    return replace(settings, **{name: value for name, value in given.items() if value})


def _plan_printer(settings: Settings) -> Callable[[Mapping, Plan], None]:
    from s32s_agent.logs import wants_colours  # noqa: PLC0415
    from s32s_agent.render import plan_lines  # noqa: PLC0415

    colours = wants_colours(sys.stdout, os.environ)

    def show(mapping: Mapping, plan: Plan) -> None:
        print("\n".join(plan_lines(mapping, plan, settings.role, colours=colours)), flush=True)

    return show


@contextlib.contextmanager
def _state(settings: Settings, options: argparse.Namespace, whole: Pass) -> Iterator[None]:
    """Make the state directory when it is missing, and hold the lock in it."""
    from s32s_agent import files, lock, status  # noqa: PLC0415
    from s32s_agent.agent import LOCK  # noqa: PLC0415

    state, now = Path(settings.state_dir), datetime.now(UTC).isoformat()
    try:
        state.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        remedy = "make it, give it to the agent's user, or correct state_dir"
        raise DirectoryError(f'"{state}": {error.strerror}', remedy=remedy) from error
    path = str(state / LOCK)
    try:
        holder = {"run_id": whole.run_id, "started": now}
        seconds, tell = options.lock_wait, whole.progress.waited
        with lock.hold(path, wait_seconds=seconds, holder=holder, waiting=tell):
            whole.progress.finish()
            files.sweep(state)
            yield
    except LockHeld:
        with contextlib.suppress(DirectoryError):
            status.write_last_skipped(settings.state_dir, now, lock.read_holder(path))
        raise


class _Signals:
    """Turn SIGINT, SIGTERM and the alarm of `run_timeout` into exceptions, once; a second signal ends the process.

    Args:
        first: called with the exception before it is raised, since a library may swallow it.
        last: called before the process ends itself.
    """

    def __init__(self, first: Callable[[Stopped], None], last: Callable[[], None]) -> None:
        self._first = first
        self._last = last
        self._received = False
        self._resting = False

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def rest(self) -> None:
        """Raise nothing any more: what is left to do is short, and the exit status is settled."""
        self._resting = True

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received:
            self._last()
            os._exit(128 + number)
        self._received = True
        reason = Interrupted(number)
        self._first(reason)
        if not self._resting:
            raise reason


@contextlib.contextmanager
def _deadline(seconds: float | None, first: Callable[[Stopped], None]) -> Iterator[None]:
    """Raise `TimeIsUp` in this thread after some seconds."""

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        reason = TimeIsUp(f"sync.run_timeout of {seconds:g} seconds is up")
        first(reason)
        raise reason

    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us have: a walk holds one for each level."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 (POSIX only)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))


@dataclass(slots=True)
class _Run:
    """A pass between its first and its last log event."""

    whole: Pass
    settings: Settings
    rest: Callable[[], None]
    """Called when the work is done: from then on a first signal ends nothing."""
    crashed: bool = False

    @property
    def code(self) -> int:
        """The exit status, as far as it is known."""
        return _SOFTWARE if self.crashed else self.whole.report.exit_code

    def go(self) -> int:
        """Make the pass, report it, and give its exit status."""
        whole, started = self.whole, datetime.now(UTC)
        clock = time.monotonic()
        whole.log.info("run.started", role=self.settings.role, version=__version__)
        try:
            self._pass(started)
        except UsageError as error:
            whole.report.error = error
            self._conclude(started, clock)
            raise
        self._conclude(started, clock)
        seconds = round(time.monotonic() - clock, 3)
        level = whole.log.error if self.code else whole.log.info
        level("run.finished", exit_code=self.code, **whole.report.totals(), seconds=seconds)
        return self.code

    def tell_failure(self, error: AgentError) -> int:
        """Tell of a pass that could not begin, and give its exit status."""
        self.rest()
        self._blame(error)
        if telling := self._telling():
            telling.ended(self._document(datetime.now(UTC), 0.0))
        return self.code

    def _pass(self, started: datetime) -> None:
        """Make the pass; whatever ends it early but a mistake in the command line is in the report."""
        whole = self.whole
        try:
            with _deadline(self.settings.sync.run_timeout, whole.stop.set):
                if telling := self._telling():
                    telling.started(self._about(started))
                whole.run(started)
        except UsageError:
            raise
        except AgentError as error:
            self._blame(error)
        except BrokenPipeError:
            raise
        except Exception:
            self.crashed = True
            whole.log.critical("run.crashed", exc_info=True)
        finally:
            whole.progress.finish()

    def _blame(self, error: AgentError) -> None:
        sandbox.advise(error, self.settings.state_dir)
        report = self.whole.report
        if report.error is not None and isinstance(error, Stopped):
            report.other_errors.append(report.error)
            report.error = error
        report.error = report.error or error
        self.whole.log.error("run.failed", **error.fields())

    def _conclude(self, started: datetime, clock: float) -> None:
        """Run the last hooks, write down what the pass did before the one that may want to read it, and tell it."""
        whole, hooks = self.whole, self.settings.hooks
        if whole.options.dry_run:
            return
        whole.end("after", hooks.after, self.code)
        document = None
        if not isinstance(whole.report.error, UsageError):
            try:
                document = self._written(started, clock)
            except Stopped as stopped:  # a second signal would end the process
                self._blame(stopped)
                document = self._written(started, clock)
        before = self.code
        if self.code:
            whole.end("on_failure", hooks.on_failure, self.code)
        self.rest()
        if document and self.code != before:
            document = self._written(started, clock)
        if document and (telling := self._telling()):
            telling.ended(document)

    def _written(self, started: datetime, clock: float) -> dict[str, Any]:
        """Write down what the pass did, and give what was to be written."""
        seconds = round(time.monotonic() - clock, 3)
        document = self._document(started, seconds)
        try:
            self._write_last_run(document)
        except DirectoryError as error:
            self._blame(error)
            document = self._document(started, seconds)
        return document

    def _write_last_run(self, document: dict[str, Any]) -> None:
        from s32s_agent import status  # noqa: PLC0415

        status.write_last_run(self.settings.state_dir, document)

    def _telling(self) -> Telling | None:
        """Give who is told; nobody of a dry run, nor of a pass over some mappings, which says nothing of the whole."""
        from s32s_agent.telling import Telling  # noqa: PLC0415

        options = self.whole.options
        silent = options.dry_run or options.names
        return None if silent else Telling(self.settings, self.whole.log)

    def _about(self, started: datetime) -> dict[str, object]:
        """Say which pass this is."""
        only = self.whole.options.names
        return {
            "agent_version": __version__,
            "hostname": socket.gethostname(),
            "run_id": self.whole.run_id,
            "role": self.settings.role.value,
            "started": started.isoformat(),
            **({"only": only} if only else {}),
        }

    def _document(self, started: datetime, seconds: float) -> dict[str, Any]:
        from s32s_agent import status  # noqa: PLC0415

        report = self.whole.report
        run = {
            **self._about(started),
            "finished": datetime.now(UTC).isoformat(),
            "seconds": seconds,
            "exit_code": self.code,
            "cause": "software" if self.crashed else report.cause,
            "mappings": [mapping.document() for mapping in report.mappings],
            "totals": report.totals(),
            "errors": report.errors(),
        }
        previous = None
        try:
            previous = status.read_last_run(self.settings.state_dir)
        except DirectoryError as error:
            self.whole.log.warning("status.damaged", error=str(error))
        return status.last_run_document(previous, run=run)
