"""Those who look while agents run, as a web server or another client would, and object to what must not show."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from support.buckets import Bucket

from tools.soak.changes import ANCHORS
from tools.soak.contents import Library
from tools.soak.tally import Tally

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES)
"""What opening a file can meet when agents and vandals are at work."""


@dataclass(slots=True)
class TreeWatcher:
    """Reads every file of a directory over and over."""

    directory: Path
    library: Library
    tally: Tally
    seen: set[str] = field(default_factory=set)
    """Anchors that have been there."""

    def act(self) -> None:
        """Read everything once."""
        if not self.directory.exists():
            return  # no run has made it yet
        for key in list(self._keys()):
            self._look(key)
        for key in ANCHORS:
            self._look_for(key)

    def _keys(self) -> Iterator[str]:
        for above, directories, files in os.walk(self.directory):
            if above == str(self.directory) and ".s32s" in directories:
                directories.remove(".s32s")
            for name in files:
                if not name.startswith(".s32s-tmp."):
                    yield Path(above, name).relative_to(self.directory).as_posix()

    def _look(self, key: str) -> None:
        data = self._read(key)
        if data is None:
            return
        self.tally.add("files read")
        if objection := self.library.objection(key, data):
            self.tally.violate(f'"{self.directory / key}" held {objection}')

    def _look_for(self, key: str) -> None:
        if (self.directory / key).exists():
            self.seen.add(key)
        elif key in self.seen:
            self.tally.violate(f'"{self.directory / key}" was deleted')

    def _read(self, key: str) -> bytes | None:
        """Read a file whole, through no link; None when it is none by now."""
        descriptor = os.open(self.directory, _FLAGS)
        try:
            for part in key.split("/"):
                inner = os.open(part, _FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return None
        finally:
            os.close(descriptor)


@dataclass(slots=True)
class BucketWatcher:
    """Gets every object below a prefix over and over."""

    bucket: Bucket
    prefix: str
    library: Library
    tally: Tally
    seen: set[str] = field(default_factory=set)

    def act(self) -> None:
        """Get everything once; what the server does not answer now, it will be asked for again."""
        for key in (*ANCHORS, *self._keys()):
            try:
                data = self.bucket.get(f"{self.prefix}/{key}")
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey" and key in self.seen:
                    self.tally.violate(f'"{self.prefix}/{key}" was deleted in the bucket')
            except BotoCoreError:
                continue
            else:
                self._look(key, data)

    def _keys(self) -> list[str]:
        try:
            answer = self.bucket.client.list_objects_v2(
                Bucket=self.bucket.name, Prefix=f"{self.prefix}/"
            )
        except (BotoCoreError, ClientError):
            return []
        found = [
            row["Key"].removeprefix(f"{self.prefix}/") for row in answer.get("Contents", [])
        ]
        return [key for key in found if not key.endswith("/")]

    def _look(self, key: str, data: bytes) -> None:
        self.tally.add("objects read")
        if key in ANCHORS:
            self.seen.add(key)
        if objection := self.library.objection(key, data):
            self.tally.violate(f'"{self.prefix}/{key}" in the bucket held {objection}')
