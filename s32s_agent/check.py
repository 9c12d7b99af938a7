"""Try everything that a pass needs, and change nothing: `--check`."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from s32s_agent import sandbox
from s32s_agent.agent import map_rules
from s32s_agent.config import Settings
from s32s_agent.errors import AgentError, DirectoryError
from s32s_agent.mapfiles import MapCache, fetch_maps
from s32s_agent.maps import read_maps
from s32s_agent.model import Mapping, Role
from s32s_agent.places import check_place, homes_of_people, refuse_hidden_overlaps
from s32s_agent.stores.connection import Connection

_NOT_VERSIONED = (
    "the bucket keeps no versions, so what a pass replaces or deletes there is gone"
)


class Finding(NamedTuple):
    """One thing that was tried."""

    subject: str
    detail: str = ""
    error: AgentError | None = None
    warning: bool = False


def findings(settings: Settings) -> Iterator[Finding]:
    """Try the credentials, the maps, and both sides of every mapping; yield what was found.

    Raises:
        AgentError: what stops every mapping.
    """
    if settings.role is Role.SLAVE and sys.platform != "win32":
        from s32s_agent.stores.tree import owner_named  # noqa: PLC0415 (POSIX only)

        owner_named(settings.sync.owner)
    connection = Connection(settings.s3, settings.sync.workers)
    files = fetch_maps(connection, settings.maps, MapCache(None))
    maps = read_maps(files, map_rules(settings))
    yield Finding("maps", f"{len(files)} files, {len(maps.mappings)} mappings")
    for failure in maps.failures:
        yield Finding(f'mapping "{failure.mapping}"', error=failure.error)
    places = []
    for mapping in maps.mappings:
        subject = f'mapping "{mapping.name}"'
        try:
            places.append((mapping, _try_place(mapping, settings)))
            listed = _try_listing(connection, mapping)
        except AgentError as error:
            sandbox.advise(error, mapping.directory)
            yield Finding(subject, error=error)
        else:
            yield Finding(subject, f"{mapping.location} {listed}; {mapping.directory}")
            if settings.role is Role.MASTER and not connection.is_versioned(
                mapping.location.bucket
            ):
                yield Finding(subject, _NOT_VERSIONED, warning=True)
    for name, overlap in refuse_hidden_overlaps(places).items():
        yield Finding(f'mapping "{name}"', error=overlap)


def _try_place(mapping: Mapping, settings: Settings) -> str:
    place = check_place(mapping, settings.roots, settings.state_dir, homes_of_people())
    needed, tried = os.R_OK | os.X_OK, Path(place)
    try:
        if settings.role is Role.SLAVE:
            needed |= os.W_OK
            tried = _made_from(tried)
        _try_directory(tried, needed)
    except OSError as error:
        refused = f'"{tried}" does not grant this user what is needed: {error.strerror}'
        raise DirectoryError(refused) from error
    return place


def _made_from(path: Path) -> Path:
    """Give the directory that is to be written: the one above, where only the last part is missing."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.parent
    return path


def _try_directory(directory: Path, needed: int) -> None:
    """Raise the `OSError` that a pass would meet."""
    if not stat.S_ISDIR(directory.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(directory, needed):
        is_read_only = sys.platform != "win32" and os.statvfs(directory).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def _try_listing(connection: Connection, mapping: Mapping) -> str:
    prefix = f"{mapping.location.prefix}/" if mapping.location.prefix else ""
    page, _ = connection.page(mapping.location.bucket, Prefix=prefix, MaxKeys=2)
    return "can be listed" if page.contents else "can be listed, and is empty"
