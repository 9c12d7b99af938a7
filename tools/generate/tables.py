"""Make the tables of the reference pages, in Markdown, from the tables of the code."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence

from s32s_agent.config.options import Option, sections_of
from s32s_agent.config.properties import PROPERTIES, Property
from s32s_agent.config.settings import Settings
from s32s_agent.errors import EXIT_STATUSES
from tools.generate.sample import in_yaml

_NAME = re.compile(
    r"(?<![\w/])--[a-z]+(?:-[a-z]+)*|\b(?:s3|sync|log|monitoring|hooks)\.[a-z_]+"
)


def of_options(kind: type[Settings] = Settings) -> str:
    """Return a table for each section of the config, below a heading of its own."""
    return "\n\n".join(
        _below_heading(section.name, section.help, map(_option_cells, section.options))
        for section in sections_of(kind)
    )


def _below_heading(name: str, about: str, rows: Iterable[Sequence[str]]) -> str:
    table = _table(("option", "value", "default", "meaning"), rows)
    return f"## `{name}`\n\n{about}\n\n{table}" if name else table


def _option_cells(option: Option) -> tuple[str, ...]:
    default = "needed" if option.needed else f"`{in_yaml(option.default)}`"
    return f"`{option.name}`", option.form.markdown, default, meaning_of(option)


def meaning_of(option: Option) -> str:
    """Return help and example of an option as one paragraph."""
    if option.example is None or "enum" in option.form.schema:
        return option.help
    return f"{option.help} For example `{in_yaml(option.example)}`."


def of_properties(properties: Sequence[Property] = PROPERTIES) -> str:
    """Return the table of the properties of a mapping."""
    rows = (
        (f"`{each.name}`", each.form.markdown, each.needed, each.help) for each in properties
    )
    return _table(("property", "value", "needed", "meaning"), rows)


def of_arguments(parser: argparse.ArgumentParser) -> str:
    """Return the table of the options of the command line."""
    rows = (
        (", ".join(f"`{name}`" for name in names_of(action)), _marked(help_of(parser, action)))
        for action in parser._actions
    )
    return _table(("option", "meaning"), rows)


def _marked(text: str) -> str:
    """Return a text in which the names of options are code."""
    return _NAME.sub(r"`\g<0>`", text)


def names_of(action: argparse.Action) -> list[str]:
    """Return the spellings of an option of the command line, each with the word for its value."""
    value = f" {action.metavar}" if action.metavar else ""
    if value and action.nargs == "?":
        value = f" [{action.metavar}]"
    return [f"{name}{value}" for name in action.option_strings]


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an option of the command line, with what its format names filled in."""
    about = {**vars(action), "prog": parser.prog, "choices": ", ".join(action.choices or ())}
    return (action.help or "") % about


def of_exit_statuses() -> str:
    """Return the table of the exit statuses."""
    rows = ((str(status), each.cause, each.meaning) for status, each in EXIT_STATUSES.items())
    return _table(("status", "name", "when"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(heads, rows))


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(heads)
    yield f"|{'---|' * len(heads)}"
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |".replace("|  |", "| |")
