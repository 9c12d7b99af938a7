"""Write a plan for people. Pure; what a key holds cannot act on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from s32s_agent.documents import printable
from s32s_agent.model import Kind, Mapping, Plan, Role

_STEP = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Write a number of bytes in at most four figures."""
    unit = 0
    while size >= _STEP and unit < len(_UNITS) - 1:
        size, unit = size / _STEP, unit + 1
    decimals = 1 if unit and size < _STEP / 10 else 0
    return f"{size:.{decimals}f} {_UNITS[unit]}"


def plan_lines(mapping: Mapping, plan: Plan, role: Role) -> Iterator[str]:
    """Yield a plan as a table: what is done, why, how much, and to which key."""
    here, there = printable(mapping.directory), f"s3://{mapping.location}"
    sides = f"{there} -> {here}" if role is Role.SLAVE else f"{here} -> {there}"
    yield f"{printable(mapping.name)}: {sides}"
    for delete in plan.clears:
        yield _line("delete", "in the way", "", delete.entry.key)
    for copy in plan.copies:
        size = "" if copy.entry.kind is Kind.DIRECTORY else size_text(copy.entry.size)
        yield _line("copy", copy.why.value.replace("_", " "), size, copy.entry.key)
    for delete in plan.deletes:
        yield _line("delete", "not at source", "", delete.entry.key)
    for problem in plan.skipped:
        yield _line("skip", "", "", f"{problem.key}  ({problem.reason})")
    for withheld in plan.withheld:
        yield _line("withheld", "", "", f"{withheld.count} deletes: {withheld.reason}")
    unchanged = plan.unchanged + len(plan.adopted)
    yield (
        f"  {len(plan.copies)} to copy ({size_text(plan.bytes)}),"
        f" {len(plan.clears) + len(plan.deletes)} to delete, {unchanged} unchanged"
    )


def _line(action: str, why: str, size: str, key: str) -> str:
    return f"  {action:<9}{why:<17}{size:>9}  {printable(key)}"
