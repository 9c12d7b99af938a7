"""One pass over all mappings. What fails in one mapping never stops the next."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from s32s_agent.config import Settings
from s32s_agent.errors import AgentError, MapError, SoftwareError, Stopped, UsageError
from s32s_agent.executor import Throttle
from s32s_agent.index import Index
from s32s_agent.mapfiles import MapCache, fetch_maps
from s32s_agent.maps import MapRules, Maps, read_maps
from s32s_agent.model import Mapping, Plan
from s32s_agent.parallel import Stop
from s32s_agent.places import check_place, homes_of_people, refuse_hidden_overlaps
from s32s_agent.progress import Progress
from s32s_agent.report import MappingReport, RunReport
from s32s_agent.stores.connection import Connection
from s32s_agent.work import Options, Tools, Work

INDEX = "index.db"
MAPS = "maps"


def new_run_id(now: datetime) -> str:
    """Name a pass; names sort by time, and the trash is pruned by them."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Pass:
    """One pass: what it works with, and what it has found out so far.

    `run` does it all. Nothing of it is kept for the next pass but what is on the disk.
    """

    settings: Settings
    options: Options
    run_id: str
    log: FilteringBoundLogger
    progress: Progress
    stop: Stop = field(default_factory=Stop)
    report: RunReport = field(default_factory=RunReport)
    show_plan: Callable[[Mapping, Plan], None] = lambda _mapping, _plan: None
    """Called with every plan of a dry run."""

    def run(self, now: datetime) -> RunReport:
        """Do the pass; `report` is right at any time, also when an exception ends it.

        Raises:
            AgentError: nothing could be done at all; for `Stopped`, not everything.
        """
        settings = self.settings
        connection = Connection(settings.s3, settings.sync.workers, self._between_requests)
        with contextlib.closing(self._open_index()) as index:
            maps = self._load_maps(connection)
            places = dict(self._places(maps.mappings))
            tools = Tools(
                settings,
                self.options,
                self.run_id,
                now,
                self.log,
                self.progress,
                self.stop,
                connection,
                index,
                Throttle(settings.sync.max_bandwidth, self.stop),
                self.show_plan,
            )
            for mapping in self._chosen(maps):
                if mapping.name in places:
                    self._run_mapping(Work(tools, mapping, places[mapping.name]))
        return self.report

    def _between_requests(self) -> None:
        self.stop.check()
        self.progress.answered()

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
            raise UsageError(f"--map: no mapping is called {names}")
        return [mapping for mapping in maps.mappings if self._is_chosen(mapping.name)]

    def _places(self, mappings: Collection[Mapping]) -> Iterator[tuple[str, str]]:
        """Resolve the mappings' directories; yield those that may be mirrored, by mapping."""
        homes = homes_of_people()
        places: list[tuple[Mapping, str]] = []
        failures: dict[str, MapError] = {}
        for mapping in mappings:
            try:
                roots, state = self.settings.roots, self.settings.state_dir
                places.append((mapping, check_place(mapping, roots, state, homes)))
            except MapError as error:
                failures[mapping.name] = error
        failures |= refuse_hidden_overlaps(places)
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

    def _run_mapping(self, work: Work) -> None:
        report = MappingReport.of(work.mapping)
        self.report.mappings.append(report)
        started = time.monotonic()
        try:
            work.run(report)
        except Stopped as error:
            self.stop.set(error)
            raise
        except AgentError as error:
            self._end_mapping(report, error)
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


def map_rules(settings: Settings) -> MapRules:
    """Collect what this computer allows a mapping to say."""
    return MapRules(
        settings.role,
        settings.roots,
        settings.state_dir,
        homes_of_people(),
        settings.maps.location,
    )
