"""What a run keeps in `state_dir`, and the conditions on which it may use that directory.

Another user who could write there would decide what the agent deletes, and a second run at the same time would undo
the work of the first.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from s32s_agent.errors import DirectoryError, LockHeld
from s32s_agent.monitoring import last_run
from s32s_agent.output.progress import Progress
from s32s_agent.state import files
from s32s_agent.state.pending import PENDING

INDEX = "index.db"
MAPS = "maps"
LOCK = "run.lock"
UPLOADS = "uploads"
BATCHES = "batches"
PINS = "pins"
SNAPSHOTS = "snapshots"
STORES = "stores.json"
OWN_DIRECTORIES = (BATCHES, MAPS, PENDING, PINS, SNAPSHOTS, UPLOADS)
OWN_NAMES = (INDEX, LOCK, STORES, last_run.LAST_RUN, last_run.LAST_SKIPPED, *OWN_DIRECTORIES)
"""How the names of what a run creates in the state directory begin."""


def require_trusted_state(state_dir: str) -> None:
    """Refuse a state directory that another user may write; one that does not exist passes.

    Raises:
        DirectoryError: it, something in it, or a directory above it can be written by another user.
    """
    if sys.platform != "win32":
        from s32s_agent.config import ownership  # noqa: PLC0415 (POSIX only)

        ownership.require_trusted_state(state_dir, OWN_NAMES)


@contextlib.contextmanager
def locked_state(
    state_dir: str, run_id: str, wait_seconds: float, progress: Progress
) -> Iterator[None]:
    """Create the state directory when it is missing, and hold the lock in it while the block runs.

    Args:
        state_dir: the directory.
        run_id: of the run that wants the lock.
        wait_seconds: how long to wait for another run.
        progress: shows that the run waits, and no longer once it holds the lock.

    Raises:
        LockHeld: another run holds the lock; `last_skipped.json` says so.
        DirectoryError: the directory or the lock cannot be created.
    """
    from s32s_agent.state import lock  # noqa: PLC0415 (POSIX and Windows have one of their own)

    state, now = Path(state_dir), datetime.now(UTC)
    try:
        state.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        remedy = "create it, owned by the agent's user, or correct state_dir"
        raise DirectoryError(f'"{state}": {error.strerror}', remedy=remedy) from error
    path = str(state / LOCK)
    holder = {"run_id": run_id, "started": now.isoformat()}
    try:
        with lock.hold(path, wait_seconds=wait_seconds, holder=holder, waiting=progress.beat):
            progress.finish()
            files.remove_temporary_files(state, OWN_DIRECTORIES)
            yield
    except LockHeld:
        with contextlib.suppress(DirectoryError):
            skipped = last_run.Skipped(now, lock.read_holder(path))
            last_run.write_last_skipped(state_dir, skipped)
        raise
