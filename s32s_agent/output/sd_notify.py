"""Tell systemd how far a pass is, and ask it for more time while the pass gets on.

Does nothing where systemd does not listen, and never fails: what is told is a kindness. Nothing is read, and no process
that the agent starts is meant to speak here.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Mapping

from s32s_agent.output.progress import Tally, facts
from s32s_agent.text import printable

STALL_SECONDS = 15 * 60
"""How long a pass may go without getting on; above what a page or a map may take, with all repetitions."""
INTERVAL_SECONDS = 2.0
"""The least time between two messages."""


def listener(environ: Mapping[str, str]) -> Callable[[Tally], None] | None:
    """Give who is to be told of the progress: systemd, when it listens."""
    address = environ.get("NOTIFY_SOCKET", "")
    # sd_notify(3): a path, or an abstract name after "@"; anything else is a socket of another kind.
    if sys.platform == "win32" or address[:1] not in ("/", "@"):
        return None
    return Notifier(address).tell


class Notifier:
    """Speaks to one socket of systemd.

    Args:
        address: a path, or "@" and an abstract name.
        clock: seconds that only grow.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = f"\0{address[1:]}" if address[0] == "@" else address
        self._clock = clock
        self._told: Tally | None = None
        self._began = self._next = clock()

    def tell(self, tally: Tally) -> None:
        """Show the progress in `systemctl status`; ask for more time if there was any since the last message."""
        now = self._clock()
        if self._told is None or tally.label != self._told.label:
            self._began = now
        elif now < self._next:
            return
        self._next = now + INTERVAL_SECONDS
        words = [printable(tally.label)]
        if tally.entries or tally.bytes or tally.fractions():
            words += facts(tally, now - self._began)
        fields = [f"STATUS={'  '.join(words)}"]
        if tally != self._told:
            fields.append(f"EXTEND_TIMEOUT_USEC={STALL_SECONDS * 1_000_000}")
        self._told = tally
        self._send("\n".join(fields))

    def _send(self, text: str) -> None:
        if sys.platform == "win32":
            return
        # systemd that is busy, restarting or gone costs a message, not the pass.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker,
        ):
            speaker.setblocking(False)
            speaker.sendto(text.encode(), self._address)
