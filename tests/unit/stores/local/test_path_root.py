"""Paths of Windows, and names that a directory lists and nobody finds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from s32s_agent.model import Problem
from s32s_agent.stores.local.path_root import PathRoot, long_form
from s32s_agent.stores.local.walk import Walk


@pytest.mark.parametrize(
    ("path", "long"),
    [
        ("c:/srv/site", "\\\\?\\c:\\srv\\site"),
        ("c:\\srv\\site", "\\\\?\\c:\\srv\\site"),
        ("//server/share/site", "\\\\?\\UNC\\server\\share\\site"),
        ("\\\\server\\share", "\\\\?\\UNC\\server\\share"),
        ("\\\\?\\c:\\srv", "\\\\?\\c:\\srv"),
        ("//?/c:/srv", "\\\\?\\c:\\srv"),
    ],
)
def test_a_path_of_over_260_characters_that_looks_absent(path: str, long: str) -> None:
    """Windows finds it in its long form only, which knows no slash."""
    assert long_form(path) == long


def test_below_a_long_form_nothing_has_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is opened, listed or read below it."""
    asked: list[str] = []
    here, file = Path().stat(), Path(__file__).stat()

    def answer(name: str, result: object) -> None:
        def call(path: str) -> object:
            asked.append(path)
            return result

        monkeypatch.setattr(f"s32s_agent.stores.local.path_root.os.{name}", call)

    answer("stat", here)
    answer("lstat", file)
    answer("scandir", _Nothing())
    root = PathRoot("\\\\?\\c:\\srv")
    root.status("a/b")
    level = root.level("a/")
    level.names(follow=False)
    level.enter("b").status("c")
    root.level("").names(follow=False)

    assert asked == [
        "\\\\?\\c:\\srv",
        "\\\\?\\c:\\srv\\a\\b",
        "\\\\?\\c:\\srv\\a\\",
        "\\\\?\\c:\\srv\\a\\b\\c",
        "\\\\?\\c:\\srv\\",
    ]


class _Nothing:
    def __enter__(self) -> list[os.DirEntry[str]]:
        return []

    def __exit__(self, *_: object) -> None:
        pass


# --- a hole in a listing ---


class _Level:
    """A directory that lists two files, of which one cannot be found; another directory is gone."""

    device = 1

    def __init__(self, path: Path, listed: list[str], missing: dict[str, int]) -> None:
        self.path = path
        self.listed = listed
        self.missing = missing

    def names(self, *, follow: bool) -> list[str]:
        del follow
        return list(self.listed)

    def status(self, name: str) -> os.stat_result:
        if self.missing.get(name, 0):
            self.missing[name] -= 1
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.path.stat()

    def enter(self, name: str) -> _Level:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def close(self) -> None:
        pass


class _Root:
    def __init__(self, level: _Level) -> None:
        self.path = "/"
        self._level = level

    def level(self, key: str) -> _Level:
        del key
        return self._level


def walked(path: Path, listed: list[str], missing: dict[str, int]) -> dict[str, str | None]:
    """Walk such a directory; return by key the problem that was found there, None where there is none."""
    path.write_bytes(b"x")
    walk = Walk(_Root(_Level(path, listed, missing)), follow_links=False, known_mounts=None)  # type: ignore[arg-type]
    return {
        key: problem.reason if isinstance(problem, Problem) and problem.fatal else None
        for key, _, problem in walk
    }


def test_an_object_whose_file_is_listed_and_not_found_is_deleted(tmp_path: Path) -> None:
    """A name that its directory lists and the system denies is a hole, not an absence: nothing is deleted for it."""
    found = walked(tmp_path / "f", ["a", "d/", "hole"], {"hole": 99})

    assert found["a"] is None
    assert "its directory lists it" in (found["hole"] or "")
    assert "its directory lists it" in (found["d/"] or "")


def test_a_file_that_is_replaced_at_that_moment_is_no_hole(tmp_path: Path) -> None:
    """It is looked for again."""
    assert walked(tmp_path / "f", ["a"], {"a": 2}) == {"a": None}
