"""What no pass may do, whatever goes wrong: made before a pass, asked after it. No assertion is made here.

    before = before_a_pass(slave.target, slave.agent.state_dir, outside=[canary])
    run = slave.once()
    assert check_after(before, versions, run) == []
    assert check_recovery(slave.once, slave.tree, wanted) == []

`versions` is, by key, every content that was ever published there, whole; `versions_of` makes it of one state of the
source. A pass that was killed has no run: None then.
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
from support.agents import FAILURES, AgentRun, what_is_wrong_with
from support.trees import canary, snapshot

Versions = Mapping[str, Collection[bytes]]
Tree = Mapping[str, bytes | None]

TEMPORARY = ".s32s-tmp."
_ERRORS = ("run.failed", "run.crashed", "mapping.failed")


@dataclass(frozen=True, slots=True)
class Invariants:
    """How things were before a pass."""

    target: Path
    """The local directory of the mapping, which the index vouches for; a master's source, too."""
    state_dir: Path
    outside: tuple[Path, ...]
    """Trees that no pass may touch; a master's source is one."""
    tree: Tree
    """What was in the target then, the agent's own folder left out."""
    canaries: tuple[str, ...]
    """Hashes of what is outside."""
    show: Callable[[], Tree]
    """Gives what is in the target."""


def before_a_pass(
    target: Path,
    state_dir: Path,
    outside: Sequence[Path] = (),
    show: Callable[[], Tree] | None = None,
) -> Invariants:
    """Note how things are.

    Args:
        target: the local directory of the mapping; it need not exist.
        state_dir: the agent's.
        outside: trees that no pass may touch.
        show: gives what is in the target where that is not the local directory: for a master, what S3 shows.
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
    """List what a pass did that it must not do; [] is what every test wants.

    Args:
        before: how things were.
        versions: every whole content that each key has had; a key that never was published is not in it.
        run: what the pass said; None when it was killed.
        current: the keys that the source still has; None for all of `versions`.
        secrets: what must not show in what the pass wrote.
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
    """Make two passes without the fault: the first mirrors, the second finds nothing to do, nothing temporary stays.

    Args:
        once: makes a pass.
        tree: gives what is in the target then.
        wanted: what should be.
        left: lists the temporary files, and unfinished uploads, that there are.
    """
    first, problems = once(), []
    if first.exit_code != 0:
        problems.append(f"the next pass exits with {first.exit_code}:\n{first.stderr}")
    found = tree()
    if found != wanted:
        problems.append(f"the next pass leaves {_differences(found, wanted)}")
    problems += [f"{name} stays" for name in left()]
    second = once()
    if second.exit_code != 0:
        problems.append(f"the pass after that exits with {second.exit_code}")
    else:
        moved = second.finished["copied"], second.finished["deleted"]
        problems += [f"the pass after that copies and deletes {moved}"] * (moved != (0, 0))
    return problems


def versions_of(*states: Mapping[str, bytes]) -> dict[str, set[bytes]]:
    """Collect what each key has held in these states of the source."""
    found: dict[str, set[bytes]] = {}
    for state in states:
        for key, data in state.items():
            found.setdefault(key, set()).add(data)
    return found


def temporaries(directory: Path) -> list[str]:
    """List the files below a directory that a pass left unfinished."""
    found = (Path(top, name) for top, _, names in os.walk(directory) for name in names)
    return [str(each) for each in found if each.name.startswith(TEMPORARY)]


# --- the target, and what is around it ---


def tree_of(target: Path) -> Tree:
    """Give the tree without temporary files, which a killed pass may leave until the next one."""
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
    return [f"{path} was touched" for path, then, present in pairs if then != present]


def _check_contents(before: Tree, after: Tree, versions: Versions) -> list[str]:
    """Every file holds a whole version of its object, or what it held before."""
    wrong = (
        name
        for name, data in after.items()
        if data is not None and data != before.get(name) and data not in versions.get(name, ())
    )
    return [f"{name!r} holds bytes that were never published" for name in wrong]


def _check_deletions(
    before: Tree, after: Tree, kept: Collection[str], run: AgentRun | None
) -> list[str]:
    """What the source has is never removed; after an error nothing is, but what stood in a copy's way."""
    gone = [name for name, data in before.items() if data is not None and name not in after]
    problems = [f"{name!r} is gone, which the source has" for name in gone if name in kept]
    if run is None or not had_errors(run, kept):
        return problems
    held = [name for name in gone if name not in kept and not _in_the_way(name, kept)]
    return problems + [f"{name!r} was deleted, though there was an error" for name in held]


def had_errors(run: AgentRun, kept: Collection[str]) -> bool:
    """Tell whether a listing or a copy failed; that something could not be deleted is another matter."""
    if any(run.named(event) for event in _ERRORS):
        return True
    return any(each["key"] in kept for each in run.named("entry.failed"))


def _in_the_way(name: str, kept: Iterable[str]) -> bool:
    return any(key.startswith(f"{name}/") or name.startswith(f"{key}/") for key in kept)


def _differences(found: Tree, wanted: Tree) -> str:
    names = {
        name
        for name in found.keys() | wanted.keys()
        if found.get(name, "") != wanted.get(name, "")
    }
    return f"other content than was published in {sorted(names)}"


# --- the index ---


class IndexRow(NamedTuple):
    """What the index claims of a file, as it stands in the database."""

    key: str
    etag: str
    stamp: tuple[int, ...]


def check_index(state_dir: Path, target: Path, versions: Versions) -> list[str]:
    """List the rows that vouch for bytes which the file does not hold.

    A row counts only while the file's stamp is the row's own; another stamp makes the next pass look.
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
    """Read what an index holds of a directory; nothing when there is no index."""
    if not database.exists():
        return []
    connection = sqlite3.connect(database.absolute().as_uri() + "?mode=ro", uri=True)
    query = (
        "SELECT key, etag, size, mtime_ns, ctime_ns, inode FROM entry JOIN mapping ON mapping = id"
        " WHERE identity LIKE ?"
    )
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return []  # the pass did not come as far as to make an index
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
    # An opaque ETag proves nothing; then it must at least be something that was published.
    return not is_md5(row.etag) and data in versions.get(row.key, ())


# --- what it said ---


def check_output(run: AgentRun, secrets: Collection[str] = ()) -> list[str]:
    """List what a pass wrote that nobody may see, and where its status is not the one that it logged."""
    text = run.stdout + run.stderr
    problems = [f"a secret is shown: {secret[:4]}..." for secret in secrets if secret in text]
    silent = [
        each["error"]
        for name in FAILURES
        for each in run.named(name)
        if not each.get("remedy")
    ]
    problems += [f"no remedy is told for {each!r}" for each in silent]
    problems += [f"it crashes: {each.get('exception')}" for each in run.named("run.crashed")]
    return problems + what_is_wrong_with(run)


def check_status(run: AgentRun, tree: Tree, wanted: Tree) -> list[str]:
    """Exit status 0 means that everything is mirrored, and when it is, something else has to be wrong for another."""
    if run.exit_code == 0 and tree != wanted:
        return [f"exit status 0, with {_differences(tree, wanted)}"]
    wrong = [
        each for each in run.events if each.get("level") in ("warning", "error", "critical")
    ]
    if run.exit_code != 0 and tree == wanted and not wrong:
        return [f"exit status {run.exit_code}, with everything mirrored and nothing wrong"]
    return []
