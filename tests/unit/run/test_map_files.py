"""Copies of map files: only a sound copy of exactly that file is ever offered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from s32s_agent.errors import DirectoryError
from s32s_agent.run.map_files import MapCache

PLACE = "https://s3.example bucket/maps/site.json"
DATA = b'[{"name": "a"}]\nwith a second line\n\x00'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "maps"


def test_what_was_saved_is_loaded(directory: Path) -> None:
    """A copy comes back with the ETag as the store wrote it; only its owner may read it."""
    MapCache(directory).save(PLACE, 'W/"e1"', DATA)

    assert MapCache(directory).load(PLACE) == ('W/"e1"', DATA)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in directory.iterdir()] == [0o600]


def test_a_newer_version_replaces_the_copy(directory: Path) -> None:
    """One map file has one copy."""
    cache = MapCache(directory)
    cache.save(PLACE, "e1", DATA)
    cache.save(PLACE, "e2", b"")

    assert cache.load(PLACE) == ("e2", b"")
    assert len(list(directory.iterdir())) == 1


def test_another_place_has_another_copy(directory: Path) -> None:
    """The same key at another endpoint is another map file."""
    cache = MapCache(directory)
    cache.save(PLACE, "e1", DATA)

    assert cache.load("https://other.example bucket/maps/site.json") is None


def test_a_copy_under_a_false_name_is_not_used(directory: Path) -> None:
    """A copy says itself which file it is of: renaming it does not make it another's."""
    cache = MapCache(directory)
    cache.save(PLACE, "e1", DATA)
    (file,) = directory.iterdir()
    cache.save("other", "e2", b"")
    (other,) = set(directory.iterdir()) - {file}
    file.replace(other)

    assert cache.load("other") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data.replace(b"site", b"sitf"),
        lambda data: data.replace(b"second", b"SECOND"),
        lambda _: b"",
        lambda _: b"\n",
        lambda _: b"[]\n",
        lambda _: b'"text"\n',
        lambda _: b"{}\n",
        lambda _: b"\xff\xfe\n",
        lambda _: b"[" * 100_000 + b"\n",
    ],
)
def test_a_torn_copy_never_becomes_a_map(
    directory: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A copy whose bytes are not those that were saved is none: it will be fetched again."""
    cache = MapCache(directory)
    cache.save(PLACE, "e1", DATA)
    (file,) = directory.iterdir()
    file.write_bytes(damage(file.read_bytes()))

    assert cache.load(PLACE) is None


def test_a_dry_run_keeps_nothing() -> None:
    """Without a directory nothing is saved, and nothing loaded."""
    cache = MapCache(None)
    cache.save(PLACE, "e1", DATA)

    assert cache.load(PLACE) is None


def test_a_version_without_a_name_is_not_kept(directory: Path) -> None:
    """Without an ETag no later answer could say that the copy is current."""
    MapCache(directory).save(PLACE, "", DATA)

    assert not directory.exists()


def test_a_place_that_cannot_be_written(directory: Path) -> None:
    """A file where the copies should go is an error with status 73."""
    directory.write_bytes(b"")

    with pytest.raises(DirectoryError) as caught:
        MapCache(directory).save(PLACE, "e1", DATA)

    assert caught.value.exit_status == 73
    assert MapCache(directory).load(PLACE) is None


def test_a_planted_link_is_not_written_through(directory: Path, tmp_path: Path) -> None:
    """A link in a copy's place is replaced, and what it leads to stays."""
    cache = MapCache(directory)
    cache.save(PLACE, "e1", DATA)
    (file,) = directory.iterdir()
    file.unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, file)  # noqa: PTH211
    cache.save(PLACE, "e2", DATA)

    assert victim.read_bytes() == b"precious"
    assert cache.load(PLACE) == ("e2", DATA)
