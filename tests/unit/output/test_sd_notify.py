"""What systemd gets to know of a run, on a real socket like its own."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.clocks import Clock

from s32s_agent.output.progress import Progress, ProgressState
from s32s_agent.output.sd_notify import INTERVAL_SECONDS, STALL_SECONDS, Notifier, listener

BEGUN = ProgressState("site", 10, 1000)
MORE_TIME = f"EXTEND_TIMEOUT_USEC={STALL_SECONDS * 1_000_000}"


class Systemd:
    """The listening end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """Return the lines of every message since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    abstract = f"@s32s-agent-test-{secrets.token_hex(8)}"
    found = Systemd(str(tmp_path / "notify") if request.param == "path" else abstract)
    yield found
    found.socket.close()


def test_a_message_has_the_progress_and_asks_for_more_time(systemd: Systemd) -> None:
    """People see how far the run is, and systemd that it makes progress."""
    Notifier(systemd.address, Clock()).notify(replace(BEGUN, entries=5, bytes=500))

    assert systemd.heard() == [["STATUS=site  5/10  500 B/1.0 kB  0:00 left", MORE_TIME]]


def test_a_run_that_hangs_is_not_given_more_time_for_ever(systemd: Systemd) -> None:
    """Time that only goes by is no progress, whatever the screen shows."""
    clock = Clock()
    notifier = Notifier(systemd.address, clock)
    notifier.notify(BEGUN)
    systemd.heard()
    clock.seconds += 600
    notifier.notify(BEGUN)

    ((status,),) = systemd.heard()
    assert status.startswith("STATUS=site  0/10")


@pytest.mark.parametrize(
    "later",
    [replace(BEGUN, entries=1), replace(BEGUN, bytes=1), replace(BEGUN, beats=1)],
)
def test_everything_that_comes_is_progress(systemd: Systemd, later: ProgressState) -> None:
    """An entry, a byte, and a beat each show that the run is alive."""
    clock = Clock()
    notifier = Notifier(systemd.address, clock)
    notifier.notify(BEGUN)
    systemd.heard()
    clock.seconds += INTERVAL_SECONDS
    notifier.notify(later)

    assert [MORE_TIME in message for message in systemd.heard()] == [True]


def test_systemd_is_not_flooded(systemd: Systemd) -> None:
    """Messages of one piece of work keep a distance; a new piece of work is shown at once."""
    notifier = Notifier(systemd.address, Clock())
    for entries in range(10):
        notifier.notify(replace(BEGUN, entries=entries))
    notifier.notify(ProgressState("other", 1, 1))

    assert [message[0].split("  ")[0] for message in systemd.heard()] == [
        "STATUS=site",
        "STATUS=other",
    ]


def test_a_name_cannot_forge_a_message(systemd: Systemd) -> None:
    """A mapping's name with a newline in it does not become a line of its own."""
    Notifier(systemd.address, Clock()).notify(ProgressState("a\nMAINPID=1", 1, 1))

    ((status, more_time),) = systemd.heard()
    assert status.startswith("STATUS=a\\x0aMAINPID=1 ")
    assert more_time == MORE_TIME


def test_a_dead_or_busy_systemd_ends_no_run(tmp_path: Path) -> None:
    """Neither a closed socket nor a full queue ends the run."""
    Notifier(str(tmp_path / "nobody"), Clock()).notify(BEGUN)
    full = Systemd(str(tmp_path / "full"))
    clock = Clock()
    notifier = Notifier(full.address, clock)
    for entries in range(2000):
        clock.seconds += INTERVAL_SECONDS
        notifier.notify(replace(BEGUN, entries=entries))

    assert 0 < len(full.heard()) < 2000
    full.socket.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_there_is_no_listener_where_systemd_does_not_listen(address: str | None) -> None:
    """Without a socket that can be spoken to there is no listener at all."""
    assert listener({} if address is None else {"NOTIFY_SOCKET": address}) is None


def test_waiting_on_purpose_is_no_stall(systemd: Systemd) -> None:
    """A long splay or a wait for the lock keeps asking for more time."""
    clock = Clock()
    progress = Progress(
        None, enabled=True, clock=clock, listener=Notifier(systemd.address, clock).notify
    )
    progress.start("waiting", 0, 0)
    for _ in range(3):
        clock.seconds += INTERVAL_SECONDS
        progress.beat()

    assert systemd.heard() == [["STATUS=waiting", MORE_TIME]] * 4


def test_a_run_without_a_terminal_notifies_systemd(systemd: Systemd) -> None:
    """Begin, work, and answers reach systemd although there is nothing to draw on."""
    clock = Clock()
    notify = Notifier(systemd.address, clock).notify
    progress = Progress(None, enabled=True, clock=clock, listener=notify)
    progress.start("site", 2, 20)
    clock.seconds += INTERVAL_SECONDS
    progress.advance(1, 10)
    clock.seconds += INTERVAL_SECONDS
    progress.beat()
    progress.advance(0, 0)
    clock.seconds += INTERVAL_SECONDS
    progress.advance(0, 0)
    progress.finish()
    progress.advance(1, 10)

    heard = systemd.heard()
    assert [message[0].split("  ")[1] for message in heard] == ["0/2", "1/2", "1/2", "1/2"]
    assert [MORE_TIME in message for message in heard] == [True, True, True, False]
