"""One run at a time, with real processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s32s_agent.errors import DirectoryError, LockHeld
from s32s_agent.state import lock

# The children find the package where this process found it.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
HOLDER = {"run_id": "r1", "started": "2026-11-22T20:54:00Z"}

CHILD = """
import subprocess, sys, time
from s32s_agent.state.lock import hold
with hold(sys.argv[1], wait_seconds=0, holder={"run_id": "child", "started": "2026-11-22T20:54:00Z"}):
    if len(sys.argv) > 2:
        subprocess.Popen(["sleep", sys.argv[2]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run.lock")


@contextmanager
def held_by_child(path: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, path, *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def take(path: str, wait_seconds: float = 0) -> None:
    with lock.hold(path, wait_seconds=wait_seconds, holder=HOLDER):
        pass


def test_two_passes_never_run_at_once(path: str) -> None:
    """While a process holds the lock, the error of another one names it."""
    with held_by_child(path) as child, pytest.raises(LockHeld) as caught:
        take(path)

    assert str(caught.value) == (
        f'"{path}": locked by another run (pid {child.pid}, since 2026-11-22T20:54:00Z, run_id child)'
    )
    assert "--lock-wait" in caught.value.remedy
    assert caught.value.exit_status == 75


def test_a_killed_run_leaves_no_stale_lock(path: str) -> None:
    """After SIGKILL the file is still there and names the dead, and the lock is free."""
    with held_by_child(path) as child:
        child.kill()
        child.wait()

        assert lock.read_holder(path)["pid"] == child.pid
        take(path)


@pytest.mark.skipif(os.name == "nt", reason="starts sleep")
def test_a_hook_left_running_never_keeps_the_lock(path: str) -> None:
    """A grandchild that outlives the run does not inherit the lock."""
    with held_by_child(path, "2") as child:
        child.kill()
        child.wait()

        take(path)


def test_the_lock_is_free_after_the_block(path: str) -> None:
    """One holder follows another, also after an error, and the file stays, empty."""
    with pytest.raises(ZeroDivisionError), lock.hold(path, wait_seconds=0, holder=HOLDER):
        raise ZeroDivisionError
    inode = Path(path).stat().st_ino
    take(path)

    assert Path(path).read_bytes() == b""
    assert Path(path).stat().st_ino == inode


def test_the_holder_is_written_into_the_file(path: str) -> None:
    """The file names the holder as JSON, with the process id, and other users may not read it."""
    with lock.hold(path, wait_seconds=0, holder=HOLDER):
        written = json.loads(Path(path).read_bytes())
        mode = stat.S_IMODE(Path(path).stat().st_mode)

    assert written == {"pid": os.getpid(), **HOLDER}
    assert mode == 0o600


def test_a_shorter_holder_leaves_nothing_of_a_longer_one(path: str) -> None:
    """The old text is removed before the new one is written."""
    Path(path).write_text("x" * 1000, encoding="utf-8")
    with lock.hold(path, wait_seconds=0, holder=HOLDER):
        written = json.loads(Path(path).read_bytes())

    assert written["run_id"] == "r1"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff garbage", b"[1, 2]", b'{"pid": ', b"[" * 4096, b"{}"],
    ids=["empty", "bytes", "list", "half", "deep", "nothing"],
)
def test_a_garbage_holder_never_breaks_the_message(path: str, content: bytes) -> None:
    """Whatever the file holds, the message says that the lock is held."""
    with lock.hold(path, wait_seconds=0, holder=HOLDER):
        Path(path).write_bytes(content)
        with pytest.raises(LockHeld) as caught:
            take(path)

    assert "locked by another run (holder unknown)" in str(caught.value)


def test_an_escape_sequence_in_the_holder_never_reaches_the_terminal(path: str) -> None:
    """The holder's words are escaped."""
    with (
        lock.hold(path, wait_seconds=0, holder={"run_id": "\x1b[2J"}),
        pytest.raises(LockHeld) as caught,
    ):
        take(path)

    assert r"run_id \x1b[2J" in str(caught.value)
    assert str(caught.value).isprintable()


def test_waiting_ends_when_the_holder_does(path: str) -> None:
    """With time to wait, the lock is taken as soon as it is free."""
    with held_by_child(path) as child:
        timer = threading.Timer(0.3, child.kill)
        started = time.monotonic()
        timer.start()
        take(path, wait_seconds=30)
        seconds = time.monotonic() - started
        timer.join()

    assert 0.2 < seconds < 30


def test_waiting_ends_when_its_time_is_up(path: str) -> None:
    """A holder that stays is waited for as long as was asked, and no longer."""
    with lock.hold(path, wait_seconds=0, holder=HOLDER):
        started = time.monotonic()
        with pytest.raises(LockHeld):
            take(path, wait_seconds=0.25)
        seconds = time.monotonic() - started

    assert 0.25 <= seconds < 5


@pytest.mark.skipif(os.name == "nt", reason="needs setitimer")
def test_a_signal_ends_the_waiting(path: str) -> None:
    """A handler that raises is not held up by the wait."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with lock.hold(path, wait_seconds=0, holder=HOLDER):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                take(path, wait_seconds=30)
            seconds = time.monotonic() - started
    finally:
        signal.signal(signal.SIGALRM, before)

    assert seconds < 5


def test_a_missing_state_dir_is_named(tmp_path: Path) -> None:
    """The message has the path, and the remedy what to do."""
    path = str(tmp_path / "none" / "run.lock")
    with pytest.raises(DirectoryError, match="cannot be locked: No such file") as caught:
        take(path)

    assert path in str(caught.value)
    assert caught.value.remedy == "create state_dir, owned by the user that runs the agent"


def test_a_directory_in_the_lock_s_place_is_named(tmp_path: Path) -> None:
    """An error that has no remedy of its own gets the general one."""
    with pytest.raises(DirectoryError) as caught:
        take(str(tmp_path))

    assert caught.value.remedy == "check state_dir and its permissions"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights there")
def test_a_symbolic_link_is_never_followed_to_the_lock(tmp_path: Path, path: str) -> None:
    """A link in the lock's place is refused, and what it points to stays as it was."""
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    Path(path).symlink_to(victim)
    with pytest.raises(DirectoryError) as caught:
        take(path)

    assert "symbolic link" in caught.value.remedy
    assert victim.read_text(encoding="utf-8") == "precious"


def test_a_file_system_without_locks_is_named(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel cannot lock there, the run is refused and not run without a lock."""

    def refuse(_descriptor: int) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "_try_lock", refuse)
    with pytest.raises(DirectoryError, match="No locks available") as caught:
        take(path)

    assert caught.value.remedy == "state_dir must be on a local file system"


def test_a_full_disk_never_costs_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the holder cannot be written, the run still runs, alone."""

    def refuse(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with (
        lock.hold(path, wait_seconds=0, holder=HOLDER),
        pytest.raises(LockHeld, match="holder unknown"),
    ):
        take(path)


def test_a_missing_lock_file_has_no_holder(path: str) -> None:
    """Without a file no holder is known, and reading creates no file."""
    assert lock.read_holder(path) == {}
    assert not Path(path).exists()


def test_a_run_that_waits_shows_that_it_is_alive(tmp_path: Path) -> None:
    """While another run holds the lock, the caller is called back some times a second."""
    path = str(tmp_path / "run.lock")
    heard: list[float] = []
    with (
        lock.hold(path, wait_seconds=0, holder=HOLDER),
        pytest.raises(LockHeld),
        lock.hold(path, wait_seconds=0.3, holder=HOLDER, waiting=lambda: heard.append(0)),
    ):
        pass

    assert heard
