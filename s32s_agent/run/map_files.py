"""Fetch the map files from S3, and keep copies so that unchanged ones are not sent again.

A copy is only ever used after the store has said, in this run, that it is the current version.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from s32s_agent.config.documents import MAX_JSON_SIZE
from s32s_agent.config.map_file import MapFile
from s32s_agent.config.option_forms import MAP_SUFFIXES, MapsLocation
from s32s_agent.errors import MapError, SourceChanged
from s32s_agent.model import Entry, Kind, Location
from s32s_agent.state.files import make_directory, read_file, replace_file
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source

MAX_FILES = 1000
MAX_BYTES = 16 * 1024 * 1024
"""Of all map files together: as much YAML as can be read in some minutes."""


class MapCache:
    """Copies of map files, in a directory.

    Args:
        directory: made when it is missing; None keeps nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def load(self, address: str) -> tuple[str, bytes] | None:
        """Return the ETag and the bytes of the copy of a map file, None when there is no intact one."""
        try:
            if self._directory is None:
                return None
            head, _, data = read_file(self._path(address)).partition(b"\n")
            about = json.loads(head)
            sound = (
                about["sha256"] == hashlib.sha256(data).hexdigest()
                and about["place"] == address
            )
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return (str(about["etag"]), data) if sound else None

    def save(self, address: str, etag: str, data: bytes) -> None:
        """Keep a copy.

        Raises:
            DirectoryError: it cannot be written.
        """
        if self._directory is None or not etag:
            return
        make_directory(self._directory)
        about = {"place": address, "etag": etag, "sha256": hashlib.sha256(data).hexdigest()}
        replace_file(self._path(address), json.dumps(about).encode() + b"\n" + data)

    def _path(self, address: str) -> Path:
        assert self._directory is not None  # noqa: S101 (for the type checker)
        return self._directory / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.map"


def fetch_maps(
    connection: Connection, maps: MapsLocation, cache: MapCache
) -> tuple[MapFile, ...]:
    """Fetch every map file, in the order of their names.

    Raises:
        MapError: there are none, or far too many.
        StoreUnavailable: S3 did not answer; copies are never used instead.
    """
    names = _map_keys(connection, maps)
    if not names:
        problem = f"there are no map files ({', '.join('*' + each for each in MAP_SUFFIXES)})"
        remedy = "put one there, or fix `maps` in the config"
        raise MapError(str(maps.location), [problem], remedy=remedy)
    if len(names) > MAX_FILES:
        raise _too_much(maps, f"{MAX_FILES} map files", f"{len(names)}")
    files, size = [], 0
    for key in names:
        files.append(MapFile(key, _fetch(connection, maps.location.bucket, key, cache)))
        size += len(files[-1].data)
        if size > MAX_BYTES:
            raise _too_much(maps, f"{MAX_BYTES} bytes of map files", "more")
    return tuple(files)


def _too_much(maps: MapsLocation, most: str, found: str) -> MapError:
    remedy = "remove what is not a map, or fix `maps` in the config"
    return MapError(
        str(maps.location), [f"expected at most {most}, got {found}"], remedy=remedy
    )


def _map_keys(connection: Connection, maps: MapsLocation) -> list[str]:
    if maps.single:
        return [maps.location.prefix]
    prefix = maps.location.prefix
    store = S3Source(connection, Location(maps.location.bucket, prefix))
    found = {each.key for each in store.scan() if isinstance(each, Entry) and _is_map(each)}
    return [f"{prefix}/{key}" if prefix else key for key in sorted(found)]


def _is_map(entry: Entry) -> bool:
    """Return whether an entry is a map file: directly in the directory, since what is deeper may be an archive."""
    return (
        entry.kind is Kind.FILE
        and "/" not in entry.key
        and entry.key.lower().endswith(MAP_SUFFIXES)
    )


def _fetch(connection: Connection, bucket: str, key: str, cache: MapCache) -> bytes:
    address = f"{connection.endpoint} {bucket}/{key}"
    etag, data = cache.load(address) or ("", b"")
    try:
        answer = connection.fetch(bucket, key, MAX_JSON_SIZE, etag)
    except SourceChanged as error:
        remedy = "put it there, or fix `maps` in the config"
        raise MapError(f'"{bucket}/{key}"', ["does not exist"], remedy=remedy) from error
    if answer is None:
        return data
    data, etag = answer
    cache.save(address, etag, data)
    return data
