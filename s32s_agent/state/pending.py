"""Remember which paths changed until an `on_change` hook has succeeded, also when the run is killed.

Knows nothing of hooks. The paths that a mapping is about to change are on the disk before the first file changes, so no
later crash loses them. A path may be listed that was not changed in the end, and a change may be listed twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.errors import DirectoryError
from s32s_agent.state.files import replace_file
from s32s_agent.text import printable

PENDING = "pending"
"""The directory in `state_dir`: one file for each mapping, its name first, then the paths, each ended by NUL."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed in a mapping since its hook last succeeded."""

    mapping: str
    paths: tuple[bytes, ...]
    """Absolute local paths, in the order in which they were first changed."""


class Pending:
    """The changes for which no hook has succeeded yet.

    Args:
        directory: is created when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def changes(self) -> tuple[Change, ...]:
        """Read everything that is pending, sorted by the names of the mappings.

        Raises:
            DirectoryError: the directory cannot be read.
        """
        try:
            files = sorted(self._directory.glob("*.changed"))
            found = [_change(file.read_bytes()) for file in files]
        except OSError as error:
            raise _unreadable(self._directory, error) from error
        return tuple(sorted(found, key=lambda change: change.mapping))

    def paths(self, mapping: str) -> tuple[bytes, ...]:
        """Read the paths that are pending of one mapping.

        Raises:
            DirectoryError: its file cannot be read.
        """
        file = self._file(mapping)
        try:
            return _change(file.read_bytes()).paths
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(file, error) from error

    def keep(self, mapping: str, paths: Iterable[bytes]) -> None:
        """Replace the pending paths of a mapping, durably; without paths, nothing is pending.

        Raises:
            DirectoryError: they cannot be written; the old paths are still pending.
        """
        unique = tuple(dict.fromkeys(paths))
        file = self._file(mapping)
        try:
            if not unique:
                file.unlink(missing_ok=True)
                return
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            message = f'"{printable(str(file))}": cannot be written: {error.strerror}'
            raise DirectoryError(message) from error
        records = (mapping.encode("utf-8", "surrogateescape"), *unique)
        replace_file(file, b"".join(record + b"\0" for record in records))

    @contextlib.contextmanager
    def shown(self, paths: Iterable[bytes]) -> Iterator[Path]:
        """Yield a file with paths that a hook can read, each ended by NUL; it is removed afterwards.

        Raises:
            DirectoryError: the file cannot be written.
        """
        file = self._directory / "paths"
        replace_file(file, b"".join(path + b"\0" for path in paths))
        try:
            yield file
        finally:
            # A file that stays does no harm: the next hook gets a new one.
            with contextlib.suppress(OSError):
                file.unlink()

    def _file(self, mapping: str) -> Path:
        # A name may be longer than a file's, and may hold a slash.
        digest = hashlib.sha256(mapping.encode("utf-8", "surrogateescape")).hexdigest()
        return self._directory / f"{digest[:32]}.changed"


def local_path(directory: str, key: str) -> bytes:
    """Return the path of a key in bytes; that of the directory itself for a key that no file can have."""
    name = "" if "\0" in key else key.rstrip("/")
    return os.fsencode(f"{directory.rstrip('/')}/{name}")


def _change(data: bytes) -> Change:
    mapping, *paths = data.split(b"\0")
    return Change(mapping.decode("utf-8", "surrogateescape"), tuple(filter(None, paths)))


def _unreadable(path: Path, error: OSError) -> DirectoryError:
    message = f'"{printable(str(path))}": cannot be read: {error.strerror}'
    return DirectoryError(
        message,
        remedy="it must belong to the user that runs the agent; was it once run as root?",
    )
