"""One run at a time uses the state directory, and no run one that another user can write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s32s_agent.errors import DirectoryError, LockHeld
from s32s_agent.output.progress import Progress
from s32s_agent.run.state_directory import locked_state, require_trusted_state


@pytest.fixture
def progress() -> Progress:
    return Progress(None, enabled=False)


def test_two_runs_never_use_one_state_directory(tmp_path: Path, progress: Progress) -> None:
    """The second one gives way, and writes down which run it met."""
    state = tmp_path / "state"
    with locked_state(str(state), "first", 0, progress):
        with pytest.raises(LockHeld), locked_state(str(state), "second", 0, progress):
            pytest.fail("both hold the lock")
        skipped = json.loads((state / "last_skipped.json").read_text())

    assert skipped["holder"]["run_id"] == "first"
    with locked_state(str(state), "third", 0, progress):
        assert state.stat().st_mode & 0o777 == 0o750


def test_what_a_killed_run_left_is_removed_only_under_the_lock(
    tmp_path: Path, progress: Progress
) -> None:
    """A temporary file that another run is writing stays."""
    state = tmp_path / "state"
    with locked_state(str(state), "first", 0, progress):
        left = state / ".s32s-tmp.x"
        left.write_bytes(b"half")
        with pytest.raises(LockHeld), locked_state(str(state), "second", 0, progress):
            pytest.fail("both hold the lock")
        assert left.exists()
    with locked_state(str(state), "third", 0, progress):
        assert not left.exists()


def test_a_state_directory_without_a_parent_is_an_error(
    tmp_path: Path, progress: Progress
) -> None:
    """A path with a typing error creates no tree of directories."""
    with (
        pytest.raises(DirectoryError, match="No such file"),
        locked_state(str(tmp_path / "no" / "state"), "first", 0, progress),
    ):
        pytest.fail("it was created")


def test_a_state_directory_that_another_user_can_write_is_refused(tmp_path: Path) -> None:
    """That user would decide what is deleted; a directory that does not exist yet passes."""
    state = tmp_path / "state"
    require_trusted_state(str(state))
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(DirectoryError, match="writable by everyone"):
        require_trusted_state(str(state))
