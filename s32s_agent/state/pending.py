"""Remember which paths changed until the `on_change` hooks have heard of them, also when the pass is killed.

Knows nothing of hooks. What a mapping is about to change is on the disk before the first file changes, so nothing that
happens afterwards can lose it; a path may be told that was not changed in the end, and a change may be told twice.
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
    """The changes that no hook has heard of yet.

    Args:
        directory: is made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def changes(self) -> tuple[Change, ...]:
        """Read everything that is pending, by the mappings' names.

        Raises:
            DirectoryError: it cannot be read.
        """
        try:
            files = sorted(self._directory.glob("*.changed"))
            found = [_change(file.read_bytes()) for file in files]
        except OSError as error:
            raise _unreadable(self._directory, error) from error
        return tuple(sorted(found, key=lambda change: change.mapping))

    def paths(self, mapping: str) -> tuple[bytes, ...]:
        """Read what is pending of one mapping.

        Raises:
            DirectoryError: it cannot be read.
        """
        file = self._file(mapping)
        try:
            return _change(file.read_bytes()).paths
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(file, error) from error

    def keep(self, mapping: str, paths: Iterable[bytes]) -> None:
        """Replace what is pending of a mapping, durably; nothing is pending without paths.

        Raises:
            DirectoryError: it cannot be written; what was pending still is.
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
        """Have paths in a file that a hook can read, each ended by NUL, while the block runs.

        Raises:
            DirectoryError: it cannot be written.
        """
        file = self._directory / "paths"
        replace_file(file, b"".join(path + b"\0" for path in paths))
        try:
            yield file
        finally:
            # Who left it there is killed or out of luck; the next one writes it anew.
            with contextlib.suppress(OSError):
                file.unlink()

    def _file(self, mapping: str) -> Path:
        # A name may be longer than a file's, and may hold a slash.
        digest = hashlib.sha256(mapping.encode("utf-8", "surrogateescape")).hexdigest()
        return self._directory / f"{digest[:32]}.changed"


def local_path(directory: str, key: str) -> bytes:
    """Give the path of a key as the file system has it; that of the directory for a key that no file can have."""
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
