"""A proxy before a real S3 server that kills an agent at a chosen request.

with KillingProxy(server.endpoint_url) as proxy:
    proxy.arm(3, forwards=True)
    victim = shared_forks().begin(agent, "--publish")
    proxy.aim(victim)
    victim.wait()
"""

from __future__ import annotations

import os
import signal
import threading
import time

from support.counting_proxy import CountingProxy
from support.forked import Running


class KillingProxy(CountingProxy):
    """Kills a client when it sends the request of a number, which the server behind gets, or does not get."""

    def __init__(self, upstream_url: str) -> None:
        super().__init__(upstream_url)
        self._sent = 0
        self._at = 0
        self._forwards = False
        self._victim: Running | None = None
        self._is_ready = threading.Event()

    def arm(self, at: int, *, forwards: bool) -> None:
        """Kill the next victim at this request, counted from 1."""
        self._sent, self._at, self._forwards = 0, at, forwards
        self._is_ready.clear()

    def aim(self, victim: Running) -> None:
        """Name the process that is killed."""
        self._victim = victim
        self._is_ready.set()

    def admit(self, kind: str, begin: int) -> None:
        del kind, begin
        self._sent += 1
        if self._sent != self._at:
            return
        self._is_ready.wait()
        assert self._victim is not None
        pid = self._victim.directory / "pid"
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.001)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        if not self._forwards:
            raise ConnectionAbortedError
