"""What `--once` does around a pass: its log, its signals, its wait, its lock."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import LogSettings, Settings
from s32s_agent.errors import Cancelled, DirectoryError, LockHeld
from s32s_agent.model import Mapping, Plan
from s32s_agent.monitoring import last_run
from s32s_agent.output import logs, sd_notify
from s32s_agent.output.plan_table import plan_lines
from s32s_agent.output.progress import Progress
from s32s_agent.run.context import RunOptions
from s32s_agent.run.lifecycle import Run
from s32s_agent.run.run import LOCK, OWN_DIRECTORIES, Pass, new_run_id, require_trusted_state
from s32s_agent.signals import Signals
from s32s_agent.state import files, lock
from s32s_agent.stores.s3.timeouts import Timeouts


def once(settings: Settings, options: argparse.Namespace, timeouts: Timeouts) -> int:
    """Make one pass, alone and interruptible, and give its exit status.

    Args:
        settings: of the config.
        options: of the command line.
        timeouts: how long the pass waits for S3.

    Raises:
        UsageError: the command line names what is not there.
    """
    progress = Progress(
        sys.stderr, enabled=not options.quiet, listener=sd_notify.listener(os.environ)
    )
    _open_log(settings.log, options, progress)
    whole = _new_pass(settings, options, progress, timeouts)
    signals = Signals(whole.cancel_token.cancel, whole.hooks.kill)
    signals.install()
    _raise_file_limit()
    run = Run(whole, settings, signals.rest)
    try:
        progress.start("waiting", 0, 0)
        if options.splay and not sys.stderr.isatty():
            seconds = random.uniform(0, options.splay)  # noqa: S311 (spreads load, no secret)
            _wait(seconds, progress.waited)
        require_trusted_state(settings.state_dir)
        with contextlib.nullcontext() if options.dry_run else _state(settings, options, whole):
            return run.go()
    # All of these stand in the log, in the log's format, and nowhere else.
    except LockHeld as error:
        whole.log.warning("run.skipped", **error.fields())
        return error.exit_status
    except Cancelled as error:  # before the pass began: there is nothing else to tell
        whole.log.error("run.failed", **error.fields())  # noqa: TRY400 (somebody has asked for it)
        return error.exit_status
    except DirectoryError as error:
        return run.tell_failure(error)


def _open_log(settings: LogSettings, options: argparse.Namespace, progress: Progress) -> None:
    """Begin to log as the config says, or the command line, which counts for more."""
    logs.configure(
        options.log_level or settings.level,
        options.log_format or settings.format,
        quiet=options.quiet,
        stream=sys.stderr,
        before_line=progress.pause,
    )


def _new_pass(
    settings: Settings, options: argparse.Namespace, progress: Progress, timeouts: Timeouts
) -> Pass:
    run_id = new_run_id(datetime.now(UTC))
    return Pass(
        settings,
        RunOptions(
            tuple(options.map),
            options.dry_run,
            options.verify,
            options.allow_deletes,
            options.config,
        ),
        run_id,
        logs.bind(run_id),
        progress,
        cancel_token=CancelToken(stalled_seconds=timeouts.stalled_seconds),
        show_plan=_plan_printer(settings),
        timeouts=timeouts,
    )


def _wait(seconds: float, tell: Callable[[], None]) -> None:
    """Sleep, and tell now and then that this is meant."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tell()
        time.sleep(min(left, 1.0))


def _plan_printer(settings: Settings) -> Callable[[Mapping, Plan], None]:
    colours = logs.wants_colours(sys.stdout, os.environ)

    def show(mapping: Mapping, plan: Plan) -> None:
        print("\n".join(plan_lines(mapping, plan, settings.role, colours=colours)), flush=True)

    return show


@contextlib.contextmanager
def _state(settings: Settings, options: argparse.Namespace, whole: Pass) -> Iterator[None]:
    """Make the state directory when it is missing, and hold the lock in it."""
    state, now = Path(settings.state_dir), datetime.now(UTC)
    try:
        state.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        remedy = "make it, give it to the agent's user, or correct state_dir"
        raise DirectoryError(f'"{state}": {error.strerror}', remedy=remedy) from error
    path = str(state / LOCK)
    try:
        holder = {"run_id": whole.run_id, "started": now.isoformat()}
        seconds, tell = options.lock_wait, whole.progress.waited
        with lock.hold(path, wait_seconds=seconds, holder=holder, waiting=tell):
            whole.progress.finish()
            files.sweep(state, OWN_DIRECTORIES)
            yield
    except LockHeld:
        with contextlib.suppress(DirectoryError):
            skipped = last_run.Skipped(now, lock.read_holder(path))
            last_run.write_last_skipped(settings.state_dir, skipped)
        raise


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us have: a walk holds one for each level."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 (POSIX only)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))
