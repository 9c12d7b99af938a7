"""The agent's own small files: replaced whole, and nothing unfinished stays for ever."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.trees import snapshot, write

from s32s_agent.errors import DirectoryError
from s32s_agent.run.state_directory import OWN_DIRECTORIES
from s32s_agent.state.files import (
    MAX_SIZE,
    make_directory,
    read_file,
    remove_temporary_files,
    replace_file,
)


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Temporary files go, in the agent's directories too; what has another name, or lies behind a link, stays."""
    state, outside = tmp_path / "state", tmp_path / "outside"
    kept = {"index.db": b"index", "maps/a.map": b"map", ".s32s-tmp": b"no temporary file"}
    write(state, {**kept, ".s32s-tmp.x": b"half", "maps/.s32s-tmp.y": b"half"})
    write(outside, {".s32s-tmp.theirs": b"precious"})
    (state / "link").symlink_to(outside)

    remove_temporary_files(state, ("maps", "link", "missing"))

    assert {k: v for k, v in snapshot(state).items() if v and k != "link"} == kept
    assert snapshot(outside) == {".s32s-tmp.theirs": b"precious"}


def test_a_run_never_removes_the_unfinished_files_of_an_agent_whose_state_lies_below(
    tmp_path: Path,
) -> None:
    """The instances of the service keep their state inside that of the single one, and may be at work now."""
    theirs = {"web/.s32s-tmp.run": b"half", "web/maps/.s32s-tmp.map": b"half"}
    write(tmp_path, {**theirs, "maps/.s32s-tmp.x": b"half"})

    remove_temporary_files(tmp_path, OWN_DIRECTORIES)

    assert {k: v for k, v in snapshot(tmp_path).items() if v} == theirs


def test_a_temporary_file_that_cannot_be_removed_stops_nothing(tmp_path: Path) -> None:
    """A directory of such a name stays, and ends no run."""
    (tmp_path / ".s32s-tmp.d").mkdir()
    write(tmp_path, {".s32s-tmp.f": b"half"})

    remove_temporary_files(tmp_path, ())
    remove_temporary_files(tmp_path / "missing", ("maps",))

    assert [each.name for each in tmp_path.iterdir()] == [".s32s-tmp.d"]


def test_what_is_in_the_way_is_said_with_its_remedy(tmp_path: Path) -> None:
    """A file where a directory must be, a directory where a file must be: the old one stays."""
    write(tmp_path, {"file": b"file"})
    (tmp_path / "directory").mkdir()

    with pytest.raises(DirectoryError, match="cannot be written") as made:
        make_directory(tmp_path / "file" / "inner")
    with pytest.raises(DirectoryError, match="cannot be written") as replaced:
        replace_file(tmp_path / "directory", b"data")

    assert all("state_dir" in each.value.remedy for each in (made, replaced))
    assert snapshot(tmp_path) == {"file": b"file", "directory": None}


def test_a_huge_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A file longer than any that a run writes is refused, and only a part of it is read; the longest one is read."""
    path = tmp_path / "last_run.json"
    for size in (MAX_SIZE + 1, 1 << 40):
        with path.open("wb") as sparse:
            sparse.truncate(size)

        with pytest.raises(OSError, match="too large") as caught:
            read_file(path)

        assert caught.value.errno == errno.EFBIG
    with path.open("wb") as sparse:
        sparse.truncate(MAX_SIZE)
    assert len(read_file(path)) == MAX_SIZE
