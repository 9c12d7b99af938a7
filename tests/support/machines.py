"""A disposable Linux machine for tests: a separate init in new namespaces, on a copy of this computer's files.

Nothing in it changes this computer, but the network is shared: servers on loopback can be reached.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BOOT = Path(__file__).with_name("boot_machine.sh")
SYSTEMD = (
    "/lib/systemd/systemd",
    "--system",
    "--unit=basic.target",
    "--log-target=journal-or-kmsg",
    "--show-status=no",
)
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--cgroup")
SECONDS = 60.0
CAP_SYS_ADMIN = 21


def cannot_boot() -> str:
    """Return why no machine can be started here; "" when it can."""
    programs = ("unshare", "nsenter", "setpriv", SYSTEMD[0])
    missing = [each for each in programs if not shutil.which(each)]
    needs = {
        "root, with the right to mount": _may_mount(),
        ", ".join(missing): not missing,
        "that systemd does not run here, since it would see the machine's units": not Path(
            "/run/systemd/system"
        ).exists(),
        "a control group hierarchy of version 2 that can be written": _cgroups() is not None,
    }
    return "; ".join(need for need, is_met in needs.items() if not is_met)


def _may_mount() -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    capabilities = re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)
    return bool(capabilities and int(capabilities[1], 16) >> CAP_SYS_ADMIN & 1)


def _cgroups() -> Path | None:
    """Find the directory in which control groups of version 2 can be created."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(path)
    return None


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A running machine.

    Attributes:
        leader: the process id, here, of its init.
    """

    leader: int

    def run(
        self, command: str, *, environ: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> Done:
        """Run a shell command as root."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-p", "-i", "-u", "-C"]
        variables = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "SYSTEMD_COLORS": "0",
            **(environ or {}),
        }
        done = subprocess.run(
            [*inside, "/bin/sh", "-euc", f"cd {cwd}\n{command}"],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS * 3,
            check=False,
        )
        return Done(
            done.returncode,
            done.stdout.decode(),
            done.stderr.decode(errors="backslashreplace"),
        )

    def ok(self, command: str, **settings: str) -> str:
        """Run a command that must succeed; return its standard output."""
        done = self.run(command, **settings)  # type: ignore[arg-type]
        assert done.status == 0, (
            f"{command}\nended with {done.status}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file, and create its directory."""
        file = Path(f"/proc/{self.leader}/root{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        """Return the text of a file; "" when there is none."""
        with suppress(FileNotFoundError):
            return Path(f"/proc/{self.leader}/root{path}").read_text(encoding="utf-8")
        return ""

    def wait_for(self, condition: Callable[[], object], doing: str) -> None:
        """Wait until a condition holds; after a time the test fails, with the machine's log."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                log = self.run("journalctl --no-pager --lines=60").stdout
                raise AssertionError(f"{doing}: not within {SECONDS:.0f} seconds\n{log}")
            time.sleep(0.1)


@contextmanager
def machine(
    directory: Path,
    *,
    binds: Mapping[Path, str],
    prepare: str = "",
    init: tuple[str, ...] = SYSTEMD,
) -> Iterator[Machine]:
    """Run a machine until the `with` block ends.

    Args:
        directory: for its console output.
        binds: directories of this computer, by which path it sees them.
        prepare: a shell script that runs as root inside, before the init.
        init: its first process.
    """
    above = _cgroups()
    assert above is not None
    group = above / f"machine-{os.getpid()}-{directory.name}"
    group.mkdir()
    script = directory / "prepare.sh"
    script.write_text(prepare, encoding="utf-8")
    mounts = [f"{host}:{path}" for host, path in binds.items()]
    command = ["unshare", *NAMESPACES, "--fork", "--kill-child=KILL", "/bin/sh", str(BOOT)]
    # A separate control group becomes the root of those inside.
    enter = ["/bin/sh", "-euc", 'echo $$ > "$0"/cgroup.procs; exec "$@"', str(group)]
    with (directory / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [*enter, *command, str(script), *mounts, "--", *init],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _booted(process, directory / "console.log", is_systemd=init is SYSTEMD)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        _remove(group)


def _booted(process: subprocess.Popen[bytes], console: Path, *, is_systemd: bool) -> Machine:
    """Wait until the init runs, and systemd has started its units."""
    deadline = time.monotonic() + SECONDS
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline:
        assert process.poll() is None, console.read_text(errors="replace")
        leader = int(children.read_text() or "0")
        if leader and not _is_preparing(leader):
            found = Machine(leader)
            state = found.run("systemctl is-system-running").stdout.strip()
            if not is_systemd or state in ("running", "degraded"):
                return found
        time.sleep(0.05)
    raise AssertionError(f"the machine did not boot\n{console.read_text(errors='replace')}")


def _is_preparing(leader: int) -> bool:
    return str(BOOT).encode() in Path(f"/proc/{leader}/cmdline").read_bytes()


def _remove(group: Path) -> None:
    """Remove a control group with those below it, once the kernel has removed their processes."""
    deadline = time.monotonic() + SECONDS
    while group.exists() and time.monotonic() < deadline:
        for path, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):  # a process has not ended yet
                Path(path).rmdir()
        time.sleep(0.02)
