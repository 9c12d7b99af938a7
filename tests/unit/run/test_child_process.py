"""Commands as real processes: none of them can delay the run beyond its limit, fill its log, or outlive it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.hook_rig import (
    LONG_SECONDS,
    PATIENCE_SECONDS,
    Rig,
    is_alive,
    read_pid,
    wait_until,
)

from s32s_agent.run import child_process
from s32s_agent.run.child_process import LINE_BYTES, OUTPUT_BYTES


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "GRACE_SECONDS", 0.5)


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


def test_no_shell_reads_a_command(rig: Rig, tmp_path: Path) -> None:
    """What a shell would expand or run arrives as it is written."""
    error = rig.run("/bin/echo", "$HOME", f"; touch {tmp_path}/x", "`id`", "*")

    assert error is None
    assert rig.printed == [f"$HOME ; touch {tmp_path}/x `id` *"]
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is up it gets TERM, and the run continues."""
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
            "readlink /proc/$$/fd/* | grep test_child_process"
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


SLOW_START = """
import subprocess
start = subprocess.Popen

def start_slowly(*arguments, **options):
    process = start(*arguments, **options)
    time.sleep(0.5)  # the command runs, and the agent does not know its number yet
    return process

subprocess.Popen = start_slowly
"""


@pytest.mark.parametrize("before", ["", SLOW_START], ids=["running", "just started"])
def test_a_second_signal_leaves_no_command_behind(tmp_path: Path, before: str) -> None:
    """The command ends with the process that the operator ends at once."""
    file = tmp_path / "pid"
    script = f"""
import os, sys, threading, time, structlog
from pathlib import Path
from s32s_agent.run.hooks import HookRunner
from s32s_agent.cancellation import CancelToken
{before}
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
