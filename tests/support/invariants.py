"""What no run may do, whatever goes wrong: recorded before a run, checked after it. No assertion is made here.

    before = state_before_run(slave.target, slave.agent.state_dir, outside=[canary])
    run = slave.once()
    assert check_after(before, versions, run) == []
    assert check_recovery(slave.once, slave.tree, wanted) == []

`versions` is, by key, every complete content that was ever published there; `versions_of` builds it from states of the
source. A run that was killed is None.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from s32s_agent.plan.etags import Digest, candidate_part_sizes, is_md5, part_count
from support.agents import FAILURES, AgentRun, output_problems
from support.trees import canary, snapshot

Versions = Mapping[str, Collection[bytes]]
Tree = Mapping[str, bytes | None]

TEMPORARY = ".s32s-tmp."
_ERRORS = ("run.failed", "run.crashed", "mapping.failed")


@dataclass(frozen=True, slots=True)
class Invariants:
    """The state before a run."""

    target: Path
    """The local directory of the mapping, which the index vouches for; a master's source, too."""
    state_dir: Path
    outside: tuple[Path, ...]
    """Trees that no run may change; a master's source is one."""
    tree: Tree
    """The content of the target then, without the agent's own directory."""
    canaries: tuple[str, ...]
    """Hashes of what is outside."""
    show: Callable[[], Tree]
    """Returns the content of the target."""


def state_before_run(
    target: Path,
    state_dir: Path,
    outside: Sequence[Path] = (),
    show: Callable[[], Tree] | None = None,
) -> Invariants:
    """Record the state before a run.

    Args:
        target: the local directory of the mapping; it need not exist.
        state_dir: the agent's.
        outside: trees that no run may change.
        show: returns the content of the target where that is not the local directory: of a master, that of S3.
    """
    canaries = tuple(canary(each) for each in outside)
    show = show or (lambda: tree_of(target))
    return Invariants(target, state_dir, tuple(outside), show(), canaries, show)


def check_after(
    before: Invariants,
    versions: Versions,
    run: AgentRun | None = None,
    *,
    current: Collection[str] | None = None,
    secrets: Collection[str] = (),
) -> list[str]:
    """List what a run did that no run may do.

    Args:
        before: the state before it.
        versions: every complete content that each key has had; a key that never was published is not in it.
        run: its output; None when it was killed.
        current: the keys that the source still has; None for all of `versions`.
        secrets: what its output must not contain.
    """
    kept = versions.keys() if current is None else current
    tree = before.show()
    return [
        *_check_outside(before),
        *_check_contents(before.tree, tree, versions),
        *_check_deletions(before.tree, tree, kept, run),
        *check_index(before.state_dir, before.target, versions),
        *(check_output(run, secrets) if run is not None else ()),
    ]


def check_recovery(
    once: Callable[[], AgentRun],
    tree: Callable[[], Tree],
    wanted: Tree,
    left: Callable[[], Sequence[str]] = list,
) -> list[str]:
    """Run twice without the fault: the first run mirrors, the second has nothing to do, no temporary file stays.

    Args:
        once: runs the agent once.
        tree: returns the content of the target.
        wanted: the content that it must have.
        left: lists temporary files and unfinished uploads.
    """
    first, problems = once(), []
    if first.exit_code != 0:
        problems.append(f"the next run exits with {first.exit_code}:\n{first.stderr}")
    found = tree()
    if found != wanted:
        problems.append(f"the next run leaves {_differences(found, wanted)}")
    problems += [f"{name} stays" for name in left()]
    second = once()
    if second.exit_code != 0:
        problems.append(f"the run after that exits with {second.exit_code}")
    else:
        moved = second.finished["copied"], second.finished["deleted"]
        problems += [f"the run after that copies and deletes {moved}"] * (moved != (0, 0))
    return problems


def versions_of(*states: Mapping[str, bytes]) -> dict[str, set[bytes]]:
    """Return every content of each key in these states of the source."""
    found: dict[str, set[bytes]] = {}
    for state in states:
        for key, data in state.items():
            found.setdefault(key, set()).add(data)
    return found


def temporaries(directory: Path) -> list[str]:
    """List the temporary files below a directory."""
    found = (Path(top, name) for top, _, names in os.walk(directory) for name in names)
    return [str(each) for each in found if each.name.startswith(TEMPORARY)]


# --- the target, and what is around it ---


def tree_of(target: Path) -> Tree:
    """Return the tree without temporary files, which a killed run may leave until the next one."""
    if target.is_symlink() or not target.is_dir():
        return {}
    found = snapshot(target)
    return {
        name: data
        for name, data in found.items()
        if not name.rpartition("/")[2].startswith(TEMPORARY)
    }


def _check_outside(before: Invariants) -> list[str]:
    now = (canary(each) for each in before.outside)
    pairs = zip(before.outside, before.canaries, now, strict=True)
    return [f"{path} was changed" for path, then, present in pairs if then != present]


def _check_contents(before: Tree, after: Tree, versions: Versions) -> list[str]:
    """List files that hold neither a complete version of their object nor what they held before."""
    wrong = (
        name
        for name, data in after.items()
        if data is not None and data != before.get(name) and data not in versions.get(name, ())
    )
    return [f"{name!r} holds bytes that were never published" for name in wrong]


def _check_deletions(
    before: Tree, after: Tree, kept: Collection[str], run: AgentRun | None
) -> list[str]:
    """List removed files that the source has, or, after an error, that blocked no copy."""
    gone = [name for name, data in before.items() if data is not None and name not in after]
    problems = [
        f"{name!r} was removed, though the source has it" for name in gone if name in kept
    ]
    if run is None or not had_errors(run, kept):
        return problems
    held = [name for name in gone if name not in kept and not _blocks_a_copy(name, kept)]
    return problems + [f"{name!r} was deleted, though there was an error" for name in held]


def had_errors(run: AgentRun, kept: Collection[str]) -> bool:
    """Return whether a listing or a copy failed; a failed delete does not count."""
    if any(run.named(event) for event in _ERRORS):
        return True
    return any(each["key"] in kept for each in run.named("entry.failed"))


def _blocks_a_copy(name: str, kept: Iterable[str]) -> bool:
    return any(key.startswith(f"{name}/") or name.startswith(f"{key}/") for key in kept)


def _differences(found: Tree, wanted: Tree) -> str:
    names = {
        name
        for name in found.keys() | wanted.keys()
        if found.get(name, "") != wanted.get(name, "")
    }
    return f"other content than published in {sorted(names)}"


# --- the index ---


class IndexRow(NamedTuple):
    """A row of the database."""

    key: str
    etag: str
    stamp: tuple[int, ...]


def check_index(state_dir: Path, target: Path, versions: Versions) -> list[str]:
    """List the rows that vouch for bytes which the file does not hold.

    A row counts only while the file has its stamp; with another stamp the next run reads the file.
    """
    wrong = []
    for row in index_rows(state_dir / "index.db", target):
        path = target / row.key
        try:
            status = path.lstat()
        except (OSError, ValueError):
            continue
        stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        if stamp == row.stamp and not _proves(row, path.read_bytes(), versions):
            wrong.append(f"the index vouches for {row.key!r}, which holds other bytes")
    return wrong


def index_rows(database: Path, target: Path) -> list[IndexRow]:
    """Read the rows of a directory; none when there is no index."""
    if not database.exists():
        return []
    connection = sqlite3.connect(database.absolute().as_uri() + "?mode=ro", uri=True)
    query = (
        "SELECT key, etag, size, mtime_ns, ctime_ns, inode FROM entry JOIN mapping ON mapping = id"
        " WHERE identity LIKE ?"
    )
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return []  # the run ended before it created the tables
        found = connection.execute(query, [f"%\n{target.resolve()}"]).fetchall()
    finally:
        connection.close()
    return [IndexRow(key, etag, tuple(stamp)) for key, etag, *stamp in found]


def _proves(row: IndexRow, data: bytes, versions: Versions) -> bool:
    if is_md5(row.etag) and hashlib.md5(data).hexdigest() == row.etag:
        return True
    for size in candidate_part_sizes(len(data), part_count(row.etag)):
        digest = Digest(size)
        digest.update(data)
        if digest.etag() == row.etag:
            return True
    # An opaque ETag proves nothing; then the bytes must at least have been published.
    return not is_md5(row.etag) and data in versions.get(row.key, ())


# --- the output ---


def check_output(run: AgentRun, secrets: Collection[str] = ()) -> list[str]:
    """List what an output contains that no output may, and errors without a remedy."""
    text = run.stdout + run.stderr
    problems = [
        f"a secret in the output: {secret[:4]}..." for secret in secrets if secret in text
    ]
    silent = [
        each["error"]
        for name in FAILURES
        for each in run.named(name)
        if not each.get("remedy")
    ]
    problems += [f"no remedy for {each!r}" for each in silent]
    problems += [f"a crash: {each.get('exception')}" for each in run.named("run.crashed")]
    return problems + output_problems(run)


def check_status(run: AgentRun, tree: Tree, wanted: Tree) -> list[str]:
    """List a status 0 though not everything is mirrored, or another status though nothing is wrong."""
    if run.exit_code == 0 and tree != wanted:
        return [f"exit status 0, with {_differences(tree, wanted)}"]
    wrong = [
        each for each in run.events if each.get("level") in ("warning", "error", "critical")
    ]
    if run.exit_code != 0 and tree == wanted and not wrong:
        return [f"exit status {run.exit_code}, with everything mirrored and nothing wrong"]
    return []
