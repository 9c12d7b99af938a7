"""Notify systemd of the progress of a run, and ask for more time while the run makes progress.

Does nothing where systemd does not listen, and never fails: a run does not depend on it. Reads nothing. Processes that
the agent starts must not write to this socket.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Mapping

from s32s_agent.output.progress import ProgressState, facts
from s32s_agent.text import printable

STALL_SECONDS = 15 * 60
"""How long a run may be without progress; longer than a page or a map file may take, with all retries."""
INTERVAL_SECONDS = 2.0
"""The least time between two messages."""


def listener(environ: Mapping[str, str]) -> Callable[[ProgressState], None] | None:
    """Return what passes the progress to systemd; None where systemd does not listen."""
    address = environ.get("NOTIFY_SOCKET", "")
    # sd_notify(3): a path, or an abstract name after "@"; anything else is a socket of another kind.
    if sys.platform == "win32" or address[:1] not in ("/", "@"):
        return None
    return Notifier(address).notify


class Notifier:
    """Writes to one socket of systemd.

    Args:
        address: a path, or "@" and an abstract name.
        clock: seconds that only grow.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = f"\0{address[1:]}" if address[0] == "@" else address
        self._clock = clock
        self._last: ProgressState | None = None
        self._started = self._next = clock()

    def notify(self, state: ProgressState) -> None:
        """Show the progress in `systemctl status`; ask for more time if there was any since the last message."""
        now = self._clock()
        if self._last is None or state.label != self._last.label:
            self._started = now
        elif now < self._next:
            return
        self._next = now + INTERVAL_SECONDS
        text = [printable(state.label)]
        if state.entries or state.bytes or state.fractions():
            text += facts(state, now - self._started)
        fields = [f"STATUS={'  '.join(text)}"]
        if state != self._last:
            fields.append(f"EXTEND_TIMEOUT_USEC={STALL_SECONDS * 1_000_000}")
        self._last = state
        self._send("\n".join(fields))

    def _send(self, text: str) -> None:
        if sys.platform == "win32":
            return
        # When systemd is busy or restarting, the message is lost, and the run continues.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)
