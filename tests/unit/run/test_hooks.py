"""What a hook finds in its environment, what is logged of it, and what follows from its failure or a signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from support.hook_rig import (
    LONG_SECONDS,
    Rig,
    is_alive,
    read_pid,
    wait_until,
)

from s32s_agent.errors import Interrupted
from s32s_agent.run import child_process, hooks
from s32s_agent.run.hooks import environment_for


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "GRACE_SECONDS", 0.5)


def test_the_log_names_the_program_and_no_argument(rig: Rig) -> None:
    """An argument may hold the secret address of a service."""
    rig.run("/bin/true", "https://example.org/secret")

    assert "secret" not in str(rig.capture.entries)
    assert rig.named("hook.started")[0]["command"] == "/bin/true"


@pytest.mark.parametrize(
    ("command", "fact"),
    [
        (("/bin/sh", "-c", "exit 3"), '"/bin/sh" ended with exit status 3'),
        (("/bin/sh", "-c", "kill -9 $$"), '"/bin/sh" was ended by signal 9'),
        (("/nowhere/x",), '"/nowhere/x" cannot be started: No such file or directory'),
        (("/etc/passwd",), '"/etc/passwd" cannot be started: Permission denied'),
    ],
)
def test_a_failure_says_what_was_wrong(rig: Rig, command: tuple[str, ...], fact: str) -> None:
    """The error names the hook, the program and the fact; it is logged with its remedy."""
    error = rig.run(*command)

    assert str(error) == f"hooks.before: {fact}"
    (failed,) = rig.named("hook.failed")
    assert (failed["error"], failed["cause"]) == (f"hooks.before: {fact}", "hook")
    assert failed["remedy"]


def test_a_failure_shows_the_end_of_the_output(rig: Rig) -> None:
    """A log that holds errors only still tells why a command failed."""
    rig.shell("seq 1 10000; echo the reason >&2; exit 1")

    (failed,) = rig.named("hook.failed")
    assert failed["output"][-1] == "the reason"
    assert len("".join(failed["output"])) < 2000


def test_after_a_failure_the_next_command_does_not_run(rig: Rig, tmp_path: Path) -> None:
    """A list of commands ends with the first one that fails."""
    commands = [("/bin/true",), ("/bin/false",), ("/bin/touch", str(tmp_path / "ran"))]
    error = rig.runner.run("after", commands, {})

    assert '"/bin/false" ended with exit status 1' in str(error)
    assert not (tmp_path / "ran").exists()


def test_secrets_of_the_environment_are_withheld() -> None:
    """No credential of the agent reaches a command, nor a variable of its own that is left over."""
    inherited = {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_PROFILE": "p",
        "S32S_CHANGED_FILE": "old",
        "DB_PASSWORD": "s",
        "MY_TOKEN": "s",
        "CREDENTIALS_DIRECTORY": "/run/credentials/x",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "HTTPS_PROXY": "http://me:s@proxy.example.net:3128",
        "https_proxy": "http://me:p/s@s@proxy.example.net:3128",
        "ALL_PROXY": "me:s@proxy.example.net:3128",
        "HTTP_PROXY": "http://proxy.example.net:3128",
        "NO_PROXY": "169.254.169.254,.example.net",
    }
    actual = environment_for(inherited, {"S32S_RUN_ID": "r"})

    assert actual == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "S32S_RUN_ID": "r",
        "HTTPS_PROXY": "http://proxy.example.net:3128",
        "https_proxy": "http://proxy.example.net:3128",
        "ALL_PROXY": "proxy.example.net:3128",
        "HTTP_PROXY": "http://proxy.example.net:3128",
        "NO_PROXY": "169.254.169.254,.example.net",
    }


def test_a_command_that_never_falls_silent_is_no_stall_of_the_run(rig: Rig) -> None:
    """Systemd would end a run whose hook prints several lines a second for a quarter of an hour."""
    waits: list[float] = []
    rig.runner.heartbeat = lambda: waits.append(time.monotonic())
    rig.shell("echo one; echo two; echo three")

    assert len(waits) >= 3


def test_a_command_learns_what_it_is_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment names hook, run and mapping, and no key of AWS."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    command = ("/bin/sh", "-c", "env | sort | grep -e S32S_ -e AWS_")
    rig.runner.run("on_change", [command], {"S32S_CHANGED_COUNT": "3"}, "site")

    assert rig.printed == [
        "S32S_CHANGED_COUNT=3",
        "S32S_HOOK=on_change",
        "S32S_MAPPING=site",
        "S32S_RUN_ID=r1",
    ]
    assert rig.named("hook.started")[0]["mapping"] == "site"


@contextmanager
def raising(number: int, first: Callable[[Interrupted], None]) -> Iterator[None]:
    """Turn a signal into an exception, as the command line does."""

    def receive(got: int, _frame: FrameType | None) -> None:
        first(Interrupted(got))
        raise Interrupted(got)

    before = signal.signal(number, receive)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_signal_reaches_the_whole_group_of_a_command(rig: Rig, tmp_path: Path) -> None:
    """SIGTERM ends what a command has started, and the run is told to end."""
    file = tmp_path / "pid"
    script = f"sh -c 'echo $$ > {file}; sleep {LONG_SECONDS}; :' & sleep {LONG_SECONDS}"

    def interrupt() -> None:
        read_pid(file)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    with raising(signal.SIGTERM, rig.cancel_token.cancel):
        thread.start()
        with pytest.raises(Interrupted):
            rig.shell(script)
    thread.join()

    wait_until(lambda: not is_alive(read_pid(file)))


def test_after_a_signal_a_command_gets_little_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has to end does not wait a minute for its last commands."""
    monkeypatch.setattr(hooks, "CANCELLED_SECONDS", 0.3)
    rig.cancel_token.cancel()
    error = rig.shell(f"sleep {LONG_SECONDS}")

    assert "took more than 0.3 seconds" in str(error)
