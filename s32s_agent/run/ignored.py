"""Count what the patterns of `ignore` cover on both sides of a mapping; a pattern that covers nothing protects nothing.

For `--check`. Lists both sides, up to a limit, and changes nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from s32s_agent.config.option_forms import Symlinks
from s32s_agent.config.settings import Settings
from s32s_agent.errors import DirectoryError
from s32s_agent.model import Entry, Mapping, Role
from s32s_agent.plan import keys
from s32s_agent.stores.base import Scan
from s32s_agent.stores.local.path_root import open_root
from s32s_agent.stores.local.root import Root
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source

MAX_ENTRIES = 50_000
"""Of one side of a mapping: fifty requests, some seconds."""
_MAX_COMPARISONS = 10_000_000
"""Patterns times entries, since map files may hold any number of patterns."""


class Listed(NamedTuple):
    """One side of a mapping, listed once."""

    covered: tuple[int, ...]
    """For each pattern, how many entries it covers."""
    entries: int
    is_whole: bool
    """Whether these are all entries."""


class Coverage(NamedTuple):
    """What each pattern of a mapping's `ignore` covers."""

    in_s3: Listed
    here: Listed


def count_covered(
    mapping: Mapping, directory: str, settings: Settings, connection: Connection
) -> Coverage:
    """List both sides and count the entries that each pattern covers.

    Args:
        mapping: has at least one pattern.
        directory: the local one, its links resolved.
        settings: say the role, and what a master does with links.
        connection: to S3.

    Raises:
        AgentError: a side cannot be listed.
    """
    in_s3 = _count(mapping.ignore, S3Source(connection, mapping.location).scan())
    with _opened(directory, settings.role) as root:
        if root is None:
            return Coverage(in_s3, Listed((0,) * len(mapping.ignore), 0, is_whole=True))
        follow = settings.role is Role.MASTER and settings.sync.symlinks is Symlinks.FOLLOW
        source = LocalSource(root, tuple, follow_links=follow)
        return Coverage(in_s3, _count(mapping.ignore, source.scan()))


@contextlib.contextmanager
def _opened(directory: str, role: Role) -> Iterator[Root | None]:
    """Open the local directory as a run would; None where a slave's run would create it."""
    try:
        root = _open(directory, role)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise DirectoryError(f'"{directory}": {error.strerror}') from error
    with contextlib.closing(root):
        yield root


def _open(directory: str, role: Role) -> Root:
    if role is Role.SLAVE and sys.platform != "win32":
        from s32s_agent.stores.local.tree import Tree  # noqa: PLC0415 (POSIX only)

        return Tree(directory)  # what is mounted below it is never entered
    return open_root(directory)


def _count(patterns: Sequence[str], scan: Scan) -> Listed:
    limit = min(MAX_ENTRIES, _MAX_COMPARISONS // len(patterns))
    matchers: list[Callable[[str], bool]] = [keys.matcher([each]) for each in patterns]
    covered, count = [0] * len(patterns), 0
    with contextlib.closing(scan):
        entries = (each for each in scan if isinstance(each, Entry))
        for entry in itertools.islice(entries, limit):
            count += 1
            for number, matches in enumerate(matchers):
                covered[number] += matches(entry.key)
        is_whole = next(entries, None) is None
    return Listed(tuple(covered), count, is_whole)
