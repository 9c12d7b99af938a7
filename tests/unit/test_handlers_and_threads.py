"""Where the package may catch a cancellation or start a thread, found in its source: a new place is a decision."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import s32s_agent
from s32s_agent import errors
from s32s_agent.errors import AgentError, Cancelled

PACKAGE = Path(s32s_agent.__file__).parent
CATCHES_ALL = {"BaseException", "Reported", "Cancelled", "Interrupted", "RunTimedOut"}
MAY_KEEP_IT = {
    "cli.main": "exits with its status",
    "commands.once.run_once": "exits with its status",
    "run.run._synchronize_in_time": "reports it",
    "run.run._run_last_hook": "reports it",
    "run.run._write_record": "reports it, and writes the record again",
    "workers._run": "raises it where the result is asked for",
    "workers.work": "cancels the pool, or raises it in the caller's thread",
    "run.child_process._serve": "raises it in the caller's thread",
}
"""Handlers that do not raise it again, and what they do instead."""


def named(caught: ast.expr | None) -> set[str]:
    """Return the names of the exceptions that a handler catches; a bare `except` catches all."""
    if caught is None:
        return {"BaseException"}
    nodes = ast.walk(caught)
    return {each.id for each in nodes if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(caught) if isinstance(each, ast.Attribute)
    }


def swallowing(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield the functions with a handler that catches a cancellation and does not end with `raise`."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if catches_all(node):
                yield f"{module}.{function.name}"


def catches_all(node: ast.AST) -> bool:
    """Tell whether a node catches a cancellation and does not raise it again."""
    if isinstance(node, ast.ExceptHandler):
        return bool(named(node.type) & CATCHES_ALL) and not isinstance(
            node.body[-1], ast.Raise
        )
    if not isinstance(node, ast.Call) or "suppress" not in named(node.func):
        return False
    return any(named(each) & CATCHES_ALL for each in node.args)


def test_a_handler_that_swallows_a_sigterm_so_that_the_run_goes_on_and_is_killed_in_the_middle() -> (
    None
):
    """Only the ends of a thread and of a run keep a cancellation; all that stands in between lets it through."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found |= set(swallowing(ast.parse(path.read_text(encoding="utf-8")), module))

    assert found == set(MAY_KEEP_IT)


@pytest.mark.parametrize(
    ("handler", "swallows"),
    [
        ("except Exception: pass", False),
        ("except BaseException: pass", True),
        ("except BaseException:\n  clean()\n  raise", False),
        ("except (ValueError, Cancelled): pass", True),
        ("except errors.RunTimedOut: pass", True),
        ("except: pass", True),
    ],
)
def test_the_search_finds_what_swallows(handler: str, swallows: bool) -> None:  # noqa: FBT001
    """Otherwise its silence would prove nothing."""
    source = "def f():\n try: g()\n " + handler.replace("\n", "\n ")

    assert list(swallowing(ast.parse(source), "m")) == ["m.f"] * swallows


def test_suppressing_is_found_too() -> None:
    """A context manager may swallow as well as a handler."""
    source = "def f():\n with contextlib.suppress(OSError, BaseException): g()"

    assert list(swallowing(ast.parse(source), "m")) == ["m.f"]


def test_every_exception_of_ours_is_a_failure_or_a_cancellation() -> None:
    """The first are Exceptions and the second are not, so that neither is taken for the other."""
    ours = [each for each in vars(errors).values() if isinstance(each, type)]
    raised = [each for each in ours if issubclass(each, errors.Reported)]

    assert len(raised) > 15
    for each in raised:
        assert issubclass(each, Exception) == issubclass(each, AgentError)
        assert issubclass(each, AgentError) + issubclass(each, Cancelled) <= 1


def test_a_thread_of_somebody_else_that_hangs_and_keeps_a_cancelled_process_alive() -> None:
    """Threads are started in two places, both of them as daemons: a call in the background, and a hook's reader."""
    starting = ("Thread(", "ThreadPoolExecutor", "start_new_thread", "Timer(")
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if any(each in line for each in starting):
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(line)

    assert {name: len(lines) for name, lines in found.items()} == {
        "workers.py": 1,
        "run/child_process.py": 1,
    }
    assert all("daemon=True" in line for lines in found.values() for line in lines)
