"""Send log events to systemd's journal with their fields, so that `journalctl S32S_EVENT=entry.deleted` finds them.

The protocol is that of <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. Decides nothing about what is logged.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "s32s-agent"
PREFIX = "S32S_"
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""By level, as syslog counts."""
MESSAGE_IDS = {
    "run.started": "7d1b6a0c0f1f4d6f9b6a0d3c2a5e4f81",
    "run.finished": "3c5f2e9ab84e4c0f8a7d61be09c4d2f7",
}
"""What `journalctl MESSAGE_ID=` finds, whatever the name of the agent."""
MAX_FIELD = 16384
"""Bytes of one field; the texts of an event have a limit of their own, lists of texts have none."""

_NOT_IN_NAMES = re.compile("[^A-Z0-9_]")
_MAX_NAME = 64


def packet(level: str, message: str, fields: Mapping[str, str]) -> bytes:
    """Write one event as the journal takes it.

    Args:
        level: one of `PRIORITIES`.
        message: what `journalctl` shows.
        fields: the event's own, `event` among them; their names get the prefix.
    """
    return b"".join(_fields(level, message, fields))


def _fields(level: str, message: str, fields: Mapping[str, str]) -> Iterator[bytes]:
    yield _field("MESSAGE", message)
    yield _field("PRIORITY", str(PRIORITIES[level]))
    yield _field("SYSLOG_IDENTIFIER", IDENTIFIER)
    if message_id := MESSAGE_IDS.get(fields.get("event", "")):
        yield _field("MESSAGE_ID", message_id)
    for name, value in fields.items():
        yield _field((PREFIX + _NOT_IN_NAMES.sub("_", name.upper()))[:_MAX_NAME], value)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if len(data) > MAX_FIELD:
        # The middle is cut, as in the text of an event; half a character would make the field a binary one.
        half = MAX_FIELD // 2
        start, end = data[:half].decode(errors="ignore"), data[-half:].decode(errors="ignore")
        data = f"{start}...[{len(data) - MAX_FIELD} bytes cut]...{end}".encode()
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


def send(data: bytes, path: str = SOCKET) -> None:
    """Send one event, whatever its size.

    Raises:
        OSError: no journal listens there, or it does not take the event.
    """
    if sys.platform != "linux":  # pragma: no cover - tests run on Linux
        raise OSError(errno.EAFNOSUPPORT, "there is no journal on this system")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        # A new socket each time: it costs microseconds, and a journal that was restarted is found again.
        try:
            sender.sendto(data, path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            with _sealed_file(data) as descriptor:
                rights = array.array("i", [descriptor])
                about = (socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)
                sender.sendmsg([], [about], 0, path)


@contextlib.contextmanager
def _sealed_file(data: bytes) -> Iterator[int]:
    """Yield a sealed file in memory: the protocol's way to send more than a datagram holds."""
    import fcntl  # noqa: PLC0415 (POSIX only)

    if sys.platform == "linux":  # pragma: no branch - for the type checker
        descriptor = os.memfd_create(IDENTIFIER, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                stream.write(data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)
            yield descriptor
        finally:
            os.close(descriptor)


def listens(path: str = SOCKET) -> bool:
    """Return whether a journal takes events there."""
    if sys.platform != "linux":  # pragma: no cover - tests run on Linux
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        return sender.connect_ex(path) == 0


def is_journal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether a stream leads to the journal, which systemd names in JOURNAL_STREAM."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        about = os.fstat(stream.fileno())  # type: ignore[union-attr]
        return environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
    return False
