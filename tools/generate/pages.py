"""Fill the generated blocks of the reference pages, in Markdown, from the tables of the code."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from s32s_agent.config.options import Option
from s32s_agent.errors import EXIT_STATUSES, ExitStatus
from tools.documents import filled
from tools.generate.sample import in_yaml
from tools.generate.tables import Tables

_NAME = re.compile(
    r"(?<![\w/])--[a-z]+(?:-[a-z]+)*|\b(?:s3|sync|log|monitoring|hooks)\.[a-z_]+"
)


def of_the_reference(documents: Mapping[str, str], tables: Tables) -> dict[str, str]:
    """Return the pages that have generated blocks, with their new content.

    Args:
        documents: the texts of the documents, by their paths below the top of the source.
        tables: what the blocks follow from.
    """
    blocks = {
        "docs/use/configuration.md": ("options", _options(tables)),
        "docs/use/maps.md": ("properties", _properties(tables)),
        "docs/reference/cli.md": ("arguments", _arguments(tables.parser)),
        "docs/reference/exit-status.md": ("statuses", _statuses()),
        "README.md": ("statuses", _statuses()),
    }
    return {
        page: filled(documents[page], name, content)
        for page, (name, content) in blocks.items()
    }


def _options(tables: Tables) -> str:
    """Return a table for each section of the config, below a heading of its own."""
    return "\n\n".join(
        _below_heading(section.name, section.help, map(_option_cells, section.options))
        for section in tables.sections
    )


def _below_heading(name: str, about: str, rows: Iterable[Sequence[str]]) -> str:
    table = _table(("option", "value", "default", "meaning"), rows)
    return f"## {name}\n\n{about}\n\n{table}" if name else table


def _option_cells(option: Option) -> tuple[str, ...]:
    return f"`{option.name}`", option.form.markdown, default_of(option), meaning_of(option)


def default_of(option: Option) -> str:
    """Return the default of an option, as the config file would write it."""
    return "needed" if option.needed else f"`{in_yaml(option.default)}`"


def meaning_of(option: Option) -> str:
    """Return help and example of an option as one paragraph."""
    if option.example is None or "enum" in option.form.schema:
        return option.help
    return f"{option.help} For example `{in_yaml(option.example)}`."


def _properties(tables: Tables) -> str:
    rows = (
        (f"`{each.name}`", each.form.markdown, each.needed, each.help)
        for each in tables.properties
    )
    return _table(("property", "value", "needed", "meaning"), rows)


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = (
        (
            ", ".join(f"`{f'{name} {value}'.rstrip()}`" for name, value in names_of(action)),
            _NAME.sub(r"`\g<0>`", help_of(parser, action)),
        )
        for action in parser._actions
    )
    return _table(("option", "meaning"), rows)


def names_of(action: argparse.Action) -> list[tuple[str, str]]:
    """Return the spellings of an option of the command line, each with the word for its value."""
    value = str(action.metavar or "")
    return [
        (name, f"[{value}]" if action.nargs == "?" else value)
        for name in action.option_strings
    ]


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an option of the command line, with what its format names filled in."""
    about = {**vars(action), "prog": parser.prog, "choices": ", ".join(action.choices or ())}
    return (action.help or "") % about


def statuses() -> Iterator[tuple[str, ExitStatus]]:
    """Yield the exit statuses, those with one meaning together."""
    for each, group in groupby(EXIT_STATUSES.items(), key=lambda pair: pair[1]):
        yield ", ".join(str(status) for status, _ in group), each


def _statuses() -> str:
    rows = ((numbers, each.cause, each.meaning) for numbers, each in statuses())
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
