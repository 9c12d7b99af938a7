"""Load the mappings: fetch the map files, check what they say, and judge the local directories that they name.

For a run and for `--check` alike. Changes nothing but the cached copies of the map files.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from s32s_agent.config.directories import (
    check_directory,
    find_overlaps,
    home_directories,
    protected_paths,
)
from s32s_agent.config.map_file import MapFailure, MapRules, read_maps
from s32s_agent.config.settings import Settings
from s32s_agent.errors import MapError, UsageError
from s32s_agent.model import Mapping
from s32s_agent.run.map_files import MapCache, fetch_maps
from s32s_agent.stores.s3.connection import Connection


@dataclass(frozen=True, slots=True)
class LoadedMappings:
    """The mappings of all map files, each with the verdict on it."""

    files: int
    """How many map files there are."""
    mappings: tuple[Mapping, ...]
    """Those that the map files describe correctly, in their order."""
    failures: tuple[MapFailure, ...]
    """What the map files describe wrongly."""
    directories: dict[str, str]
    """By mapping, its local directory with all links resolved; only of those whose directory may be mirrored."""
    refused: dict[str, MapError]
    """By mapping, why its directory may not be mirrored."""
    overlapping: dict[str, MapError]
    """By mapping, which other mapping's directory its own is, contains or is inside; both are refused."""

    def require_known(self, names: Iterable[str]) -> None:
        """Refuse names that no mapping has.

        Raises:
            UsageError: there is such a name.
        """
        known = {mapping.name for mapping in self.mappings}
        known |= {failure.mapping for failure in self.failures}
        if unknown := [name for name in names if name not in known]:
            listed = ", ".join(f'"{name}"' for name in unknown)
            similar = difflib.get_close_matches(unknown[0], known, n=1)
            remedy = (
                f'did you mean "{similar[0]}"?' if similar else "--check lists the mappings"
            )
            raise UsageError(f"--map: no mapping is called {listed}", remedy=remedy)

    def runnable(self) -> list[tuple[Mapping, str]]:
        """Return the mappings that can be run, each with its resolved directory."""
        return [
            (mapping, self.directories[mapping.name])
            for mapping in self.mappings
            if mapping.name in self.directories and mapping.name not in self.overlapping
        ]


def load_mappings(
    settings: Settings, config: str, connection: Connection, cache: MapCache
) -> LoadedMappings:
    """Fetch the map files and judge every mapping in them.

    Args:
        settings: say where the map files are, and what a mapping may name.
        config: the config file, which no mapping may contain.
        connection: to S3.
        cache: copies of map files.

    Raises:
        AgentError: the map files cannot be fetched, so that nothing is known about any mapping.
    """
    files = fetch_maps(connection, settings.maps, cache)
    homes = home_directories()
    rules = MapRules(
        settings.role,
        settings.roots,
        settings.state_dir,
        homes,
        settings.maps.location,
        settings.monitoring.report,
    )
    maps = read_maps(files, rules)
    protected = protected_paths(settings, config, os.environ)
    directories: dict[str, str] = {}
    refused: dict[str, MapError] = {}
    for mapping in maps.mappings:
        try:
            directories[mapping.name] = check_directory(
                mapping, settings.roots, homes, protected
            )
        except MapError as error:
            refused[mapping.name] = error
    allowed = [each for each in maps.mappings if each.name in directories]
    overlapping = find_overlaps([(each, directories[each.name]) for each in allowed])
    return LoadedMappings(
        len(files), maps.mappings, maps.failures, directories, refused, overlapping
    )
