"""A separate journald, in a mount namespace with its own /run; programs in the namespace log to it.

Needs root, `unshare`, `nsenter` and systemd's journald; the journal of the machine, if there is one, is not changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNALD = "/lib/systemd/systemd-journald"
_NEEDED = ("unshare", "nsenter", "journalctl", JOURNALD)
# Whoever reads the first line knows that the socket is there; journald ends with the shell's standard input.
_START = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToWall=no\\nRateLimitBurst=0\\n' \
    > /run/systemd/journald.conf.d/test.conf
{JOURNALD} >/dev/null 2>&1 &
while [ ! -S /run/systemd/journal/socket ]; do kill -0 $! || exit 1; sleep 0.05; done
echo $$
cat >/dev/null
kill $!
"""


def missing() -> str:
    """Return why no journald can be run here; "" when it can."""
    if os.geteuid() != 0:
        return "a mount namespace needs root"
    absent = [each for each in _NEEDED if shutil.which(each) is None]
    if absent:
        return f"{', '.join(absent)} is not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "no mount namespaces here"


@dataclass(frozen=True, slots=True)
class Journald:
    """The journal that `command` leads to."""

    pid: int

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs a program where this journal is that of the system."""
        return [
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            f"--wdns={Path.cwd()}",
            *arguments,
        ]

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run something there to its end."""
        return subprocess.run(
            self.command(*arguments), env=env, capture_output=True, timeout=120, check=False
        )

    def events(self, *matches: str) -> list[dict[str, Any]]:
        """Return the entries that `journalctl` finds, oldest first."""
        self.run("journalctl", "--sync")
        done = self.run("journalctl", "--no-pager", "--all", "--output=json", *matches)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def journald(directory: Path) -> Iterator[Journald]:
    """Run a journald; it ends with the block."""
    command: Sequence[str] = (
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        _START,
    )
    with (
        (directory / "journald.log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Journald(int(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(30)
