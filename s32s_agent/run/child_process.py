"""Run one command: no shell, a session of its own, a limit on its time, and its output line by line.

A command that hangs, forks or floods can neither delay the run beyond its limit nor fill its memory. Knows nothing of
hooks, and decides nothing about the run.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from s32s_agent import signals
from s32s_agent.config.hook_commands import Command
from s32s_agent.errors import ConfigError, HookError

OUTPUT_BYTES = 64 << 10
"""So much of a command's output is passed on; the rest is read and counted."""
LINE_BYTES = 4096
"""A longer line is passed on in pieces."""
TAIL_BYTES = 1024
"""The end of the output that an error repeats."""
GRACE_SECONDS = 5.0
"""Between TERM and KILL."""
START_SECONDS = 1.0
"""How long `kill` waits for a command that is just being started."""

_FEW_THREADS = (
    "raise the limit of threads: TasksMax= of the unit, pids.max of the container, `ulimit -u`"
)
_POLL_SECONDS = 0.05
_CHUNK_BYTES = 64 << 10
_DRAIN_BYTES = 1 << 20
"""The most that a pipe holds, unless root has made it larger."""


class Ended(NamedTuple):
    """How a command ended."""

    failure: str = ""
    """What was wrong; "" when it succeeded."""
    cut: int = 0
    """Bytes of output that were not passed on."""
    tail: str = ""
    """The end of the output."""


class ChildProcess:
    """A command that runs. A thread reads its output, so that a signal finds the caller's thread free to act.

    Args:
        command: the program and its arguments.
        environment: all of its environment.
        timeout: seconds until it is ended.

    Raises:
        ConfigError: the system has no POSIX calls.
    """

    def __init__(self, command: Command, environment: dict[str, str], timeout: float) -> None:
        if sys.platform == "win32":
            raise ConfigError("hooks", ["need a POSIX system"])
        self._command = command
        self._environment = environment
        self._timeout = timeout
        self._stop = threading.Event()
        self._group = 0
        self._has_group = threading.Event()
        self._messages: queue.SimpleQueue[str | Ended | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._allow_signals: Callable[[], None] = lambda: None

    def wait(self, take_line: Callable[[str], None], heartbeat: Callable[[], None]) -> Ended:
        """Run the command to its end; call `take_line` in this thread with every line that it prints.

        `heartbeat` is called after every line, and about once a second without any.

        Raises:
            Cancelled: whatever a signal handler raised meanwhile, when the command has been ended.
            HookError: the system starts no thread that could watch it.
        """
        try:
            self._start()
            while True:
                try:
                    message = self._messages.get(timeout=1.0)
                except queue.Empty:
                    heartbeat()
                    continue
                if isinstance(message, Ended):
                    return message
                if isinstance(message, BaseException):
                    raise message
                take_line(message)
                heartbeat()
        finally:
            self._stop.set()
            # A thread that a signal kept from starting finds `_stop` set, and starts nothing.
            with contextlib.suppress(RuntimeError):
                self._thread.join()

    def _start(self) -> None:
        try:
            with signals.held_back() as self._allow_signals:
                self._thread.start()
        except RuntimeError as error:
            message = "the command was not started: the system starts no more threads"
            raise HookError(message, remedy=_FEW_THREADS) from error

    def kill(self) -> None:
        """Kill the command and all that it started, also one that is just being started."""
        if self._thread.is_alive():
            self._has_group.wait(START_SECONDS)
        self._signal_group(kill=True)

    def _signal_group(self, *, kill: bool = False) -> None:
        """Ask the command and all that it started to end, or kill them."""
        if sys.platform != "win32" and self._group:
            # No process of the group exists any more, or it now runs as a user whose processes this one may not end.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL if kill else signal.SIGTERM)

    def _serve(self) -> None:
        self._allow_signals()
        try:
            self._messages.put(Ended("was stopped") if self._stop.is_set() else self._run())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._messages.put(error)

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
        self._has_group.set()
        with process.stdout as pipe:
            output = _Output(pipe.fileno(), self._messages.put)
            reason = self._watch(process.pid, output)
            if reason:
                # Before it is waited for: as long as it is a zombie, no other process has its number.
                self._signal_group(kill=True)
            self._group = 0
            try:
                code = process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                # It now runs as another user, or hangs in the kernel.
                reason = f"{reason} and cannot be ended"
                code = 0
            output.finish()
        return Ended(reason or _failure(code), output.cut, output.tail)

    def _watch(self, process_id: int, output: _Output) -> str:
        """Read until the command ends; return why it had to be ended, "" when it ended by itself.

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
                self._signal_group()


def _has_ended(process_id: int) -> bool:
    """Return whether a child is a zombie, and leave it one."""
    if sys.platform == "win32":
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process_id, flags) is not None


def _failure(code: int) -> str:
    if code == 0:
        return ""
    return f"ended with exit status {code}" if code > 0 else f"was ended by signal {-code}"


class _Output:
    """Read a pipe without ever waiting long, and pass its lines on, up to a limit.

    Args:
        descriptor: the end of the pipe to read from; stays the caller's.
        take_line: called with each line.
    """

    def __init__(self, descriptor: int, take_line: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._take_line = take_line
        self._line = b""
        self._remaining = OUTPUT_BYTES
        self._tail = b""
        self.cut = 0
        self.closed = False
        """No process holds the other end any more."""
        if sys.platform != "win32":
            os.set_blocking(descriptor, False)
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)

    @property
    def tail(self) -> str:
        """The end of all that was printed."""
        return self._tail.decode(errors="backslashreplace").strip()

    def read(self, seconds: float) -> bool:
        """Wait so long for more, and read what is there; return whether something was."""
        if self.closed or sys.platform == "win32":
            time.sleep(seconds)
            return False
        if not self._poll.poll(seconds * 1000):
            return False
        data = os.read(self._descriptor, _CHUNK_BYTES)
        self.closed = not data
        self._add(data)
        return not self.closed

    def finish(self) -> None:
        """Read what is still in the pipe, without waiting for the processes that keep it open."""
        size = 0
        while not self.closed and size < _DRAIN_BYTES and self.read(0):
            size += _CHUNK_BYTES
        self._pass_on(self._line)
        self._line = b""

    def _add(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        kept = data[: self._remaining]
        self._remaining -= len(kept)
        self.cut += len(data) - len(kept)
        *lines, self._line = (self._line + kept).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._line) > LINE_BYTES:
            self._pass_on(self._line)
            self._line = b""

    def _pass_on(self, line: bytes) -> None:
        if text := line.decode(errors="backslashreplace").rstrip():
            for start in range(0, len(text), LINE_BYTES):
                self._take_line(text[start : start + LINE_BYTES])
