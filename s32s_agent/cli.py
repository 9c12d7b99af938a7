"""The command line: arguments and signals in, messages and an exit status out."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from s32s_agent import __version__, sandbox
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
from s32s_agent.model import Mapping, Plan
from s32s_agent.report import RunReport, one_code

if TYPE_CHECKING:
    from s32s_agent.agent import Pass

DEFAULT_CONFIG = "/etc/s32s-agent/config.yaml"
_SOFTWARE = 70
"""A bug."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.json and not options.status:
        parser.error("--json goes with --status")
    try:
        _settle_encodings()
        if options.status:
            return _show_status(options)
        settings = _settings(options)
        if options.check:
            return _check(settings)
        return _once(settings, options)
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


def _parser() -> argparse.ArgumentParser:
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
        "--log-level", metavar="L", choices=("debug", "info", "warning", "error")
    )
    parser.add_argument(
        "--log-format", metavar="F", choices=("auto", "json", "logfmt", "console", "journal")
    )
    parser.add_argument("--json", action="store_true", help="with --status: as JSON")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86400:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("expected 0 to 86400 seconds")
    return seconds


def _settings(options: argparse.Namespace) -> Settings:
    path = Path(options.config)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        remedy = "name the file with --config; a sample is etc/config.yaml"
        raise ConfigError(
            str(path), [f"cannot be read: {error.strerror}"], remedy=remedy
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["is not UTF-8"]) from error
    return parse(text, str(path))


def _complain(error: AgentError) -> None:
    """Write an error for a person to standard error, with what can be done about it."""
    lines = [f"s32s-agent: {printable(str(error))}"]
    if error.remedy:
        lines.append(f"  {printable(error.remedy)}")
    with contextlib.suppress(OSError):
        print("\n".join(lines), file=sys.stderr)


# --- --status and --check ---


def _show_status(options: argparse.Namespace) -> int:
    from s32s_agent.status import read_last_run, render_status  # noqa: PLC0415 (--status only)

    document = read_last_run(_settings(options).state_dir)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print(render_status(document, datetime.now(UTC)), end="")
    return 0


def _check(settings: Settings) -> int:
    from s32s_agent.check import findings  # noqa: PLC0415 (imports boto3)

    codes: set[int] = set()
    for finding in findings(settings):
        if finding.error is None:
            verdict = "warning" if finding.warning else "ok     "
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


def _once(settings: Settings, options: argparse.Namespace) -> int:
    from s32s_agent import logs, notify  # noqa: PLC0415 (--status needs no log)
    from s32s_agent.agent import Pass, new_run_id  # noqa: PLC0415
    from s32s_agent.progress import Progress  # noqa: PLC0415
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
    whole = Pass(
        settings,
        Options(tuple(options.map), options.dry_run, options.verify, options.allow_deletes),
        run_id,
        logs.bind(run_id),
        progress,
        show_plan=_plan_printer(settings),
    )
    _Signals(whole.stop.set).install()
    _raise_file_limit()
    progress.start("waiting", 0, 0)
    if options.splay and not sys.stderr.isatty():
        seconds = random.uniform(0, options.splay)  # noqa: S311 (spreads load, no secret)
        _wait(seconds, progress.waited)
    if options.dry_run:
        return _Run(whole, settings).go()
    try:
        with _state(settings, options, whole):
            return _Run(whole, settings).go()
    except (LockHeld, DirectoryError) as error:
        sandbox.advise(error, settings.state_dir)
        # It stands in the log, in the log's format, and nowhere else.
        event, log = ("run.skipped", whole.log.warning)
        if not isinstance(error, LockHeld):
            event, log = ("run.failed", whole.log.error)
        log(event, **error.fields())
        return error.exit_status


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
    from s32s_agent.render import plan_lines  # noqa: PLC0415

    def show(mapping: Mapping, plan: Plan) -> None:
        print("\n".join(plan_lines(mapping, plan, settings.role)), flush=True)

    return show


@contextlib.contextmanager
def _state(settings: Settings, options: argparse.Namespace, whole: Pass) -> Iterator[None]:
    """Make the state directory when it is missing, and hold the lock in it."""
    from s32s_agent import lock, status  # noqa: PLC0415

    state, now = Path(settings.state_dir), datetime.now(UTC).isoformat()
    try:
        state.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        remedy = "make it, give it to the agent's user, or correct state_dir"
        raise DirectoryError(f'"{state}": {error.strerror}', remedy=remedy) from error
    path = str(state / "run.lock")
    try:
        holder = {"run_id": whole.run_id, "started": now}
        seconds, tell = options.lock_wait, whole.progress.waited
        with lock.hold(path, wait_seconds=seconds, holder=holder, waiting=tell):
            whole.progress.finish()
            yield
    except LockHeld:
        with contextlib.suppress(DirectoryError):
            status.write_last_skipped(settings.state_dir, now, lock.read_holder(path))
        raise


class _Signals:
    """Turn SIGINT, SIGTERM and the alarm of `run_timeout` into exceptions, once; a second signal ends the process.

    Args:
        first: called with the exception before it is raised, since a library may swallow it.
    """

    def __init__(self, first: Callable[[Stopped], None]) -> None:
        self._first = first
        self._received = False

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> NoReturn:
        if self._received:
            os._exit(128 + number)
        self._received = True
        reason = Interrupted(number)
        self._first(reason)
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

    def go(self) -> int:
        """Make the pass, report it, and give its exit status."""
        whole, started = self.whole, datetime.now(UTC)
        clock = time.monotonic()
        whole.log.info("run.started", role=self.settings.role, version=__version__)
        crashed = self._pass(started)
        whole.progress.finish()
        report = whole.report
        code = _SOFTWARE if crashed else report.exit_code
        seconds = round(time.monotonic() - clock, 3)
        level = whole.log.info if code == 0 else whole.log.error
        level("run.finished", exit_code=code, **report.totals(), seconds=seconds)
        if not whole.options.dry_run:
            self._write_last_run(report, started, seconds, code)
        return code

    def _pass(self, started: datetime) -> bool:
        """Make the pass; tell whether a bug ended it."""
        whole = self.whole
        try:
            with _deadline(self.settings.sync.run_timeout, whole.stop.set):
                whole.run(started)
        except UsageError:
            raise
        except AgentError as error:
            sandbox.advise(error, self.settings.state_dir)
            whole.report.error = error
            # No traceback: this is the world's doing, not a bug.
            whole.log.error("run.failed", **error.fields())  # noqa: TRY400
        except Exception:
            whole.log.critical("run.crashed", exc_info=True)
            return True
        return False

    def _write_last_run(
        self, report: RunReport, started: datetime, seconds: float, code: int
    ) -> None:
        from s32s_agent import status  # noqa: PLC0415

        run = {
            "agent_version": __version__,
            "run_id": self.whole.run_id,
            "role": self.settings.role.value,
            "started": started.isoformat(),
            "finished": datetime.now(UTC).isoformat(),
            "seconds": seconds,
            "exit_code": code,
            "cause": "software" if code == _SOFTWARE else report.cause,
            "mappings": [mapping.document() for mapping in report.mappings],
            "totals": report.totals(),
            "errors": report.errors(),
        }
        previous = None
        try:
            previous = status.read_last_run(self.settings.state_dir)
        except DirectoryError as error:
            self.whole.log.warning("status.damaged", error=str(error))
        status.write_last_run(
            self.settings.state_dir, status.last_run_document(previous, run=run)
        )
