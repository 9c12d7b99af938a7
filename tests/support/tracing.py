"""Stop a program before every call that changes or syncs files, in one order over all its threads.

    traced = trace(command, env, within=[root], decide=lambda call: KILL if call.number == 7 else PROCEED)

`strace -e inject` counts the calls of each thread separately, so its numbers do not identify one call of a program
with workers; here there is one count. The action takes place before the call: the kernel has not begun it, and all
other threads continue. Linux on x86-64 only: registers are read and written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"
WHY_NOT = "calls are traced on Linux on x86-64 only"

# --- what is traced ---

AT_FDCWD = -100
_DATA = ("write", "pwrite64", "writev", "pwritev")
_SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range")
DATA, SYNCS = frozenset(_DATA), frozenset(_SYNCS)

_NUMBERS = {
    "write": 1,
    "open": 2,
    "pwrite64": 18,
    "writev": 20,
    "fsync": 74,
    "fdatasync": 75,
    "truncate": 76,
    "ftruncate": 77,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "openat": 257,
    "mkdirat": 258,
    "mknodat": 259,
    "fchownat": 260,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "fchmodat": 268,
    "sync_file_range": 277,
    "utimensat": 280,
    "fallocate": 285,
    "pwritev": 296,
    "syncfs": 306,
    "renameat2": 316,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_BY_DESCRIPTOR = {*_DATA, *_SYNCS, "ftruncate", "fchmod", "fchown", "fallocate"}
_PATHS = {
    "open": ((None, 0),),
    "creat": ((None, 0),),
    "truncate": ((None, 0),),
    "rename": ((None, 0), (None, 1)),
    "mkdir": ((None, 0),),
    "rmdir": ((None, 0),),
    "link": ((None, 0), (None, 1)),
    "unlink": ((None, 0),),
    "symlink": ((None, 1),),
    "chmod": ((None, 0),),
    "chown": ((None, 0),),
    "lchown": ((None, 0),),
    "openat": ((0, 1),),
    "mkdirat": ((0, 1),),
    "mknodat": ((0, 1),),
    "fchownat": ((0, 1),),
    "unlinkat": ((0, 1),),
    "renameat": ((0, 1), (2, 3)),
    "linkat": ((0, 1), (2, 3)),
    "symlinkat": ((1, 2),),
    "fchmodat": ((0, 1),),
    "utimensat": ((0, 1),),
    "renameat2": ((0, 1), (2, 3)),
}
"""By call, its paths: which argument is the directory's descriptor, which the name."""
_FLAGS = {"open": 1, "openat": 2}
_CHANGING = os.O_CREAT | os.O_TRUNC


class Call(NamedTuple):
    """A call that is about to be made."""

    number: int
    """From 1, over all threads."""
    name: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number}. {self.name} {' -> '.join(self.paths)}"

    def is_below(self, directory: Path) -> bool:
        """Return whether it concerns a directory or what is below it."""
        return any(Path(each).is_relative_to(directory) for each in self.paths)


class Action(NamedTuple):
    """What happens at a call."""

    signal: int = 0
    """The signal that the program gets."""
    error: int = 0
    """The error number with which the call fails, without being made."""
    short: bool = False
    """Half of the bytes are written."""


PROCEED = Action()
KILL = Action(signal.SIGKILL)
TERMINATE = Action(signal.SIGTERM)
SHORT = Action(short=True)


@dataclass(slots=True)
class TracedRun:
    """The result of a traced program."""

    exit_code: int = 0
    """Negative when a signal ended the program."""
    calls: list[Call] = field(default_factory=list)
    stderr: str = ""


# --- the kernel's side ---

_TRACEME, _CONT, _GETREGS, _SETREGS, _SETOPTIONS = 0, 7, 12, 13, 0x4200
_EVENT_SECCOMP = 7
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Forks, vforks, clones, execs, seccomp's stops; and the program is killed when the tracer ends."""
_WALL, _OWN_OF_THE_THREAD = 0x40000000, 0x20000000
_REGISTERS = 27
_RAX, _RDX, _ORIG_RAX = 10, 12, 15
_ARGUMENTS = (14, 13, 12, 7, 9, 8)
_ARCH_X86_64 = 0xC000003E
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


def _filter() -> bytes:
    """Return the seccomp program that stops at the traced calls and at no other."""
    numbers = sorted(_NAMES)
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 0, len(numbers) + 1, _ARCH_X86_64), (_LOAD, 0, 0, 0)]
    for position, number in enumerate(numbers):
        steps.append((_EQUAL, len(numbers) - position, 0, number))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _TRACE)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


class _Libc:
    """ptrace, with its errors as exceptions."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._libc.ptrace.restype = ctypes.c_long

    def ptrace(self, request: int, thread: int, data: object = 0) -> None:
        if self._libc.ptrace(request, thread, None, data) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(request))

    def stop_at_calls(self) -> None:
        code = _filter()
        text = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(text))
        for arguments in (
            (_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
            (_SET_SECCOMP, _FILTER, program, 0, 0),
        ):
            if self._libc.prctl(*arguments) < 0:
                raise OSError(ctypes.get_errno(), "prctl")


def _launch(command: list[str]) -> None:
    """Execute the program, after the tracer has set its options."""
    libc = _Libc()
    libc.ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    libc.stop_at_calls()
    os.execvp(command[0], command)


# --- the tracer's side ---


def trace(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    within: Sequence[Path],
    decide: Callable[[Call], Action] = lambda _call: PROCEED,
    log: Path | None = None,
) -> TracedRun:
    """Run a program to its end.

    Args:
        command: the program and its arguments.
        env: its environment.
        within: only calls that concern something below one of these directories count.
        decide: asked before each call; the thread that makes it waits for the answer.
        log: a file that gets what the program writes to standard error, while it runs.
    """
    # In a thread of its own, whose only children are the program and what that starts: hooks are in other sessions, so
    # that no wait for one group of processes would learn of them.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_trace, command, env, within, decide, log).result()


def _trace(
    command: Sequence[str],
    env: Mapping[str, str],
    within: Sequence[Path],
    decide: Callable[[Call], Action],
    log: Path | None,
) -> TracedRun:
    with log.open("w+b") if log else tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        traced = TracedRun()
        tracer = _Tracer(process.pid, tuple(map(os.fspath, within)), decide, traced)
        try:
            process.returncode = traced.exit_code = tracer.run()
        except BaseException:
            process.kill()
            raise
        stderr.seek(0)
        traced.stderr = stderr.read().decode(errors="backslashreplace")
    return traced


@dataclass(slots=True)
class _Tracer:
    pid: int
    within: tuple[str, ...]
    decide: Callable[[Call], Action]
    traced: TracedRun
    libc: _Libc = field(default_factory=_Libc)

    def run(self) -> int:
        """Trace the program and its threads; return its exit code."""
        os.waitpid(self.pid, _WALL | os.WUNTRACED)
        self.libc.ptrace(_SETOPTIONS, self.pid, _OPTIONS)
        self._continue(self.pid)
        while True:
            thread, status = os.waitpid(-1, _WALL | _OWN_OF_THE_THREAD)
            if os.WIFSTOPPED(status):
                self._stopped(thread, status)
            elif thread == self.pid:
                return os.waitstatus_to_exitcode(status)

    def _stopped(self, thread: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        if event == _EVENT_SECCOMP:
            self._at_call(thread)
        elif event or number in (signal.SIGTRAP, signal.SIGSTOP):
            self._continue(thread)
        else:
            self._continue(thread, number)

    def _continue(self, thread: int, number: int = 0) -> None:
        try:
            self.libc.ptrace(_CONT, thread, number)
        except ProcessLookupError:
            return  # it was killed, as the next wait reports

    def _at_call(self, thread: int) -> None:
        registers = (ctypes.c_ulonglong * _REGISTERS)()
        try:
            self.libc.ptrace(_GETREGS, thread, registers)
        except ProcessLookupError:
            return
        name = _NAMES[registers[_ORIG_RAX]]
        arguments = [registers[position] for position in _ARGUMENTS]
        paths = tuple(_paths(thread, name, arguments))
        if self._counts(name, arguments, paths):
            call = Call(len(self.traced.calls) + 1, name, paths)
            self.traced.calls.append(call)
            self._do(thread, registers, self.decide(call))
        self._continue(thread)

    def _counts(self, name: str, arguments: Sequence[int], paths: Sequence[str]) -> bool:
        if name in _FLAGS and not arguments[_FLAGS[name]] & _CHANGING:
            return False
        return any(
            path == directory or path.startswith(f"{directory}/")
            for path in paths
            for directory in self.within
        )

    def _do(
        self, thread: int, registers: ctypes.Array[ctypes.c_ulonglong], action: Action
    ) -> None:
        if action.signal:
            os.kill(self.pid, action.signal)
        elif action.error:
            registers[_ORIG_RAX] = 2**64 - 1
            registers[_RAX] = 2**64 - action.error
            self.libc.ptrace(_SETREGS, thread, registers)
        elif action.short:
            registers[_RDX] = max(1, registers[_RDX] // 2)
            self.libc.ptrace(_SETREGS, thread, registers)


def _paths(thread: int, name: str, arguments: Sequence[int]) -> Iterator[str]:
    if name in _BY_DESCRIPTOR:
        yield _descriptor(thread, arguments[0])
    for directory, text in _PATHS.get(name, ()):
        above = AT_FDCWD if directory is None else ctypes.c_int(arguments[directory]).value
        if not arguments[text]:  # the descriptor itself is meant
            yield _descriptor(thread, above)
            continue
        yield os.path.join(_descriptor(thread, above), _text(thread, arguments[text]))  # noqa: PTH118 (a name may be absolute)


def _descriptor(thread: int, number: int) -> str:
    place = "cwd" if number == AT_FDCWD else f"fd/{ctypes.c_int(number).value}"
    try:
        return str(Path(f"/proc/{thread}/{place}").readlink())
    except OSError:
        return ""  # it is no descriptor: the call will fail by itself


def _text(thread: int, address: int) -> str:
    with Path(f"/proc/{thread}/mem").open("rb", 0) as memory:
        memory.seek(address)
        text = b""
        while b"\0" not in text:
            # Not over the end of a page, behind which there may be nothing.
            text += memory.read(4096 - (address + len(text)) % 4096)
    return os.fsdecode(text.partition(b"\0")[0])


def fail_with(name: str) -> Action:
    """Return the action of a call that fails with an error: `ENOSPC`, `EIO`."""
    return Action(error=getattr(errno, name))


if __name__ == "__main__":
    _launch(sys.argv[1:])
