"""What this computer remembers of the snapshots of a mapping: a cache, which proves nothing by itself.

Whatever is read from it is proven by digest, and fetched again where it is missing or damaged. Losing it costs
requests, and the memory of the highest sequence number.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from s32s_agent.errors import DirectoryError
from s32s_agent.plan.keys import TEMPORARY
from s32s_agent.snapshots.chunks import Chunk
from s32s_agent.snapshots.manifest import sha256_of
from s32s_agent.state.files import make_directory, read_file, replace_file


class Remembered(NamedTuple):
    """The last channel that was seen, and its snapshot, as they came."""

    raw_etag: str
    """Of the channel."""
    channel: bytes
    snapshot: bytes


@dataclass(slots=True)
class Memory:
    """The files of one mapping and channel in the state directory.

    Args:
        directory: for all mappings; made when something is written.
        identity: all that the files depend on: endpoint, place, channel, mapping, prefix.
        read_only: write nothing, for a dry run.
    """

    directory: Path
    identity: str
    read_only: bool = False
    _kept: dict[str, bytes] = field(default_factory=dict)
    """Chunks that may not be written."""

    @property
    def _stem(self) -> str:
        return sha256_of(self.identity.encode())[:16]

    @property
    def _state(self) -> Path:
        return self.directory / f"{self._stem}.json"

    def _path(self, chunk: Chunk) -> Path:
        return self.directory / f"{self._stem}-{chunk.sha256}.gz"

    def read(self) -> Remembered | None:
        """Return what is remembered; None when it is nothing, or damaged."""
        try:
            found = json.loads(read_file(self._state))
            texts = [found["etag"], found["channel"], found["snapshot"]]
            return Remembered(texts[0], texts[1].encode(), texts[2].encode())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, remembered: Remembered, chunks: Iterable[Chunk] = ()) -> None:
        """Remember a channel and its snapshot, and forget the chunks that this snapshot does not name.

        Raises:
            DirectoryError: the state directory cannot be written.
        """
        if self.read_only:
            return
        make_directory(self.directory)
        document = {
            "etag": remembered.raw_etag,
            "channel": remembered.channel.decode(),
            "snapshot": remembered.snapshot.decode(),
        }
        replace_file(self._state, json.dumps(document).encode())
        named = {self._path(chunk).name for chunk in chunks}
        with contextlib.suppress(OSError):
            for path in self.directory.glob(f"{self._stem}-*.gz"):
                if path.name not in named:
                    path.unlink()

    def forget(self) -> None:
        """Remember nothing.

        Raises:
            DirectoryError: the state directory cannot be written.
        """
        if self.read_only:
            return
        try:
            self._state.unlink(missing_ok=True)
        except OSError as error:
            raise DirectoryError(f'"{self._state}": {error.strerror}') from error

    def has(self, chunk: Chunk) -> bool:
        """Return whether a chunk is here, without looking into it."""
        with contextlib.suppress(OSError):
            return chunk.sha256 in self._kept or self._path(chunk).stat().st_size == chunk.size
        return False

    def chunk(self, chunk: Chunk) -> bytes | None:
        """Return the bytes of a chunk; None when they are not here, or are damaged."""
        data = self._kept.get(chunk.sha256)
        if data is None:
            try:
                data = read_file(self._path(chunk))
            except OSError:
                return None
        return data if sha256_of(data) == chunk.sha256 else None

    def keep(self, chunk: Chunk, data: bytes) -> None:
        """Keep the bytes of a chunk. They need not be durable: a damaged chunk is fetched again.

        Raises:
            DirectoryError: the state directory cannot be written.
        """
        if self.read_only:
            self._kept[chunk.sha256] = data
            return
        make_directory(self.directory)
        path = self._path(chunk)
        temporary = path.with_name(f"{TEMPORARY}{path.name}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            raise DirectoryError(f'"{path}": {error.strerror}') from error
