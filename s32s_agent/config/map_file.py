"""Turn the bytes of map files into mappings.

Every writer to the bucket can write these bytes, so nothing in them is trusted: a mapping names a local directory
only below the roots that the config allows. What is wrong becomes a `MapFailure`; nothing is raised, and no mapping
stops another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from s32s_agent.config.documents import Record, load_json, load_yaml
from s32s_agent.config.forms import parsed
from s32s_agent.config.locations import (
    components,
    is_inside,
    is_system_directory,
    normal_directory,
)
from s32s_agent.config.properties import DIRECTORY, PROPERTIES, Property
from s32s_agent.config.values import RecordReader, expected, first_problems, quote
from s32s_agent.errors import MapError
from s32s_agent.model import Extras, Location, Mapping, Role
from s32s_agent.text import printable

MAX_MAPPINGS = 10_000
"""Of all map files together. Each that is wrong is an error in the log and in `last_run.json`."""


@dataclass(frozen=True, slots=True)
class MapFile:
    """A map file as it came from S3."""

    name: str
    """Its key. The suffix says whether it is JSON or YAML."""
    data: bytes


@dataclass(frozen=True, slots=True)
class MapRules:
    """What this computer allows a mapping to say."""

    role: Role
    roots: Collection[str]
    """Local directories in normal form."""
    state_dir: str
    """In normal form."""
    homes: Collection[str]
    """The homes of people."""
    maps: Location | None = None
    """Where the map files are; no master's mapping may hold them."""
    reports: Location | None = None
    """Where the fleet's reports are; no master's mapping may hold them."""
    properties: Sequence[Property] = PROPERTIES
    """What a mapping may have."""


@dataclass(frozen=True, slots=True)
class MapFailure:
    """A mapping that cannot be used, or a file that cannot be read."""

    mapping: str
    """The mapping's name, `#3` for the third one of a file when it has no usable name, "" for a whole file."""
    error: MapError


@dataclass(frozen=True, slots=True)
class Maps:
    """What the map files say, in their order."""

    mappings: tuple[Mapping, ...] = ()
    failures: tuple[MapFailure, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A mapping while its problems are collected."""

    label: str
    position: str
    """Its file and its number there."""
    name: str | None = None
    directory: str | None = None
    location: Location | None = None
    snapshots: Location | None = None
    mapping: Mapping | None = None
    """None when anything in it is missing or wrong."""
    problems: list[str] = field(default_factory=list)

    @property
    def full_position(self) -> str:
        return self.position if self.name is None else f"{self.position} {quote(self.name)}"


def read_maps(files: Sequence[MapFile], rules: MapRules) -> Maps:
    """Turn map files into the mappings for this computer, with a failure for everything that is wrong."""
    drafts: list[_Draft] = []
    failures: list[MapFailure] = []
    for file in files:
        try:
            drafts += _drafts(file, rules, MAX_MAPPINGS - len(drafts))
        except ValueError as error:
            failures.append(MapFailure("", MapError(printable(file.name), [str(error)])))
    _refuse_repeated_names(drafts)
    _refuse_overlaps(drafts, rules.role.value, _directory_parts)
    if rules.role is Role.MASTER:
        # Each mapping's extras are the other's files: two masters of one prefix delete each other's objects.
        _refuse_overlaps(drafts, "s3", _location_parts)
        _refuse_prefix_with(drafts, rules.maps, "the map files")
        _refuse_prefix_with(drafts, rules.reports, "the reports of the fleet")
    _refuse_overlaps(drafts, "snapshots", _snapshot_parts)
    _refuse_snapshots_in(drafts, rules)
    mappings = [
        draft.mapping for draft in drafts if draft.mapping is not None and not draft.problems
    ]
    failures += [
        MapFailure(draft.label, MapError(draft.full_position, first_problems(draft.problems)))
        for draft in drafts
        if draft.problems
    ]
    return Maps(tuple(mappings), tuple(failures))


def _drafts(file: MapFile, rules: MapRules, limit: int) -> list[_Draft]:
    """Read one file, of at most so many mappings.

    Raises:
        ValueError: the file as a whole cannot be used.
    """
    values = _document(file)
    if not isinstance(values, list):
        raise expected("an array of mappings", values)
    if len(values) > limit:
        raise ValueError(
            f"expected at most {MAX_MAPPINGS} mappings in all map files together, got {len(values)}"
            f" here and {MAX_MAPPINGS - limit} in the files before"
        )
    name = printable(file.name)
    return [
        _draft(value, f"{name}: mapping {number}", f"#{number}", rules)
        for number, value in enumerate(values, start=1)
    ]


def _document(file: MapFile) -> object:
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8, at byte {error.start}") from error
    suffix = file.name.lower()
    if suffix.endswith((".yaml", ".yml")):
        return load_yaml(text)
    if suffix.endswith(".json"):
        return load_json(text)
    raise ValueError("expected a name that ends in .json, .yaml or .yml")


def _draft(value: object, position: str, label: str, rules: MapRules) -> _Draft:
    draft = _Draft(label, position)
    known = [each.name for each in rules.properties]
    reader = RecordReader(value, draft.problems, known=known, word="property")
    if not isinstance(value, Record):
        return draft
    values = _values(reader, rules)
    draft.name = values.get("name")
    draft.label = draft.name or label
    draft.location = values.get("location")
    draft.directory = values.get("directory")
    draft.snapshots = values.get("snapshots")
    if not draft.problems:
        draft.mapping = Mapping(**values)
    return draft


def _values(reader: RecordReader, rules: MapRules) -> dict[str, Any]:
    """Return the fields of `Mapping` that the map file gives; what is absent or wrong is left out."""
    values: dict[str, Any] = {}
    for each in rules.properties:
        is_needed, is_directory = rules.role in each.needed_in, each.form is DIRECTORY
        if is_needed:
            check = _directory(rules) if is_directory else each.form.check
            value = reader.require(each.name, check, each.form.words)
        else:
            value = reader.read(each.name, each.form.check, None)
        # The directory of the other role is that computer's own affair.
        if value is not None and (is_needed or not is_directory):
            values[each.field or each.name] = value
    if "files" in reader:
        # Maps that are older than `extras` have other files at the target, which must stay.
        values.setdefault("extras", Extras.KEEP)
    return values


def _directory(rules: MapRules) -> Callable[[object], str]:
    def allowed(text: str) -> str:
        directory = normal_directory(text, windows_ok=rules.role is Role.MASTER)
        if is_system_directory(directory, rules.homes):
            raise ValueError(
                "expected a directory that is neither a system directory nor a home"
            )
        if is_inside(directory, rules.state_dir) or is_inside(rules.state_dir, directory):
            raise ValueError("expected a directory that does not overlap state_dir")
        if not any(is_inside(directory, root) for root in rules.roots):
            raise ValueError("expected a directory inside one of the roots of the config")
        return directory

    return parsed(allowed, DIRECTORY.markdown, DIRECTORY.schema).check


def _refuse_repeated_names(drafts: Sequence[_Draft]) -> None:
    """Refuse all bearers of a name: taking the first would let a new file decide what an old one means."""
    by_name = defaultdict(list)
    for draft in drafts:
        by_name[draft.name].append(draft)
    for name, bearers in by_name.items():
        if name is not None and len(bearers) > 1:
            for draft in bearers:
                other = bearers[1] if draft is bearers[0] else bearers[0]
                draft.problems.append(
                    f"name: {quote(name)} is also the name of {other.position}"
                )


def _refuse_prefix_with(drafts: Sequence[_Draft], held: Location | None, what: str) -> None:
    """Refuse a prefix that holds what others need: it would be deleted as something the master does not have."""
    for draft in drafts:
        there = draft.location
        if held is None or there is None or there.bucket != held.bucket:
            continue
        above = f"{there.prefix}/" if there.prefix else ""
        if f"{held.prefix}/".startswith(above):
            draft.problems.append(
                f"s3: the prefix holds {what}, {held}, which a master would delete; choose another one"
            )


def _refuse_snapshots_in(drafts: Sequence[_Draft], rules: MapRules) -> None:
    """Refuse snapshots inside or around what is mirrored, the map files or the reports.

    A slave would mirror them, a master would delete them, and a channel would be read as a map file.
    """
    others = [(draft.location, draft.full_position) for draft in drafts if draft.location]
    held = ((rules.maps, "the map files"), (rules.reports, "the reports of the fleet"))
    others += [(location, what) for location, what in held if location]
    for draft in drafts:
        if draft.snapshots is None:
            continue
        for location, what in others:
            if _overlap(draft.snapshots, location):
                draft.problems.append(
                    f"snapshots: {draft.snapshots} overlaps {what}, {location}; choose a prefix apart from it"
                )


def _overlap(one: Location, other: Location) -> bool:
    parts, others = str(one).split("/"), str(other).split("/")
    common = min(len(parts), len(others))
    return parts[:common] == others[:common]


def _snapshot_parts(draft: _Draft) -> tuple[str, ...] | None:
    return None if draft.snapshots is None else tuple(str(draft.snapshots).split("/"))


def _directory_parts(draft: _Draft) -> tuple[str, ...] | None:
    return None if draft.directory is None else components(draft.directory)


def _location_parts(draft: _Draft) -> tuple[str, ...] | None:
    if draft.location is None:
        return None
    return tuple(str(draft.location).split("/"))


def _refuse_overlaps(
    drafts: Sequence[_Draft], key: str, parts_of: Callable[[_Draft], tuple[str, ...] | None]
) -> None:
    """Refuse both mappings of every pair whose directories, or prefixes, are equal or nested.

    A mapping that fails for another reason counts too: repairing it must not break a second one.
    """
    all_parts = [(parts, draft) for draft in drafts if (parts := parts_of(draft)) is not None]
    all_parts.sort(key=lambda pair: pair[0])
    around: list[tuple[tuple[str, ...], _Draft]] = []
    # In this order, what is inside a directory or prefix follows it directly.
    for parts, draft in all_parts:
        while around and parts[: len(around[-1][0])] != around[-1][0]:
            around.pop()
        if around:
            outer = around[-1][1]
            draft.problems.append(f"{key}: overlaps that of {outer.full_position}")
            outer.problems.append(f"{key}: overlaps that of {draft.full_position}")
        around.append((parts, draft))
