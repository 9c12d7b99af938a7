"""The results as text: a long table for who ran them, a short one for the README. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .results import (
    CHECKSUMS,
    OURS,
    Record,
    Spread,
    Summary,
    best_peer,
    is_peer,
    problems,
    spread,
    summaries,
)
from .tools import FLOOR, PAGE_BY_PAGE, SIDE_BY_SIDE

MB = 1e6
LAX = f"{OURS}, durable: false"
PEERS = (CHECKSUMS, "rclone --size-only", "s5cmd sync", "s5cmd cp", "aws s3 sync")


def long_table(workloads: Mapping[str, Record]) -> str:
    """Return everything: medians with the least and the most, and ratios to ours."""
    return "\n\n".join(_long(name, record) for name, record in workloads.items())


def _long(name: str, record: Record) -> str:
    when = f"{record['rounds']} rounds, {record['date']}, load {record['load']}"
    head = f"**{name}: {record['title']}** ({when})"
    columns = (
        "tool",
        "wall s",
        "CPU s",
        "peak MB",
        "server CPU s",
        "wall / ours",
        "CPU / ours",
    )
    found, wrong = summaries(record), problems(record)
    ours = found.get(OURS)
    rows = [_long_row(tool, each, ours) for tool, each in found.items()]
    rows += [(tool, f"wrong: {reason}", *[""] * 5) for tool, reason in wrong.items()]
    return "\n".join(
        [head, "", *markdown(columns, rows), "", *_verdicts(record, found)]
    ).rstrip()


def _long_row(tool: str, each: Summary, ours: Summary | None) -> tuple[str, ...]:
    ratios = ("", "")
    if ours is not None:
        ratios = (
            _ratio(each.wall.median, ours.wall.median),
            _ratio(each.cpu.median, ours.cpu.median),
        )
    return (
        tool,
        _spread(each.wall),
        _spread(each.cpu),
        _spread(each.memory, MB, digits=0),
        _spread(each.server_cpu),
        *ratios,
    )


def _verdicts(record: Record, found: Mapping[str, Summary]) -> Iterator[str]:
    """Yield how we stand against the fastest peer, and against the one that compares checksums."""
    ours = found.get(OURS)
    for rate in rates(record):
        yield f"- {rate}"
    if ours is None:
        return
    for tool in dict.fromkeys((best_peer(found), CHECKSUMS)):
        if tool in found and tool is not None:
            peer = found[tool]
            wall = _ratio(ours.wall.median, peer.wall.median)
            cpu = _ratio(ours.cpu.median, peer.cpu.median)
            memory = _ratio(ours.memory.median, peer.memory.median)
            yield f"- ours / {tool}: wall {wall}, CPU {cpu}, memory {memory}"


def rates(record: Record) -> list[str]:
    """Return how a limit of bandwidth was held, where there was one."""
    limit = record["max_bandwidth"]
    return [
        f"`max_bandwidth` of {limit / MB:.1f} MB/s: {_spread(spread(each['rates']), MB)} MB/s"
        for each in record["tools"]
        if limit and each["rates"]
    ]


def short_table(workloads: Mapping[str, Record]) -> str:
    """Return one row a workload and one column a tool: wall, CPU and memory, all medians."""
    shown = {name: each for name, each in workloads.items() if not each["max_bandwidth"]}
    tools = [
        tool for tool in (OURS, *PEERS) if any(_has(each, tool) for each in shown.values())
    ]
    columns = ("", *(f"`{tool}`" if is_peer(tool) else tool for tool in tools))
    rows = [
        (f"{name}: {record['title']}", *(_cell(record, tool) for tool in tools))
        for name, record in shown.items()
    ]
    notes = [f"- {note}" for note in _notes(workloads)]
    return "\n".join([*markdown(columns, rows), *([""] if notes else []), *notes])


def _has(record: Record, tool: str) -> bool:
    return tool in summaries(record) or tool in problems(record)


def _cell(record: Record, tool: str) -> str:
    each = summaries(record).get(tool)
    if each is None:
        return "wrong" if tool in problems(record) else ""
    wall, cpu = figure(each.wall.median), figure(each.cpu.median)
    return f"{wall} s, {cpu} s, {each.memory.median / MB:.0f} MB"


def _notes(workloads: Mapping[str, Record]) -> Iterator[str]:
    """Yield what does not fit into the short table."""
    for name, record in workloads.items():
        for tool, reason in problems(record).items():
            yield f"{name}, `{tool}`: {reason}."
    for name, record in workloads.items():
        found = summaries(record)
        if LAX in found and OURS in found:
            lax, ours = (figure(found[tool].wall.median) for tool in (LAX, OURS))
            yield f"{name} with `durable: false`: {lax} s instead of {ours} s."
        if FLOOR in found:
            wall, cpu = (figure(each.median) for each in (found[FLOOR].wall, found[FLOOR].cpu))
            yield f"{name}, to {FLOOR} and nothing else (tools/bench/floor.py): {wall} s, {cpu} s."
        if SIDE_BY_SIDE in found and PAGE_BY_PAGE in found:
            fast, slow = (
                figure(found[tool].wall.median) for tool in (SIDE_BY_SIDE, PAGE_BY_PAGE)
            )
            yield f"{name}, {SIDE_BY_SIDE}: {fast} s instead of {slow} s one after the other."
    growth = growth_bytes(workloads)
    if growth is not None:
        yield f"j: memory grows by {growth:.0f} bytes an object."
    for record in workloads.values():
        yield from (f"{rate}." for rate in rates(record))


def growth_bytes(workloads: Mapping[str, Record]) -> float | None:
    """Return the bytes of memory that each more object took, from the least to the most of them; None when unknown."""
    points = []
    for name, record in workloads.items():
        found = summaries(record)
        if name.startswith("j-") and OURS in found:
            points.append((record["data"]["count"], found[OURS].memory.median))
    points.sort()
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    (few, low), (many, high) = points[0], points[-1]
    return float((high - low) / (many - few))


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _spread(figures: Spread, unit: float = 1.0, digits: int | None = None) -> str:
    low, middle, high = (
        figure(each / unit) if digits is None else f"{each / unit:.{digits}f}"
        for each in (figures.low, figures.median, figures.high)
    )
    return f"{middle} ({low} to {high})"


def figure(value: float) -> str:
    """Return a number with three significant digits, at most two of them behind the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float, to: float) -> str:
    return f"{value / to:.2f}" if to else ""
