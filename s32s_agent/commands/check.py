"""Try everything that a run needs, and change nothing that is there: `--check`."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from s32s_agent.commands.findings import Finding, print_each, print_json
from s32s_agent.commands.store_check import first_filled, try_store
from s32s_agent.config.hook_commands import OnChange
from s32s_agent.config.settings import HookSettings, Settings
from s32s_agent.errors import AccessDenied, AgentError, ConfigError, DirectoryError
from s32s_agent.model import Location, Mapping, Role
from s32s_agent.run import sandbox
from s32s_agent.run.ignored import Listed, count_covered
from s32s_agent.run.map_files import MapCache
from s32s_agent.run.mapping_run import did_you_mean
from s32s_agent.run.mappings import LoadedMappings, load_mappings
from s32s_agent.run.snapshots import try_snapshot
from s32s_agent.run.state_directory import require_trusted_state
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import Page, decoded_keys
from s32s_agent.stores.s3.ranges import Range
from s32s_agent.stores.s3.similar_prefix import similar_prefix

_NOT_VERSIONED = (
    "the bucket keeps no versions, so what a run replaces or deletes there is lost"
)
_OVERTAKE = (
    "so two publishers of one channel can overtake each other, and slaves then refuse a sequence number that falls: let"
    " one server publish"
)
_REFUSED_EMPTY = "a run refuses an empty source (sync.allow_empty_source: true accepts it)"
_PROTECTS_NOTHING = (
    "so it protects nothing now; a pattern is compared with the whole path below the directory"
)


def check(settings: Settings, config: str, *, as_json: bool = False) -> int:
    """Try everything, print what was found, and return the exit status.

    Args:
        settings: the config's.
        config: its file.
        as_json: print one document at the end, and not each finding when it is there.

    Raises:
        AgentError: what stops every mapping.
    """
    found = findings(settings, config)
    return print_json(found) if as_json else print_each(found)


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
    yield from _try_hooks(settings.hooks)
    yield from _try_metrics_file(settings.monitoring.metrics_file)
    require_trusted_state(settings.state_dir)
    connection = Connection(settings.s3)
    loaded = load_mappings(settings, config, connection, MapCache(None))
    found = (_several(loaded.files, "file"), _several(len(loaded.mappings), "mapping"))
    yield Finding("s3", connection.route(settings.maps.location.bucket))
    yield Finding("maps", ", ".join(found))
    for failure in loaded.failures:
        yield Finding(_subject(failure.mapping), error=failure.error)
    yield from _unknown_in_hooks(settings.hooks.on_change, loaded)
    tried: set[str] = set()
    for mapping in loaded.mappings:
        yield from _try_mapping(mapping, loaded, settings, connection, tried)
    for name, overlap in loaded.overlapping.items():
        yield Finding(_subject(name), error=overlap)
    yield from _try_report(connection, settings.monitoring.report)


def _subject(mapping: str) -> str:
    return f'mapping "{mapping}"'


def _try_mapping(
    mapping: Mapping,
    loaded: LoadedMappings,
    settings: Settings,
    connection: Connection,
    tried: set[str],
) -> Iterator[Finding]:
    """Try both sides of a mapping, and the store of its bucket unless it is one of those that were tried."""
    subject, role = _subject(mapping.name), settings.role
    if refused := loaded.refused.get(mapping.name):
        yield Finding(subject, error=refused)
        return
    try:
        _try_local_side(Path(loaded.directories[mapping.name]), role)
        if role is Role.SLAVE and mapping.snapshots:
            yield Finding(
                subject, f"{try_snapshot(settings, connection, mapping)}; {mapping.directory}"
            )
            return
        page = _first_page(connection, mapping.location)
        listed = _try_listing(connection, mapping, role, page)
        warning = _warn_of_empty_source(mapping, loaded, settings, connection, page)
    except AgentError as error:
        sandbox.advise(error, mapping.directory)
        yield Finding(subject, error=error)
        return
    yield Finding(subject, f"{mapping.location} {listed}; {mapping.directory}")
    if warning:
        yield Finding(subject, warning, warning=True)
    if mapping.ignore:
        yield from _try_patterns(mapping, loaded, settings, connection)
    if role is Role.MASTER and mapping.snapshots:
        yield _try_conditions(subject, connection, mapping.snapshots)
    for difference in _differences(connection, mapping):
        yield Finding(subject, difference, note=True)
    if role is Role.MASTER and not connection.is_versioned(mapping.location.bucket):
        yield Finding(subject, _NOT_VERSIONED, warning=True)
    if mapping.location.bucket not in tried:
        tried.add(mapping.location.bucket)
        yield from try_store(connection, mapping.location, role, page)


def _try_conditions(subject: str, connection: Connection, location: Location) -> Finding:
    """Write below the place of the snapshots, as a publisher does, and see whether conditions are honoured."""
    # Imported here, so that in a slave's process nothing exists that could write or delete in S3.
    from s32s_agent.snapshots.conditions import ignored_conditions  # noqa: PLC0415
    from s32s_agent.snapshots.place import Place  # noqa: PLC0415
    from s32s_agent.stores.s3.write_requests import WriteRequests  # noqa: PLC0415

    try:
        ignored = ignored_conditions(Place(connection, location), WriteRequests(connection))
    except AgentError as error:
        return Finding(subject, error=error)
    if ignored:
        detail = (
            f"the store ignores {' and '.join(ignored)} of a write to {location}, {_OVERTAKE}"
        )
        return Finding(subject, detail, warning=True)
    return Finding(subject, f"{location} can be written, on conditions")


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _try_metrics_file(path: str | None) -> Iterator[Finding]:
    """Check that the metrics file could be replaced; warn only, as a run does."""
    if path is None:
        return
    directory, problem = Path(path).parent, ""
    try:
        _try_directory(directory, os.W_OK | os.X_OK)
        if Path(path).is_dir():
            problem = f'"{path}" is a directory, expected a file or nothing'
    except OSError as error:
        problem = (
            f'"{directory}" is not a directory that this user can write: {error.strerror}'
        )
    if problem:
        yield Finding("monitoring.metrics_file", problem, warning=True)
    else:
        yield Finding("monitoring.metrics_file", f'"{directory}" can be written')


def _try_report(connection: Connection, report: Location | None) -> Iterator[Finding]:
    """Check that the bucket of the reports exists; whether it accepts one, only a run can show."""
    if report is None:
        return
    detail = f"{report} can be reached; the first run shows whether it accepts a report"
    try:
        connection.page(report.bucket, Prefix=f"{report.prefix}/", MaxKeys=1)
    except AccessDenied:
        # A policy that lets an agent put its report and nothing else is a good one.
        detail = f"{report} may not be listed, which a report does not need"
    except AgentError as error:
        yield Finding("monitoring.report", str(error), warning=True)
        return
    yield Finding("monitoring.report", detail)


def _try_hooks(hooks: HookSettings) -> Iterator[Finding]:
    """Check that the programs of the hooks exist; nothing is run."""
    named = {
        "before": hooks.before,
        "on_change": hooks.on_change.of_all,
        **{f"on_change.{name}": each for name, each in hooks.on_change.by_mapping.items()},
        "after": hooks.after,
        "on_failure": hooks.on_failure,
    }
    remedy = "install it, make it executable, or correct its path; no shell searches for it"
    for name, commands in named.items():
        for program in dict.fromkeys(command[0] for command in commands):
            if shutil.which(program) is None:
                problem = f'"{program}" is not a program that this user can run'
                yield Finding(
                    "config", error=ConfigError(f"hooks.{name}", [problem], remedy=remedy)
                )


def _unknown_in_hooks(on_change: OnChange, loaded: LoadedMappings) -> Iterator[Finding]:
    known = {mapping.name for mapping in loaded.mappings}
    known |= {failure.mapping for failure in loaded.failures}
    for name in on_change.by_mapping:
        if name not in known:
            detail = f'hooks.on_change.{name}: no mapping is called "{name}"'
            yield Finding("config", detail, warning=True)


def _try_local_side(directory: Path, role: Role) -> None:
    """Check that this user can read the directory and, on a slave, write it.

    Raises:
        DirectoryError: it cannot.
    """
    needed, tried = os.R_OK | os.X_OK, directory
    try:
        if role is Role.SLAVE:
            needed |= os.W_OK
            tried = _created_in(directory)
        _try_directory(tried, needed)
    except OSError as error:
        fact = "does not grant the agent's user the access that it needs"
        refused = f'"{tried}" {fact}: {error.strerror}'
        raise DirectoryError(refused) from error


def _created_in(path: Path) -> Path:
    """Return the directory that is to be written: the one above, where only the last part is missing."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.parent
    return path


def _try_directory(directory: Path, needed: int) -> None:
    """Raise the `OSError` that a run would meet."""
    if not stat.S_ISDIR(directory.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(directory, needed):
        is_read_only = sys.platform != "win32" and os.statvfs(directory).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def _first_page(connection: Connection, location: Location) -> Page:
    prefix = f"{location.prefix}/" if location.prefix else ""
    return connection.page(location.bucket, Prefix=prefix, MaxKeys=2).page


def _try_listing(connection: Connection, mapping: Mapping, role: Role, page: Page) -> str:
    """Return what the beginning of a listing shows; a slave also reads the first byte of an object there."""
    if not page.contents:
        return "can be listed, and is empty"
    filled = first_filled(mapping.location.bucket, page)
    if role is Role.MASTER or filled is None:
        return "can be listed"
    name, _ = filled
    with contextlib.closing(connection.get_range(name, None, Range(0, 1))) as body:
        for _ in body.chunks():
            pass
    return "can be listed and read"


def _warn_of_empty_source(
    mapping: Mapping,
    loaded: LoadedMappings,
    settings: Settings,
    connection: Connection,
    page: Page,
) -> str:
    """Return that a run would refuse the source, with what may have been meant; "" when it would not."""
    location = mapping.location
    if settings.sync.allow_empty_source:
        return ""
    if settings.role is Role.MASTER:
        with os.scandir(loaded.directories[mapping.name]) as found:
            has_nothing = next(found, None) is None
        return f'"{mapping.directory}" is empty, and {_REFUSED_EMPTY}' if has_nothing else ""
    if any(key != f"{location.prefix}/" for key in decoded_keys(page)):
        return ""
    meant = similar_prefix(connection, location.bucket, location.prefix)
    hint = did_you_mean(Location(location.bucket, meant)) if meant else ""
    return "; ".join(filter(None, (f"{location} is empty, and {_REFUSED_EMPTY}", hint)))


def _try_patterns(
    mapping: Mapping, loaded: LoadedMappings, settings: Settings, connection: Connection
) -> Iterator[Finding]:
    """Say how many entries of each side every pattern of `ignore` covers."""
    subject, directory = _subject(mapping.name), loaded.directories[mapping.name]
    try:
        in_s3, here = count_covered(mapping, directory, settings, connection)
    except AgentError as error:
        sandbox.advise(error, mapping.directory)
        yield Finding(subject, error=error)
        return
    for pattern, *counts in zip(mapping.ignore, in_s3.covered, here.covered, strict=True):
        detail = (
            f'ignore "{pattern}" covers {_of(counts[0], in_s3)} in S3 and {_of(counts[1], here)}'
            " in the directory"
        )
        if any(counts) or not (in_s3.is_whole and here.is_whole):
            yield Finding(subject, detail)
        else:
            yield Finding(subject, f"{detail}; {_PROTECTS_NOTHING}", warning=True)


def _of(covered: int, listed: Listed) -> str:
    first = "" if listed.is_whole else "the first "
    return f"{covered} of {first}{listed.entries} entries"


def _differences(connection: Connection, mapping: Mapping) -> Iterator[str]:
    """Yield what this mapping meant to S32Server and does not mean here; at most one sentence of each kind."""
    for pattern in mapping.ignore:
        if "*" in pattern[1:-1]:
            yield f'ignore "{pattern}": the * inside stands for any characters; S32Server took it literally'
            break
    if beside := _beside(connection, mapping.location):
        yield f'"{beside}" is beside the prefix, so not mirrored; S32Server did'


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
