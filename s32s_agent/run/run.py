"""One pass over all mappings. What fails in one mapping never stops the next."""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.directories import (
    check_directory,
    find_overlaps,
    home_directories,
    protected_paths,
)
from s32s_agent.config.hook_commands import Command
from s32s_agent.config.map_file import MapRules, Maps, read_maps
from s32s_agent.config.settings import Settings
from s32s_agent.errors import (
    AgentError,
    Cancelled,
    DirectoryError,
    HookError,
    MapError,
    SoftwareError,
    UsageError,
)
from s32s_agent.model import Mapping, Plan
from s32s_agent.monitoring import last_run
from s32s_agent.output.progress import Progress
from s32s_agent.run.context import RunContext, RunOptions
from s32s_agent.run.hooks import Hooks
from s32s_agent.run.map_files import MapCache, fetch_maps
from s32s_agent.run.mapping_run import MappingRun
from s32s_agent.run.metering import Throttle
from s32s_agent.run.report import MappingReport, RunReport
from s32s_agent.run.sides import BATCHES, UPLOADS
from s32s_agent.signals import unmasked
from s32s_agent.state.index import Index
from s32s_agent.state.pending import PENDING, Change, Pending
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.timeouts import DEFAULT_TIMEOUTS, Timeouts

INDEX = "index.db"
MAPS = "maps"
LOCK = "run.lock"
OWN_DIRECTORIES = (BATCHES, MAPS, PENDING, UPLOADS)
OWN_NAMES = (INDEX, LOCK, last_run.LAST_RUN, last_run.LAST_SKIPPED, *OWN_DIRECTORIES)
"""How the names of what a pass makes in the state directory begin."""


def new_run_id(now: datetime) -> str:
    """Name a pass; names sort by time, and the trash is pruned by them."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Pass:
    """One pass: what it works with, and what it has found out so far.

    `run` does it all. Nothing of it is kept for the next pass but what is on the disk.
    """

    settings: Settings
    options: RunOptions
    run_id: str
    log: FilteringBoundLogger
    progress: Progress
    cancel_token: CancelToken = field(default_factory=CancelToken)
    report: RunReport = field(default_factory=RunReport)
    show_plan: Callable[[Mapping, Plan], None] = lambda _mapping, _plan: None
    """Called with every plan of a dry run."""
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    hooks: Hooks = field(init=False)
    pending: Pending = field(init=False)

    def __post_init__(self) -> None:
        known = {"S32S_RUN_ID": self.run_id, "S32S_ROLE": self.settings.role.value}
        self.hooks = Hooks(
            self.log,
            self.settings.hooks.timeout,
            known,
            self.cancel_token,
            self.progress.waited,
        )
        self.pending = Pending(Path(self.settings.state_dir, PENDING))

    def run(self, now: datetime) -> RunReport:
        """Do the pass; `report` is right at any time, also when an exception ends it.

        Raises:
            AgentError: nothing could be done at all.
            Cancelled: not everything could be done.
        """
        if self.options.dry_run:
            return self._mirror(now)
        if error := self._run_hook("before", self.settings.hooks.before, {}):
            raise error
        try:
            return self._mirror(now)
        except (AgentError, Cancelled) as error:
            # The hooks below want to know it.
            self.report.error = error
            raise
        finally:
            # A pass that has to end soon leaves them to the next one.
            if not self.cancel_token.cancelled:
                self._tell_changes()

    def _mirror(self, now: datetime) -> RunReport:
        settings = self.settings
        answered = self.progress.waited
        connection = Connection(settings.s3, self.cancel_token, self.timeouts, answered)
        with contextlib.closing(self._open_index()) as index:
            maps = self._load_maps(connection)
            places = dict(self._places(maps.mappings))
            context = RunContext(
                settings,
                self.options,
                self.run_id,
                now,
                self.log,
                self.progress,
                self.cancel_token,
                connection,
                index,
                self.pending,
                Throttle(settings.sync.max_bandwidth, self.cancel_token),
                self.show_plan,
            )
            for mapping in self._chosen(maps):
                if mapping.name in places:
                    self._run_mapping(MappingRun(context, mapping, places[mapping.name]))
        return self.report

    def _open_index(self) -> Index:
        path = Path(self.settings.state_dir, INDEX)
        index = Index(path, read_only=self.options.dry_run)
        if index.damaged:
            self.log.warning(
                "index.damaged", error=index.damaged, remedy="files are hashed anew"
            )
        return index

    # --- the maps ---

    def _load_maps(self, connection: Connection) -> Maps:
        self.progress.start("maps", 0, 0)
        keep = None if self.options.dry_run else Path(self.settings.state_dir, MAPS)
        files = fetch_maps(connection, self.settings.maps, MapCache(keep))
        maps = read_maps(files, map_rules(self.settings))
        self.log.info("maps.loaded", files=len(files), mappings=len(maps.mappings))
        for failure in maps.failures:
            if self._is_chosen(failure.mapping):
                self._fail(MappingReport(failure.mapping), failure.error)
        return maps

    def _is_chosen(self, name: str) -> bool:
        return not self.options.names or name in self.options.names

    def _chosen(self, maps: Maps) -> list[Mapping]:
        known = {mapping.name for mapping in maps.mappings}
        known |= {failure.mapping for failure in maps.failures}
        if unknown := [name for name in self.options.names if name not in known]:
            names = ", ".join(f'"{name}"' for name in unknown)
            equal_by_hash = difflib.get_close_matches(unknown[0], known, n=1)
            remedy = (
                f'did you mean "{equal_by_hash[0]}"?'
                if equal_by_hash
                else "--check lists the mappings"
            )
            raise UsageError(f"--map: no mapping is called {names}", remedy=remedy)
        return [mapping for mapping in maps.mappings if self._is_chosen(mapping.name)]

    def _places(self, mappings: Collection[Mapping]) -> Iterator[tuple[str, str]]:
        """Resolve the mappings' directories; yield those that may be mirrored, by mapping."""
        homes = home_directories()
        own = protected_paths(self.settings, self.options.config, os.environ)
        places: list[tuple[Mapping, str]] = []
        failures: dict[str, MapError] = {}
        for mapping in mappings:
            try:
                place = check_directory(mapping, self.settings.roots, homes, own)
                places.append((mapping, place))
            except MapError as error:
                failures[mapping.name] = error
        failures |= find_overlaps(places)
        for mapping in mappings:
            if mapping.name in failures and self._is_chosen(mapping.name):
                self._fail(MappingReport.of(mapping), failures[mapping.name])
        yield from ((each.name, place) for each, place in places if each.name not in failures)

    def _fail(self, report: MappingReport, error: AgentError) -> None:
        self.report.mappings.append(report)
        self._end_mapping(report, error)

    def _end_mapping(self, report: MappingReport, error: AgentError) -> None:
        report.fail(error)
        self.log.error("mapping.failed", mapping=report.name, **error.fields())

    # --- one mapping ---

    def _run_mapping(self, mapping_run: MappingRun) -> None:
        report = MappingReport.of(mapping_run.mapping)
        self.report.mappings.append(report)
        started = time.monotonic()
        try:
            with unmasked():
                mapping_run.execute(report)
        except Cancelled as error:
            self.cancel_token.cancel(error)
            raise
        except AgentError as error:
            self._end_mapping(report, error)
        except BrokenPipeError:
            raise  # nobody reads the plan any more
        except Exception as error:
            self.log.critical("run.crashed", mapping=report.name, exc_info=True)
            self._end_mapping(report, SoftwareError(f"{type(error).__name__}: {error}"))
        finally:
            self.progress.finish()
            report.seconds = time.monotonic() - started
        if report.error is None:
            self.log.info(
                "mapping.finished",
                mapping=report.name,
                **report.counts(),
                withheld=report.withheld,
                seconds=round(report.seconds, 3),
            )

    # --- hooks ---

    def _run_hook(
        self,
        hook: str,
        commands: Sequence[Command],
        variables: dict[str, str],
        mapping: str = "",
    ) -> HookError | None:
        """Run a hook as a piece of work that is told of, so that systemd gives it the time that it takes."""
        # Who has asked for the end is not asked for more time.
        if commands and not self.cancel_token.cancelled:
            self.progress.start(f"hook {hook}", 0, 0)
        try:
            with unmasked():
                return self.hooks.run(hook, commands, variables, mapping)
        finally:
            self.progress.finish()

    def end(self, hook: str, commands: Sequence[Command], exit_code: int) -> None:
        """Run a hook of the whole pass when the rest is done; what goes wrong is in the report, for `after` only."""
        cause = self.report.cause or ("software" if exit_code else "")
        variables = {**self._counts(exit_code), "S32S_CAUSE": cause}
        try:
            error = self._run_hook(hook, commands, variables)
        except Cancelled as stopped:
            if self.report.error is not None:
                self.report.other_errors.append(self.report.error)
            self.report.error = stopped
            # No traceback: somebody has asked for it.
            self.log.error("run.failed", **stopped.fields())  # noqa: TRY400
        else:
            if error and hook == "after":
                self.report.other_errors.append(error)

    def _counts(self, exit_code: int) -> dict[str, str]:
        totals = self.report.totals()
        counts = {f"S32S_{name.upper()}": str(count) for name, count in totals.items()}
        return {**counts, "S32S_EXIT_CODE": str(exit_code)}

    def _tell_changes(self) -> None:
        """Run the `on_change` hooks for all that they have not heard of; it stays pending where one fails."""
        on_change = self.settings.hooks.on_change
        try:
            waiting = [
                each for each in self.pending.changes() if self._is_chosen(each.mapping)
            ]
            if on_change.of_all:
                self._tell(waiting, on_change.of_all)
            for change in waiting if not on_change.of_all else ():
                self._tell([change], on_change.of(change.mapping), change.mapping)
        except DirectoryError as error:
            self.report.other_errors.append(error)
            # No traceback: this is the world's doing, not a bug.
            self.log.error("hook.failed", hook="on_change", **error.fields())  # noqa: TRY400

    def _tell(
        self, changes: Sequence[Change], commands: Sequence[Command], mapping: str = ""
    ) -> None:
        paths = tuple(dict.fromkeys(path for change in changes for path in change.paths))
        if paths and commands:
            variables = self._counts(self.report.exit_code)
            variables["S32S_CHANGED_COUNT"] = str(len(paths))
            with self.pending.shown(paths) as file:
                variables["S32S_CHANGED_FILE"] = str(file)
                error = self._run_hook("on_change", commands, variables, mapping)
            if error:
                self.report.other_errors.append(error)
                return
        for change in changes:
            self.pending.keep(change.mapping, ())


def map_rules(settings: Settings) -> MapRules:
    """Collect what this computer allows a mapping to say."""
    return MapRules(
        settings.role,
        settings.roots,
        settings.state_dir,
        home_directories(),
        settings.maps.location,
        settings.monitoring.report,
    )


def require_trusted_state(state_dir: str) -> None:
    """Refuse a state directory that another user may write; one that is not there yet is nobody's.

    Raises:
        DirectoryError: it, something in it, or a directory above it can be written by others.
    """
    if sys.platform != "win32":
        from s32s_agent.config import ownership  # noqa: PLC0415 (POSIX only)

        ownership.require_trusted_state(state_dir, OWN_NAMES)
