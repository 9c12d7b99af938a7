"""Try everything that a pass needs, and change nothing: `--check`."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from s32s_agent.config.directories import (
    ProtectedPaths,
    check_directory,
    find_overlaps,
    home_directories,
    protected_paths,
)
from s32s_agent.config.hook_commands import OnChange
from s32s_agent.config.map_file import Maps, read_maps
from s32s_agent.config.settings import HookSettings, Settings
from s32s_agent.errors import AccessDenied, AgentError, ConfigError, DirectoryError
from s32s_agent.model import Location, Mapping, Role
from s32s_agent.run import sandbox
from s32s_agent.run.map_files import MapCache, fetch_maps
from s32s_agent.run.run import map_rules, require_trusted_state
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import decoded_keys

_NOT_VERSIONED = (
    "the bucket keeps no versions, so what a pass replaces or deletes there is gone"
)


class Finding(NamedTuple):
    """One thing that was tried."""

    subject: str
    detail: str = ""
    error: AgentError | None = None
    warning: bool = False
    note: bool = False
    """Nothing is wrong with it, but S32Server took it in another way."""


def findings(settings: Settings, config: str) -> Iterator[Finding]:
    """Try the credentials, the maps, and both sides of every mapping; yield what was found.

    Args:
        settings: the config's.
        config: its file.

    Raises:
        AgentError: what stops every mapping.
    """
    if settings.role is Role.SLAVE and sys.platform != "win32":
        from s32s_agent.stores.local.owners import find_owner  # noqa: PLC0415 (POSIX only)

        find_owner(settings.sync.owner)
    yield from _hooks(settings.hooks)
    yield from _try_metrics_file(settings.monitoring.metrics_file)
    require_trusted_state(settings.state_dir)
    connection = Connection(settings.s3)
    files = fetch_maps(connection, settings.maps, MapCache(None))
    maps = read_maps(files, map_rules(settings))
    found = (_several(len(files), "file"), _several(len(maps.mappings), "mapping"))
    yield Finding("maps", ", ".join(found))
    for failure in maps.failures:
        yield Finding(f'mapping "{failure.mapping}"', error=failure.error)
    yield from _unknown(settings.hooks.on_change, maps)
    places, own = [], protected_paths(settings, config, os.environ)
    for mapping in maps.mappings:
        subject = f'mapping "{mapping.name}"'
        try:
            places.append((mapping, _try_place(mapping, settings, own)))
            listed = _try_listing(connection, mapping)
        except AgentError as error:
            sandbox.advise(error, mapping.directory)
            yield Finding(subject, error=error)
        else:
            yield Finding(subject, f"{mapping.location} {listed}; {mapping.directory}")
            for difference in _differences(connection, mapping):
                yield Finding(subject, difference, note=True)
            if settings.role is Role.MASTER and not connection.is_versioned(
                mapping.location.bucket
            ):
                yield Finding(subject, _NOT_VERSIONED, warning=True)
    for name, overlap in find_overlaps(places).items():
        yield Finding(f'mapping "{name}"', error=overlap)
    yield from _try_report(connection, settings.monitoring.report)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _try_metrics_file(path: str | None) -> Iterator[Finding]:
    """Look whether the metrics file could be replaced; warn only, as a pass does."""
    if path is None:
        return
    directory, problem = Path(path).parent, ""
    try:
        _try_directory(directory, os.W_OK | os.X_OK)
        if Path(path).is_dir():
            problem = f'"{path}" is a directory, expected a file or nothing'
    except OSError as error:
        problem = f'"{directory}" is no directory that this user can write: {error.strerror}'
    if problem:
        yield Finding("monitoring.metrics_file", problem, warning=True)
    else:
        yield Finding("monitoring.metrics_file", f'"{directory}" can be written')


def _try_report(connection: Connection, report: Location | None) -> Iterator[Finding]:
    """Look whether the bucket of the reports is there; whether it takes one, only a pass can tell."""
    if report is None:
        return
    detail = f"{report} can be reached; whether it takes a report, the first pass shows"
    try:
        connection.page(report.bucket, Prefix=f"{report.prefix}/", MaxKeys=1)
    except AccessDenied:
        # A policy that lets an agent put its report and nothing else is a good one.
        detail = f"{report} may not be listed, which a report does not need"
    except AgentError as error:
        yield Finding("monitoring.report", str(error), warning=True)
        return
    yield Finding("monitoring.report", detail)


def _hooks(hooks: HookSettings) -> Iterator[Finding]:
    """Look for the programs of the hooks; nothing is run."""
    named = {
        "before": hooks.before,
        "on_change": hooks.on_change.of_all,
        **{f"on_change.{name}": each for name, each in hooks.on_change.by_mapping.items()},
        "after": hooks.after,
        "on_failure": hooks.on_failure,
    }
    remedy = "install it, make it executable, or correct its path; no shell looks for it"
    for name, commands in named.items():
        for program in dict.fromkeys(command[0] for command in commands):
            if shutil.which(program) is None:
                problem = f'"{program}" is no program that this user can run'
                yield Finding(
                    "config", error=ConfigError(f"hooks.{name}", [problem], remedy=remedy)
                )


def _unknown(on_change: OnChange, maps: Maps) -> Iterator[Finding]:
    known = {mapping.name for mapping in maps.mappings}
    known |= {failure.mapping for failure in maps.failures}
    for name in on_change.by_mapping:
        if name not in known:
            detail = f'hooks.on_change.{name}: no mapping is called "{name}"'
            yield Finding("config", detail, warning=True)


def _try_place(mapping: Mapping, settings: Settings, own: ProtectedPaths) -> str:
    place = check_directory(mapping, settings.roots, home_directories(), own)
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
    page, *_ = connection.page(mapping.location.bucket, Prefix=prefix, MaxKeys=2)
    return "can be listed" if page.contents else "can be listed, and is empty"


def _differences(connection: Connection, mapping: Mapping) -> Iterator[str]:
    """Say what this mapping meant to S32Server and does not mean here; at most one sentence of each kind."""
    for pattern in mapping.ignore:
        if "*" in pattern[1:-1]:
            yield f'ignore "{pattern}": the * inside stands for any characters; to S32Server it was a star'
            break
    if beside := _beside(connection, mapping.location):
        yield f'"{beside}" is beside the prefix and left alone; S32Server took it in'


def _beside(connection: Connection, location: Location) -> str:
    """Find a key that begins like the prefix and is not in it, before or behind what is; "" when there is none."""
    inside = f"{location.prefix}/"
    if not location.prefix:
        return ""
    for start in ({}, {"StartAfter": f"{inside}\U0010ffff"}):
        try:
            page, *_ = connection.page(
                location.bucket, Prefix=location.prefix, MaxKeys=1, **start
            )
        except AccessDenied:
            # A policy that allows the prefix and nothing beside it is a good one.
            return ""
        for key in decoded_keys(page):
            if not key.startswith(inside):
                return f"{location.bucket}/{key}"
    return ""
