"""What a directory must offer so that it can be listed and read, on every system."""

from __future__ import annotations

import os
from typing import Protocol


class Level(Protocol):
    """One directory of a walk, held open."""

    @property
    def device(self) -> int:
        """The number of the file system that it is on."""

    def names(self, *, follow: bool) -> list[str]:
        """List what is in it, directories with a slash at their end; with `follow`, links to directories too.

        Raises:
            OSError: it cannot be read.
        """

    def status(self, name: str) -> os.stat_result:
        """Stat a name, without following a link."""

    def enter(self, name: str) -> Level:
        """Open a directory in it, no link; the caller closes it.

        Raises:
            OSError: it cannot be opened; EXDEV when another file system is mounted on it that may not be entered.
        """

    def close(self) -> None:
        """Close it."""


class Root(Protocol):
    """A directory and what is below it, reached without following a link."""

    path: str

    def level(self, key: str) -> Level:
        """Open the directory of a key, "" for the top; the caller closes it."""

    def read(self, key: str) -> int:
        """Open a regular file for reading; the caller closes the descriptor."""

    def status(self, key: str) -> os.stat_result:
        """Stat a key, without following a link."""

    def close(self) -> None:
        """Close the directory."""
