"""Decide which hook of a run runs, when, and what it finds in its environment. `child_process` runs the commands.

The run's own decisions do not depend on hooks, except that a failing `before` ends it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.hook_commands import Command
from s32s_agent.config.settings import HookSettings
from s32s_agent.errors import DirectoryError, HookError
from s32s_agent.output.progress import Progress
from s32s_agent.output.structured import FilteringBoundLogger
from s32s_agent.run.child_process import ChildProcess
from s32s_agent.run.context import RunOptions
from s32s_agent.run.report import RunReport
from s32s_agent.signals import unmasked
from s32s_agent.state.pending import Change, Pending
from s32s_agent.text import printable

CANCELLED_SECONDS = 10.0
"""The longest time of a command that runs after the run was cancelled."""

# NOTIFY_SOCKET and the journal's stream are the agent's own ways to systemd.
_WITHHELD = re.compile(
    r"AWS_|S32S_|CREDENTIALS_DIRECTORY$|NOTIFY_SOCKET$|JOURNAL_STREAM$"
    r"|.*(?:SECRET|PASSW|TOKEN|CREDENTIAL|PRIVATE_?KEY)",
    re.IGNORECASE,
)
_PROXY = re.compile(r".*_PROXY$", re.IGNORECASE)
_LOGIN = re.compile(r"^(\w+://)?.*@", re.DOTALL)
"""Up to the last "@": a password may hold any character, though it should not."""


def environment_for(
    inherited: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """Return a command's environment: its own variables and the agent's, without what is or may be secret."""
    kept = {
        name: _LOGIN.sub(r"\1", value) if _PROXY.match(name) else value
        for name, value in inherited.items()
        if not _WITHHELD.match(name)
    }
    return {**kept, **variables}


@dataclass(slots=True)
class HookRunner:
    """Runs commands one after the other, and logs what they print.

    Args:
        log: of the run.
        timeout: seconds for each command.
        variables: what every command finds in its environment.
        cancel_token: once it is cancelled, the commands that still run get little time.
        heartbeat: called about once a second, or more often, while a command runs, which is no stall of the run.
    """

    log: FilteringBoundLogger
    timeout: float
    variables: Mapping[str, str]
    cancel_token: CancelToken
    heartbeat: Callable[[], None] = lambda: None
    _running: ChildProcess | None = field(default=None, init=False)

    def run(
        self,
        hook: str,
        commands: Sequence[Command],
        variables: Mapping[str, str],
        mapping: str = "",
    ) -> HookError | None:
        """Run the commands of a hook until one fails; return the error of that one.

        Args:
            hook: its name in the config.
            commands: run one after the other.
            variables: beside those of every command.
            mapping: whose change it is about, if it is about one.

        Raises:
            Cancelled: a signal or `run_timeout` came while a command ran; its group has been ended.
        """
        about = {"S32S_HOOK": hook, **({"S32S_MAPPING": mapping} if mapping else {})}
        environment = environment_for(os.environ, {**self.variables, **about, **variables})
        log = self.log.bind(mapping=mapping) if mapping else self.log
        for command in commands:
            if error := self._run(hook, command, environment, log):
                return error
        return None

    def kill(self) -> None:
        """End a command that runs now, at once; for a process that is about to end itself."""
        if self._running is not None:
            self._running.kill()

    def _run(
        self,
        hook: str,
        command: Command,
        environment: dict[str, str],
        log: FilteringBoundLogger,
    ) -> HookError | None:
        started = time.monotonic()
        # Not its arguments: they may hold the address or the password of a service.
        log.info("hook.started", hook=hook, command=command[0])
        is_cancelled = self.cancel_token.cancelled
        timeout = min(self.timeout, CANCELLED_SECONDS) if is_cancelled else self.timeout
        self._running = ChildProcess(command, environment, timeout)
        try:
            ended = self._running.wait(
                lambda line: log.info("hook.printed", hook=hook, text=line), self.heartbeat
            )
        finally:
            self._running = None
        if not ended.failure:
            seconds = round(time.monotonic() - started, 3)
            log.info("hook.finished", hook=hook, seconds=seconds, cut=ended.cut)
            return None
        message = f'hooks.{hook}: "{printable(command[0])}" {ended.failure}'
        error = HookError(message, remedy=_remedy(hook))
        log.error(
            "hook.failed",
            hook=hook,
            output=ended.tail.split("\n"),
            cut=ended.cut,
            **error.fields(),
        )
        return error


def _remedy(hook: str) -> str:
    if hook == "on_change":
        return "the next run calls it again, until it succeeds"
    return "run the command by hand, as the agent's user and without a shell"


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one run, each called when it is due."""

    settings: HookSettings
    options: RunOptions
    runner: HookRunner
    pending: Pending
    """The changes that were reported to no `on_change` hook yet."""
    report: RunReport
    """What the run did so far; what goes wrong in a hook is added."""
    progress: Progress

    def before(self) -> None:
        """Run `before`, before anything else is done.

        Raises:
            HookError: it failed, so the run must not begin.
            Cancelled: a signal or `run_timeout` came meanwhile; as in the others.
        """
        if error := self._run("before", self.settings.before, {}):
            raise error

    def on_change(self) -> None:
        """Run `on_change` for all pending changes; they stay pending where it fails."""
        on_change = self.settings.on_change
        try:
            changes = [
                each for each in self.pending.changes() if self.options.includes(each.mapping)
            ]
            if on_change.of_all:
                self._report_changes(changes, on_change.of_all)
            for change in changes if not on_change.of_all else ():
                self._report_changes([change], on_change.of(change.mapping), change.mapping)
        except DirectoryError as error:
            self.report.other_errors.append(error)
            # No traceback: the file system is the cause, not a bug.
            self.runner.log.error("hook.failed", hook="on_change", **error.fields())  # noqa: TRY400

    def after(self) -> None:
        """Run `after`, when the work of the run is done; that it fails is part of the report."""
        if error := self._run_last("after", self.settings.after):
            self.report.other_errors.append(error)

    def on_failure(self) -> None:
        """Run `on_failure`, when the report is written; that it fails is in the log only."""
        self._run_last("on_failure", self.settings.on_failure)

    def _run_last(self, hook: str, commands: Sequence[Command]) -> HookError | None:
        return self._run(hook, commands, {**self._counts(), "S32S_CAUSE": self.report.cause})

    def _run(
        self,
        hook: str,
        commands: Sequence[Command],
        variables: dict[str, str],
        mapping: str = "",
    ) -> HookError | None:
        """Run a hook as a piece of work that the progress shows, so that systemd grants it the time that it takes."""
        # A run that systemd has asked to end does not ask systemd for more time.
        if commands and not self.runner.cancel_token.cancelled:
            self.progress.start(f"hook {hook}", 0, 0)
        try:
            with unmasked():
                return self.runner.run(hook, commands, variables, mapping)
        finally:
            self.progress.finish()

    def _counts(self) -> dict[str, str]:
        totals = self.report.totals()
        counts = {f"S32S_{name.upper()}": str(count) for name, count in totals.items()}
        return {**counts, "S32S_EXIT_CODE": str(self.report.exit_code)}

    def _report_changes(
        self, changes: Sequence[Change], commands: Sequence[Command], mapping: str = ""
    ) -> None:
        paths = tuple(dict.fromkeys(path for change in changes for path in change.paths))
        if paths and commands:
            variables = self._counts()
            variables["S32S_CHANGED_COUNT"] = str(len(paths))
            with self.pending.shown(paths) as file:
                variables["S32S_CHANGED_FILE"] = str(file)
                error = self._run("on_change", commands, variables, mapping)
            if error:
                self.report.other_errors.append(error)
                return
        for change in changes:
            self.pending.keep(change.mapping, ())
