"""Do one run: `--once`. What is around it is here: its log, its signals, its waiting, its lock."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from s32s_agent.arguments import Arguments
from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import LogSettings, Settings
from s32s_agent.errors import Cancelled, DirectoryError, LockHeld
from s32s_agent.model import Mapping, Plan
from s32s_agent.output import logs, sd_notify
from s32s_agent.output.plan_table import plan_lines
from s32s_agent.output.progress import Progress
from s32s_agent.output.terminal import wants_colours
from s32s_agent.run.context import Pins, RunOptions
from s32s_agent.run.run import Run, new_run_id
from s32s_agent.run.state_directory import locked_state, require_trusted_state
from s32s_agent.signals import Signals
from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS, Timeouts


def run_once(
    settings: Settings,
    arguments: Arguments,
    timeouts: Timeouts | None = None,
    pins: Pins | None = None,
) -> int:
    """Do one run, alone and interruptible, and return its exit status.

    Args:
        settings: the config's.
        arguments: the command line.
        timeouts: how long the run waits for S3; what users have when left out.
        pins: what a dry run takes for the pins of these mappings.

    Raises:
        UsageError: the command line names a mapping that does not exist.
    """
    listener = sd_notify.listener(os.environ)
    progress = Progress(sys.stderr, enabled=not arguments.quiet, listener=listener)
    _open_log(settings.log, arguments, progress)
    options = RunOptions(
        arguments.names,
        arguments.dry_run,
        arguments.verify,
        arguments.allow_deletes,
        arguments.config,
        pins or {},
    )
    run = _new_run(settings, options, progress, timeouts or DEFAULT_TIMEOUTS)
    signals = Signals(run.cancel_token.cancel, run.hooks.runner.kill)
    run.settle = signals.stop_raising
    signals.install()
    _raise_file_limit()
    try:
        progress.start("waiting", 0, 0)
        _wait_at_random(arguments.splay, progress.beat)
        require_trusted_state(settings.state_dir)
        with _exclusive(run, arguments):
            return run.execute()
    # All of these are in the log, in the log's format, and nowhere else.
    except LockHeld as error:
        run.log.warning("run.skipped", **error.fields())
        return error.exit_status
    except Cancelled as error:  # before the run began: there is nothing else to report
        run.log.error("run.failed", **error.fields())  # noqa: TRY400 (no bug: a signal asked for it)
        return error.exit_status
    except DirectoryError as error:
        return run.fail_early(error)


def _open_log(settings: LogSettings, arguments: Arguments, progress: Progress) -> None:
    """Begin to log as the config says, or the command line, which takes precedence."""
    logs.configure(
        arguments.log_level or settings.level,
        arguments.log_format or settings.format,
        quiet=arguments.quiet,
        stream=sys.stderr,
        before_line=progress.pause,
    )


def _new_run(
    settings: Settings, options: RunOptions, progress: Progress, timeouts: Timeouts
) -> Run:
    run_id = new_run_id(datetime.now(UTC))
    return Run(
        settings,
        options,
        run_id,
        logs.bind(run_id),
        progress,
        CancelToken(stalled_seconds=timeouts.stalled_seconds),
        timeouts,
        _plan_printer(settings),
    )


def _plan_printer(settings: Settings) -> Callable[[Mapping, Plan], None]:
    colours = wants_colours(sys.stdout, os.environ)

    def show(mapping: Mapping, plan: Plan) -> None:
        print("\n".join(plan_lines(mapping, plan, settings.role, colours=colours)), flush=True)

    return show


def _raise_file_limit() -> None:
    """Raise the limit of open files as far as the system allows: a walk holds one for each level."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 (POSIX only)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))


def _wait_at_random(splay: float, heartbeat: Callable[[], None]) -> None:
    """Sleep for a random part of `splay` seconds, unless a person waits; call `heartbeat` meanwhile."""
    if not splay or sys.stderr.isatty():
        return
    end = time.monotonic() + random.uniform(0, splay)  # noqa: S311 (spreads load, no secret)
    while (left := end - time.monotonic()) > 0:
        heartbeat()
        time.sleep(min(left, 1.0))


def _exclusive(run: Run, arguments: Arguments) -> contextlib.AbstractContextManager[None]:
    """Return what keeps other runs out meanwhile; a dry run changes nothing, and needs no lock."""
    if arguments.dry_run:
        return contextlib.nullcontext()
    return locked_state(run.settings.state_dir, run.run_id, arguments.lock_wait, run.progress)
