"""Hooks with real commands, and what they log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import HookError
from s32s_agent.run.hooks import HookRunner

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
