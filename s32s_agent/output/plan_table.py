"""Write a plan for people: what `--dry-run` shows. Pure; no key acts on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from s32s_agent.model import Entry, Kind, Mapping, Plan, Role
from s32s_agent.output.terminal import BOLD, DIM, GREEN, RED, YELLOW, paint
from s32s_agent.text import printable, size_text

_COLOURS = {"copy": GREEN, "delete": RED, "skip": YELLOW, "withheld": YELLOW}


def plan_lines(
    mapping: Mapping, plan: Plan, role: Role, *, colours: bool = False
) -> Iterator[str]:
    """Yield a plan as a table: action, reason, new size, present size and key."""
    here, there = printable(mapping.directory), f"s3://{mapping.location}"
    sides = f"{there} -> {here}" if role is Role.SLAVE else f"{here} -> {there}"
    yield paint(BOLD, f"{printable(mapping.name)}: {sides}", colours=colours)
    rows = list(_rows(plan))
    if rows:
        yield paint(DIM, _line(_Row("action", "why", "size", "now", "key")), colours=colours)
    for row in rows:
        yield paint(_COLOURS[row.action], _line(row), colours=colours)
    unchanged = plan.unchanged + len(plan.adopted)
    yield (
        f"  {len(plan.copies)} to copy ({size_text(plan.bytes)}),"
        f" {len(plan.clears) + len(plan.deletes)} to delete, {unchanged} unchanged"
    )


class _Row(NamedTuple):
    action: str
    why: str = ""
    size: str = ""
    now: str = ""
    about: str = ""


def _rows(plan: Plan) -> Iterator[_Row]:
    for delete in plan.clears:
        yield _Row("delete", "in the way", "", _size(delete.entry), delete.entry.key)
    for copy in plan.copies:
        why = copy.why.value.replace("_", " ")
        yield _Row("copy", why, _size(copy.entry), _size(copy.replaces), copy.entry.key)
    for delete in plan.deletes:
        yield _Row("delete", "not at source", "", _size(delete.entry), delete.entry.key)
    for problem in plan.skipped:
        yield _Row("skip", about=f"{problem.key}  ({problem.reason})")
    for withheld in plan.withheld:
        yield _Row("withheld", about=f"{withheld.count} deletes: {withheld.reason}")


def _size(entry: Entry | None) -> str:
    return size_text(entry.size) if entry and entry.kind is Kind.FILE else ""


def _line(row: _Row) -> str:
    return f"  {row.action:<9}{row.why:<16}{row.size:>8}  {row.now:>8}  {printable(row.about)}"
