"""The checker of what no pass may do sees each of the things that it is for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentRun
from support.invariants import (
    Invariants,
    check_after,
    check_output,
    check_recovery,
    check_status,
    state_before_run,
    versions_of,
)
from support.trees import snapshot, write

from s32s_agent.model import IndexRow
from s32s_agent.state.index import Index
from s32s_agent.stores.local.stamps import stamp_of

FILES = {"a": b"one", "dir/b": b"two", "extra": b"extra"}
VERSIONS = versions_of({"a": b"one", "dir/b": b"two"}, {"a": b"ONE"})
GOOD = AgentRun(
    0, [{"event": "run.finished", "exit_code": 0, "copied": 0, "deleted": 0}], "", ""
)
FAILED = AgentRun(69, [{"event": "mapping.failed", "error": "x", "remedy": "y"}], "", "")


@pytest.fixture
def before(tmp_path: Path) -> Invariants:
    target, outside, state = (tmp_path / name for name in ("target", "outside", "state"))
    state.mkdir()
    write(target, FILES)
    write(outside, {"precious": b"precious"})
    return state_before_run(target, state, [outside])


def test_what_a_good_pass_does_is_no_problem(before: Invariants) -> None:
    """A new version, an extra that goes, and a temporary file of a pass that was killed are as they should be."""
    write(before.target, {"a": b"ONE", ".s32s-tmp.1": b"half"})
    (before.target / "extra").unlink()

    assert check_after(before, VERSIONS, GOOD) == []
    assert check_after(before, VERSIONS) == []


def test_what_is_outside(before: Invariants) -> None:
    """Not even the same bytes may be written there."""
    write(before.outside[0], {"precious": b"precious"})

    (problem,) = check_after(before, VERSIONS, GOOD)
    assert problem.endswith("was changed")


@pytest.mark.parametrize("files", [{"a": b"on"}, {"new": b"one"}, {"a": b"two"}])
def test_bytes_that_never_were_there(before: Invariants, files: dict[str, bytes]) -> None:
    """Half a version, a version of another key, a file of no key."""
    write(before.target, files)

    (problem,) = check_after(before, VERSIONS, GOOD)
    assert "never published" in problem


def test_a_file_that_is_gone(before: Invariants) -> None:
    """What the source has never goes; what it lacks goes only when nothing went wrong."""
    (before.target / "extra").unlink()

    assert check_after(before, VERSIONS, GOOD) == []
    assert "though there was an error" in check_after(before, VERSIONS, FAILED)[0]
    (before.target / "a").unlink()
    assert "though the source has it" in check_after(before, VERSIONS, GOOD)[0]


def test_an_index_that_lies(before: Invariants) -> None:
    """A row whose stamp is the file's vouches for its bytes."""
    stamp = stamp_of((before.target / "a").stat())
    index = Index(before.state_dir / "index.db")
    rows = index.of_mapping(f"http://s3\nbucket/data\n{before.target.resolve()}")
    rows.remember([IndexRow("a", hashlib.md5(b"one").hexdigest(), stamp)])

    assert check_after(before, VERSIONS, GOOD) == []
    rows.remember([IndexRow("a", hashlib.md5(b"ONE").hexdigest(), stamp)])
    assert "the index vouches" in check_after(before, VERSIONS, GOOD)[0]
    index.close()


@pytest.mark.parametrize(
    "text", ["hush-hush", "a\x1b[31m", "a\0", "a\r", "a\x9b", "a\u202e", "a\u2028"]
)
def test_what_nobody_may_see(before: Invariants, text: str) -> None:
    """A secret, or a character that a terminal obeys."""
    run = AgentRun(0, [], "", text)

    assert len(check_after(before, VERSIONS, run, secrets=["hush-hush"])) == 1


@pytest.mark.parametrize(
    ("code", "events"),
    [
        (0, [{"event": "run.finished", "exit_code": 1}]),
        (0, [{"event": "entry.failed", "key": "a", "error": "x", "remedy": "y"}]),
        (0, [{"event": "mapping.failed", "error": "x", "remedy": "y"}]),
        (1, [{"event": "mapping.failed", "error": "x"}]),
    ],
)
def test_a_status_that_is_not_what_the_log_says(
    code: int, events: list[dict[str, Any]]
) -> None:
    """Another number, 0 after a failure, or a failure without a remedy."""
    assert len(check_output(AgentRun(code, events, "", ""))) == 1


def test_a_status_that_is_not_what_the_tree_says() -> None:
    """0 means mirrored; and a status without a reason, when all is mirrored, is wrong as well."""
    warned = AgentRun(1, [{"event": "entry.skipped", "level": "warning"}], "", "")

    assert check_status(GOOD, {"a": b"a"}, {"a": b"a"}) == []
    assert len(check_status(GOOD, {"a": b"a"}, {"a": b"b"})) == 1
    assert len(check_status(AgentRun(1, [], "", ""), {"a": b"a"}, {"a": b"a"})) == 1
    assert check_status(warned, {"a": b"a"}, {"a": b"a"}) == []


def test_a_pass_that_does_not_put_things_right(before: Invariants) -> None:
    """Another tree than wanted, work in the second pass, and what is left over are told."""
    busy = AgentRun(0, [{"event": "run.finished", "copied": 1, "deleted": 0}], "", "")
    tree = snapshot(before.target)

    assert check_recovery(lambda: GOOD, lambda: tree, tree) == []
    assert len(check_recovery(lambda: busy, lambda: tree, {}, lambda: ["x"])) == 3
    assert len(check_recovery(lambda: FAILED, lambda: tree, tree)) == 2
