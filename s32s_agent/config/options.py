"""An option of the config: one row that says its form, default and help. `settings` has the rows.

To add an option, add a field with a row to a class in `settings`. Parser, JSON Schema, reference page, manual page and
sample config follow from the rows: `python -m tools.generate` writes those that are files. What the option does is
up to whoever reads the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from s32s_agent.config.forms import Form

T = TypeVar("T")
_ROW = "row"


@dataclass(frozen=True, slots=True)
class Option:
    """One key of the config file."""

    help: str
    """One or two sentences in Markdown."""
    form: Form[Any]
    default: object = None
    """As the config file would write it."""
    example: object = None
    """As the config file would write it; None is no example."""
    needed: bool = False
    """The key has no default; the sample config has the example."""
    name: str = ""
    """With the section before it: `sync.workers`."""

    @property
    def key(self) -> str:
        """Return the name without its section."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Section:
    """Keys of the config file that stand together."""

    name: str
    """ "" for the keys that stand in no section."""
    help: str
    options: tuple[Option, ...]


def option(
    help_text: str, form: Form[T], *, default: object = None, example: object = None
) -> T:
    """Return the field of a settings class for a key that may be left out.

    Args:
        help_text: one or two sentences in Markdown.
        form: what may stand there.
        default: as the config file would write it.
        example: as the config file would write it.
    """
    row = Option(help_text, form, default, example)
    return dataclasses.field(default=form.check(default), metadata={_ROW: row})


def needed(help_text: str, form: Form[Any], *, example: object) -> dict[str, Option]:
    """Return the metadata of a field for a key that must be there; `dataclasses.field` takes them."""
    return {_ROW: Option(help_text, form, example=example, needed=True)}


def section(help_text: str, kind: Callable[[], T]) -> T:
    """Return the field of a settings class for a section, which may be left out."""
    return dataclasses.field(default=kind(), metadata={_ROW: help_text})


def option_of(field: dataclasses.Field[Any]) -> Option | None:
    """Return the row of a field, None when it is a section."""
    row = field.metadata[_ROW]
    return row if isinstance(row, Option) else None


def kind_of(section_field: dataclasses.Field[Any]) -> type:
    """Return the settings class of a section."""
    return type(section_field.default)


def sections_of(kind: type) -> tuple[Section, ...]:
    """Return every section with its options, in order; first the options that are in no section.

    Args:
        kind: `Settings`, or a class that extends it.
    """
    inner = tuple(
        Section(field.name, field.metadata[_ROW], _options(kind_of(field), field.name))
        for field in dataclasses.fields(kind)
        if option_of(field) is None
    )
    return (Section("", "", _options(kind, "")), *inner)


def _options(kind: type, section_name: str) -> tuple[Option, ...]:
    return tuple(
        dataclasses.replace(row, name=f"{section_name}.{field.name}".lstrip("."))
        for field in dataclasses.fields(kind)
        if (row := option_of(field)) is not None
    )
