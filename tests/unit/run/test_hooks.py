"""Commands around a pass, with real processes: none of them can hold it up, fill its log, or learn its secrets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import HookError, Interrupted
from s32s_agent.run import child_process, hooks
from s32s_agent.run.child_process import LINE_BYTES, OUTPUT_BYTES
from s32s_agent.run.hooks import HookRunner, environment_for

LONG_SECONDS = 600
"""So long sleeps what nobody is to wait for."""
PATIENCE_SECONDS = 60
"""What takes longer hangs; far more than a busy machine needs."""


class Rig:
    """Hooks, and what they log."""

    def __init__(self, timeout: float = PATIENCE_SECONDS) -> None:
        self.capture = LogCapture()
        log = structlog.wrap_logger(None, processors=[self.capture])
        self.cancel_token = CancelToken()
        self.runner = HookRunner(log, timeout, {"S32S_RUN_ID": "r1"}, self.cancel_token)

    def run(self, *command: str, **variables: str) -> HookError | None:
        return self.runner.run("before", [command], variables)

    def shell(self, script: str, **variables: str) -> HookError | None:
        return self.run("/bin/sh", "-c", script, **variables)

    def named(self, event: str) -> list[Any]:
        return [entry for entry in self.capture.entries if entry["event"] == event]

    @property
    def printed(self) -> list[str]:
        return [str(entry["text"]) for entry in self.named("hook.printed")]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "GRACE_SECONDS", 0.5)


def is_alive(process_id: int) -> bool:
    """A zombie that nobody waits for has ended, too."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields.rpartition(") ")[2][0] != "Z"


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def read_pid(file: Path) -> int:
    wait_until(lambda: file.exists() and file.read_text(encoding="utf-8").endswith("\n"))
    return int(file.read_text(encoding="utf-8"))


def test_what_a_command_prints_is_logged_line_by_line(rig: Rig) -> None:
    """Both of its outputs reach the log, in their order, and its end is told."""
    error = rig.shell("echo one; echo two >&2; echo; printf three")

    assert error is None
    assert [entry["event"] for entry in rig.capture.entries] == [
        "hook.started",
        "hook.printed",
        "hook.printed",
        "hook.printed",
        "hook.finished",
    ]
    assert rig.printed == ["one", "two", "three"]


def test_the_log_names_the_program_and_no_argument(rig: Rig) -> None:
    """An argument may hold the secret address of a service."""
    rig.run("/bin/true", "https://example.org/secret")

    assert "secret" not in str(rig.capture.entries)
    assert rig.named("hook.started")[0]["command"] == "/bin/true"


def test_no_shell_reads_a_command(rig: Rig, tmp_path: Path) -> None:
    """What a shell would expand or run arrives as it is written."""
    error = rig.run("/bin/echo", "$HOME", f"; touch {tmp_path}/x", "`id`", "*")

    assert error is None
    assert rig.printed == [f"$HOME ; touch {tmp_path}/x `id` *"]
    assert list(tmp_path.iterdir()) == []


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


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is up it gets TERM, and the pass goes on."""
    monkeypatch.setattr(child_process, "GRACE_SECONDS", 10)
    rig = Rig(timeout=2)
    error = rig.shell(
        "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
    )

    assert str(error) == 'hooks.before: "/bin/sh" took more than 2 seconds'
    assert rig.printed[-1] == "asked"


def test_a_command_that_ignores_term_is_killed_with_its_children(tmp_path: Path) -> None:
    """Nothing of a group survives that does not listen."""
    rig, file = Rig(timeout=2), tmp_path / "pid"
    script = f"trap '' TERM; sh -c 'echo $$ > {file}; sleep {LONG_SECONDS}; :' & wait; sleep {LONG_SECONDS}"
    error = rig.shell(script)

    assert "took more than 2 seconds" in str(error)
    wait_until(lambda: not is_alive(read_pid(file)))


def may_become_root() -> bool:
    """Whether a test can make a program that becomes root for good."""
    nosuid = os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOSUID
    return os.geteuid() == 0 and not nosuid and shutil.which("setpriv") is not None


@pytest.mark.skipif(not may_become_root(), reason="needs root, setpriv, and setuid in /tmp")
def test_a_command_that_nobody_may_end_holds_nothing_up() -> None:
    """A command that has become root cannot be ended by an agent with few rights, and is given up."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        become, file = directory / "become", directory / "pid"
        shutil.copy(shutil.which("setpriv") or "", become)
        become.chmod(0o4755)
        inner = f"echo $$ > {file}; exec sleep {LONG_SECONDS}"
        command = [str(become), "--reuid=0", "--clear-groups", "/bin/sh", "-c", inner]
        script = (
            "import os, structlog; from s32s_agent.run import child_process, hooks\n"
            "from s32s_agent.cancellation import CancelToken\n"
            "child_process.GRACE_SECONDS = 0.2; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "runner = hooks.HookRunner(structlog.get_logger(), 1, {}, CancelToken())\n"
            f"done = runner.run('after', [{command!r}], {{}})\n"
            "print('error:', done)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            text=True,
        )
        os.kill(read_pid(file), signal.SIGKILL)

    assert (
        "took more than 1 seconds and cannot be ended" in done.stdout.rpartition("error:")[2]
    )


def test_what_holds_the_pipe_in_the_background_is_not_waited_for(
    rig: Rig, tmp_path: Path
) -> None:
    """A command that leaves something running that keeps its output open has ended, and that goes on."""
    file = tmp_path / "pid"
    error = rig.shell(f"sleep {LONG_SECONDS} & echo $! > {file}; echo done")

    process_id = read_pid(file)
    try:
        assert (error, rig.printed) == (None, ["done"])
        assert is_alive(process_id)
    finally:
        os.kill(process_id, signal.SIGKILL)


def test_a_background_process_that_floods_holds_nothing_up(rig: Rig, tmp_path: Path) -> None:
    """What is left behind may print for ever: the end of the command ends the reading."""
    file = tmp_path / "pid"
    error = rig.shell(f"yes & echo $! > {file}; sleep 0.2")

    # Nobody reads any more, so SIGPIPE ends it.
    process_id = read_pid(file)
    wait_until(lambda: not is_alive(process_id))
    assert error is None


def test_a_flood_is_read_to_its_end_and_cut(rig: Rig) -> None:
    """Megabytes neither block the command nor reach the log."""
    error = rig.shell("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end")

    assert error is None
    assert sum(map(len, rig.printed)) == OUTPUT_BYTES
    assert max(map(len, rig.printed)) <= LINE_BYTES
    assert rig.named("hook.finished")[0]["cut"] == 20_000_005 - OUTPUT_BYTES


def test_output_that_is_no_text_is_written_out(rig: Rig) -> None:
    """Bytes that are not UTF-8 are shown as escapes."""
    rig.run("/usr/bin/printf", "a\\377b\\r\\n")

    assert rig.printed == ["a\\xffb"]


def test_a_command_may_close_its_output_and_go_on(rig: Rig, tmp_path: Path) -> None:
    """A closed pipe is not the end of the command."""
    error = rig.shell(f"exec >&- 2>&-; sleep 0.2; touch {tmp_path}/done")

    assert error is None
    assert (tmp_path / "done").exists()


def test_a_command_finds_nothing_open_and_nothing_to_read(rig: Rig) -> None:
    """Its standard input is empty, it is in no directory of anybody, and it has none of our files."""
    with Path(__file__).open("rb") as stream, standard_input(stream.fileno()):
        os.set_inheritable(stream.fileno(), True)
        rig.shell(
            "cat; pwd; readlink /proc/$$/fd/0; [ $(cut -d' ' -f6 /proc/$$/stat) = $$ ] && echo own;"
            "readlink /proc/$$/fd/* | grep test_hooks"
        )

    assert rig.printed == ["/", "/dev/null", "own"]


@contextmanager
def standard_input(descriptor: int) -> Iterator[None]:
    """Have something to read as this process's standard input."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


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


def test_a_command_that_never_falls_silent_is_no_stall_of_the_pass(rig: Rig) -> None:
    """Systemd would end a pass whose hook prints several lines a second for a quarter of an hour."""
    waits: list[float] = []
    rig.runner.heartbeat = lambda: waits.append(time.monotonic())
    rig.shell("echo one; echo two; echo three")

    assert len(waits) >= 3


def test_a_command_learns_what_it_is_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment names hook, pass and mapping, and no key of AWS."""
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
    """SIGTERM ends what a command has started, and the pass learns that it was asked to end."""
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
    """A pass that has to end does not wait a minute for its last commands."""
    monkeypatch.setattr(hooks, "CANCELLED_SECONDS", 0.3)
    rig.cancel_token.cancel()
    error = rig.shell(f"sleep {LONG_SECONDS}")

    assert "took more than 0.3 seconds" in str(error)


def test_a_second_signal_leaves_no_command_behind(tmp_path: Path) -> None:
    """Who ends the process at once ends its command, too."""
    file = tmp_path / "pid"
    script = f"""
import os, sys, threading, time, structlog
from pathlib import Path
from s32s_agent.run.hooks import HookRunner
from s32s_agent.cancellation import CancelToken
runner = HookRunner(structlog.get_logger(), 600, {{}}, CancelToken())
def end():
    while not Path({str(file)!r}).exists() or not Path({str(file)!r}).read_text().endswith("\\n"):
        time.sleep(0.02)
    runner.kill()
    os._exit(143)
threading.Thread(target=end).start()
runner.run("after", [("/bin/sh", "-c", "echo $$ > {file}; trap '' TERM; sleep {LONG_SECONDS}; :")], {{}})
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert done.returncode == 143
    process_id = read_pid(file)
    wait_until(lambda: not is_alive(process_id))
