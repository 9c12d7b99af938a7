"""Run the commands of `hooks`: no shell, a session of their own, an end to their time, and their output in the log.

Decides nothing about the pass. A command that hangs, forks or floods cannot hold the pass up, nor fill its memory.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.hook_commands import Command
from s32s_agent.errors import ConfigError, HookError
from s32s_agent.text import printable

OUTPUT_BYTES = 64 << 10
"""So much of a command's output reaches the log; the rest is read and counted."""
LINE_BYTES = 4096
"""A longer line is logged in pieces."""
TAIL_BYTES = 1024
"""What an error repeats of the end of the output."""
GRACE_SECONDS = 5.0
"""Between TERM and KILL."""
STOPPED_SECONDS = 10.0
"""The longest time of a command that runs after a signal asked the pass to end."""

_POLL_SECONDS = 0.05
_CHUNK_BYTES = 64 << 10
_DRAIN_BYTES = 1 << 20
"""The most that a pipe holds, unless root has made it larger."""
# NOTIFY_SOCKET and the journal's stream are the agent's own ways to systemd.
_WITHHELD = re.compile(
    r"AWS_|S32S_|CREDENTIALS_DIRECTORY$|NOTIFY_SOCKET$|JOURNAL_STREAM$"
    r"|.*(?:SECRET|PASSW|TOKEN|CREDENTIAL|PRIVATE_?KEY)",
    re.IGNORECASE,
)
_PROXY = re.compile(r".*_PROXY$", re.IGNORECASE)
_LOGIN = re.compile(r"^(\w+://)?.*@", re.DOTALL)
"""Up to the last "@": a password may hold any character, though it should not."""


class Ended(NamedTuple):
    """How a command ended."""

    failure: str = ""
    """What was wrong; "" when it succeeded."""
    cut: int = 0
    """Bytes of output that were not logged."""
    tail: str = ""
    """The end of the output."""


def environment_for(
    inherited: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """Give a command the variables made for it and the agent's own, without what is or may be secret."""
    kept = {
        name: _LOGIN.sub(r"\1", value) if _PROXY.match(name) else value
        for name, value in inherited.items()
        if not _WITHHELD.match(name)
    }
    return {**kept, **variables}


@dataclass(slots=True)
class Hooks:
    """Runs commands one after the other, and logs what they say.

    Args:
        log: of the pass.
        timeout: seconds for each command.
        variables: what every command finds in its environment.
        cancel_token: once it is cancelled, the commands that still run get little time.
        waited: called about once a second, or more often, while a command runs, which is no stall of the pass.
    """

    log: FilteringBoundLogger
    timeout: float
    variables: Mapping[str, str]
    cancel_token: CancelToken
    waited: Callable[[], None] = lambda: None
    _running: _Child | None = field(default=None, init=False)

    def run(
        self,
        hook: str,
        commands: Sequence[Command],
        variables: Mapping[str, str],
        mapping: str = "",
    ) -> HookError | None:
        """Run the commands of a hook until one fails; give the error of that one.

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
            self._running.signal_group(kill=True)

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
        timeout = (
            min(self.timeout, STOPPED_SECONDS) if self.cancel_token.cancelled else self.timeout
        )
        self._running = _Child(command, environment, timeout)
        try:
            ended = self._running.wait(
                lambda line: log.info("hook.printed", hook=hook, text=line), self.waited
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
        return "the next pass runs it again, until it succeeds"
    return "run the command by hand, as the agent's user and without a shell"


class _Child:
    """A command that runs. A thread reads it, so that a signal finds the caller's thread free to act."""

    def __init__(self, command: Command, environment: dict[str, str], timeout: float) -> None:
        if sys.platform == "win32":
            raise ConfigError("hooks", ["need a POSIX system"])
        self._command = command
        self._environment = environment
        self._timeout = timeout
        self._stop = threading.Event()
        self._group = 0
        self._said: queue.SimpleQueue[str | Ended | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def wait(self, say: Callable[[str], None], waited: Callable[[], None]) -> Ended:
        """Run the command to its end; `say` is called in this thread with every line that it prints.

        `waited` is called after every line, and about once a second without any.

        Raises:
            Cancelled: whatever a signal handler raised meanwhile, when the command has been ended.
        """
        try:
            self._thread.start()
            while True:
                try:
                    said = self._said.get(timeout=1.0)
                except queue.Empty:
                    waited()
                    continue
                if isinstance(said, Ended):
                    return said
                if isinstance(said, BaseException):
                    raise said
                say(said)
                waited()
        finally:
            self._stop.set()
            # A thread that a signal kept from starting finds `_stop` set, and starts nothing.
            with contextlib.suppress(RuntimeError):
                self._thread.join()

    def signal_group(self, *, kill: bool = False) -> None:
        """Ask the command and all that it started to end, or make them."""
        if sys.platform != "win32" and self._group:
            # Nobody is left of the group, or it now runs as somebody else, whom only that one may end.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL if kill else signal.SIGTERM)

    def _serve(self) -> None:
        try:
            self._said.put(Ended("was stopped") if self._stop.is_set() else self._run())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._said.put(error)

    def _run(self) -> Ended:
        try:
            process = subprocess.Popen(  # noqa: S603 - what the config says
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(f"cannot be started: {error.strerror}")
        assert process.stdout is not None  # noqa: S101 (for the type checker)
        self._group = process.pid
        with process.stdout as pipe:
            output = _Output(pipe.fileno(), self._said.put)
            reason = self._watch(process.pid, output)
            if reason:
                # Before it is waited for: as long as it is a zombie, its number is nobody else's.
                self.signal_group(kill=True)
            self._group = 0
            try:
                code = process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                # It runs as somebody else by now, or hangs in the kernel.
                reason = f"{reason} and cannot be ended"
                code = 0
            output.finish()
        return Ended(reason or _failure(code), output.cut, output.tail)

    def _watch(self, process_id: int, output: _Output) -> str:
        """Read until the command ends; give why it had to be ended, "" when it ended by itself.

        What it leaves running in the background is not waited for, unless it is to be ended with it.
        """
        end, reason = time.monotonic() + self._timeout, ""
        while True:
            output.read(_POLL_SECONDS)
            now = time.monotonic()
            if _has_ended(process_id) and (output.closed or not reason):
                return reason
            if reason and now > end:
                return reason
            if not reason and (now > end or self._stop.is_set()):
                stopped = self._stop.is_set()
                reason = (
                    "was stopped" if stopped else f"took more than {self._timeout:g} seconds"
                )
                end = now + GRACE_SECONDS
                self.signal_group()


def _has_ended(process_id: int) -> bool:
    """Tell whether a child is a zombie by now, and leave it one."""
    if sys.platform == "win32":
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process_id, flags) is not None


def _failure(code: int) -> str:
    if code == 0:
        return ""
    return f"ended with exit status {code}" if code > 0 else f"was ended by signal {-code}"


class _Output:
    """Reads a pipe without ever waiting long, and tells its lines as far as they may be told.

    Args:
        descriptor: the end of the pipe to read from; stays the caller's.
        say: called with each line.
    """

    def __init__(self, descriptor: int, say: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._say = say
        self._line = b""
        self._room = OUTPUT_BYTES
        self._tail = b""
        self.cut = 0
        self.closed = False
        """Nobody holds the other end any more."""
        if sys.platform != "win32":
            os.set_blocking(descriptor, False)
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)

    @property
    def tail(self) -> str:
        """The end of all that was printed."""
        return self._tail.decode(errors="backslashreplace").strip()

    def read(self, seconds: float) -> bool:
        """Wait so long for more, and take what is there; tell whether something was."""
        if self.closed or sys.platform == "win32":
            time.sleep(seconds)
            return False
        if not self._poll.poll(seconds * 1000):
            return False
        data = os.read(self._descriptor, _CHUNK_BYTES)
        self.closed = not data
        self._take(data)
        return not self.closed

    def finish(self) -> None:
        """Take what is still in the pipe, without waiting for those who keep it open."""
        taken = 0
        while not self.closed and taken < _DRAIN_BYTES and self.read(0):
            taken += _CHUNK_BYTES
        self._tell(self._line)
        self._line = b""

    def _take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        told = data[: self._room]
        self._room -= len(told)
        self.cut += len(data) - len(told)
        *lines, self._line = (self._line + told).split(b"\n")
        for line in lines:
            self._tell(line)
        if len(self._line) > LINE_BYTES:
            self._tell(self._line)
            self._line = b""

    def _tell(self, line: bytes) -> None:
        if text := line.decode(errors="backslashreplace").rstrip():
            for start in range(0, len(text), LINE_BYTES):
                self._say(text[start : start + LINE_BYTES])
