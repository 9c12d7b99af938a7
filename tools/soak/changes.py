"""Those who change things while agents run: a writer of the bucket, a user of the source, a vandal in the target.

They write whole files, by renaming, as the agents' promise is about what agents do.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from support.buckets import Bucket

from tools.soak.contents import Library
from tools.soak.tally import Tally

ANCHOR = "anchor"
"""Files in this directory change, but no thread removes one: a file that is missing was lost by an agent."""
ANCHORS = tuple(f"{ANCHOR}/{number}" for number in range(12))
KEYS = (
    *(f"d{number % 7}/{number}" for number in range(60)),
    *("x", "x/y", "x/y/z", "deep/er/and/deeper/still", "é/ü ñ", "a b/c+d/e%f"),
)
"""Some are a file here and a directory there."""
EXCHANGED = "x"
"""A file at one time and a directory at another."""
MULTIPART_BYTES = 5 << 20


def size(rng: random.Random) -> int:
    """Draw a size: most are small, a few need several reads, some are empty of anything random."""
    return rng.choice((0, 1, 100, 4096, 60_000, 60_000, 1_200_000))


@dataclass(slots=True)
class Writer:
    """Changes a prefix of the bucket."""

    bucket: Bucket
    prefix: str
    library: Library
    rng: random.Random
    tally: Tally
    damage: Callable[[bool], None]
    """Publishes a map file that is broken, or the right one."""
    present: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Put everything that there is at the start."""
        for key in (*ANCHORS, *KEYS[:40]):
            self._put(key)

    def act(self) -> None:
        """Do one thing."""
        rng = self.rng
        deed = rng.choices(
            (self._change, self._remove, self._marker, self._large, self._break_map),
            (70, 20, 4, 2, 2),
        )[0]
        # The server may be short of breath; the writer tries something else then.
        with contextlib.suppress(BotoCoreError, ClientError):
            deed()
            self.tally.add("changes in the bucket")

    def settle(self) -> None:
        """Leave the right map behind."""
        self.damage(False)

    def _change(self) -> None:
        self._put(self.rng.choice((*ANCHORS, *KEYS)))

    def _put(self, key: str) -> None:
        for other in [each for each in self.present if _collide(each, key)]:
            self._delete(other)
        self.bucket.put(f"{self.prefix}/{key}", self.library.new(key, size(self.rng)))
        self.present.add(key)

    def _remove(self) -> None:
        self._delete(self.rng.choice(KEYS))

    def _delete(self, key: str) -> None:
        self.bucket.delete(f"{self.prefix}/{key}")
        self.present.discard(key)

    def _marker(self) -> None:
        self.bucket.put(f"{self.prefix}/empty{self.rng.randrange(3)}/", b"")

    def _large(self) -> None:
        data = self.library.new("large", 2 * MULTIPART_BYTES + self.rng.randrange(1000))
        self.bucket.put_multipart(f"{self.prefix}/large", data, MULTIPART_BYTES)

    def _break_map(self) -> None:
        self.damage(True)
        self.damage(False)


def _collide(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


@dataclass(slots=True)
class User:
    """Works in a directory that a master pushes."""

    directory: Path
    aside: Path
    library: Library
    rng: random.Random
    tally: Tally

    def begin(self) -> None:
        """Write everything that there is at the start."""
        for key in (*ANCHORS, *KEYS[:40]):
            self._write(key)

    def act(self) -> None:
        """Do one thing."""
        deed = self.rng.choices((self._change, self._remove, self._directory), (75, 20, 5))[0]
        with contextlib.suppress(
            OSError
        ):  # what is a directory cannot become a file, and so on
            deed()
            self.tally.add("changes in the source")

    def settle(self) -> None:
        """Do nothing: there is nothing to correct."""

    def _change(self) -> None:
        self._write(self.rng.choice((*ANCHORS, *KEYS)))

    def _write(self, key: str) -> None:
        replace(
            self.directory / key, self.library.new(key, size(self.rng)), self.aside, self.rng
        )

    def _remove(self) -> None:
        key = self.rng.choice(KEYS)
        # All of it, so that the next one may be a file where a directory was, or the reverse.
        path = self.directory / (EXCHANGED if key.startswith(EXCHANGED) else key)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if path.name == EXCHANGED:
            self.tally.add("exchanges in the source")

    def _directory(self) -> None:
        (self.directory / f"empty{self.rng.randrange(3)}").mkdir()


def replace(path: Path, data: bytes, aside: Path, rng: random.Random) -> None:
    """Put a whole file at a place, at once; what is in its way stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside / secrets.token_hex(8)
    temporary.write_bytes(data)
    temporary.chmod(rng.choice((0o644, 0o600, 0o755)))
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise


@dataclass(slots=True)
class Vandal:
    """Spoils a directory that slaves write, and what they remember of it."""

    directory: Path
    aside: Path
    outside: Path
    states: Sequence[Path]
    library: Library
    rng: random.Random
    tally: Tally

    def begin(self) -> None:
        """Do nothing before there is something to do."""

    def act(self) -> None:
        """Do one thing."""
        deeds = {
            self._edit: 40, self._edit_secretly: 5, self._remove: 15, self._remove_directory: 4, self._extra: 8,
            self._mode: 8, self._link: 4, self._link_directory: 4, self._pipe: 3, self._plant: 3, self._index: 2,
        }  # fmt: skip
        deed = self.rng.choices(list(deeds), list(deeds.values()))[0]
        with contextlib.suppress(OSError):  # an agent, or an earlier deed, may be in the way
            deed()
            self.tally.add("deeds of the vandal")

    def settle(self) -> None:
        """Take away what agents leave alone and report: pipes, and links where a directory should be."""
        for above, directories, files in os.walk(self.directory):
            for path in (Path(above, name) for name in (*directories, *files)):
                if path.is_symlink() or path.is_fifo():
                    path.unlink()

    def _any(self) -> Path:
        """Draw a file's place that no link is on the way to, since this one must not write through them either."""
        path = self.directory / self.rng.choice(KEYS)
        if path.parent.resolve() != path.parent or path.is_symlink():
            raise FileNotFoundError(path)
        return path

    def _write(self, path: Path) -> None:
        key = path.relative_to(self.directory).as_posix()
        replace(path, self.library.new(key, size(self.rng)), self.aside, self.rng)

    def _edit(self) -> None:
        self._write(self._any())

    def _edit_secretly(self) -> None:
        path = self._any()
        before = path.stat()
        self._write(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _remove(self) -> None:
        self._any().unlink()

    def _remove_directory(self) -> None:
        path = self._any().parent
        if path != self.directory and path.is_dir():  # rmtree would wait at a pipe
            shutil.rmtree(path)

    def _extra(self) -> None:
        self._write(
            self.directory / f"extra{self.rng.randrange(5)}" / f"{self.rng.randrange(9)}"
        )

    def _mode(self) -> None:
        path, mode = self._any(), self.rng.choice((0o000, 0o444, 0o777))
        # No run changes the mode of a directory, and one that is closed stays closed to an agent that is not root.
        if os.geteuid() == 0 or not path.is_dir():
            path.chmod(mode)

    def _link(self) -> None:
        path = self._any()
        path.unlink()
        path.symlink_to(self.outside / "file")

    def _link_directory(self) -> None:
        path = self._any().parent
        if path != self.directory:
            path.rename(self.aside / secrets.token_hex(8))
            path.symlink_to(self.outside)

    def _pipe(self) -> None:
        path = self._any()
        path.unlink()
        os.mkfifo(path)

    def _plant(self) -> None:
        """Leave what looks like the leftovers of a killed run."""
        (self._any().parent / f".s32s-tmp.{secrets.token_hex(8)}").write_bytes(b"half of a fi")

    def _index(self) -> None:
        state = self.rng.choice(self.states)
        if self.rng.random() < 0.5:
            (state / "index.db").unlink()
        else:
            temporary = self.aside / secrets.token_hex(8)
            temporary.write_bytes(self.rng.randbytes(5000))
            temporary.chmod(0o600)
            temporary.replace(state / "index.db")
