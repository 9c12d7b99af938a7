"""Make the manual pages from the tables of the code and from the documents, in the macros of man(7)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping

from s32s_agent import __version__
from s32s_agent.config.options import Option
from tools.generate.markdown import Block, below_title, blocks_of, cells_of, section_of
from tools.generate.pages import default_of, help_of, meaning_of, names_of, statuses
from tools.generate.tables import Tables

Documents = Mapping[str, str]
"""The texts of the documents, by their paths below the top of the source."""
_FILES = (
    ("/etc/s32s-agent/config.yaml", "The config; see s32s-agent.yaml(5)."),
    ("/var/lib/s32s-agent", "Index, cached maps, lock, and last_run.json."),
)


def of_the_command(documents: Documents, tables: Tables) -> str:
    """Return s32s-agent(8)."""
    about = documents["README.md"].partition("\n## ")[0]
    parts = [
        *_top("S32S-AGENT", 8, "s32s-agent", "keep directories equal to prefixes in S3"),
        ".SH SYNOPSIS",
        *_synopsis(documents["docs/reference/cli.md"]),
        ".SH DESCRIPTION",
        *_body(below_title(about), tables),
        ".SH OPTIONS",
        *_items(_arguments(tables.parser)),
        *_page("EXIT STATUS", documents["docs/reference/exit-status.md"], tables),
        *_page("HOOKS", documents["docs/use/hooks.md"], tables),
        *_page("LOG EVENTS", documents["docs/reference/log-events.md"], tables),
        ".SH TRASH",
        *_body(section_of(documents["docs/understand/how-it-works.md"], "Trash"), tables),
        ".SH FILES",
        *_items(_FILES),
        ".SH SEE ALSO",
        ".BR s32s-agent.yaml (5)",
    ]
    return "\n".join(parts) + "\n"


def of_the_config(documents: Documents, tables: Tables) -> str:
    """Return s32s-agent.yaml(5)."""
    name = "s32s-agent.yaml"
    parts = [
        *_top("S32S-AGENT.YAML", 5, name, "config and map files of s32s-agent"),
        *_page("DESCRIPTION", documents["docs/use/configuration.md"], tables),
        *_page("MAP FILES", documents["docs/use/maps.md"], tables),
        *_page("HOOKS", documents["docs/use/hooks.md"], tables),
        *_page("RECIPES", documents["docs/use/recipes.md"], tables),
        ".SH SEE ALSO",
        ".BR s32s-agent (8)",
    ]
    return "\n".join(parts) + "\n"


def _top(title: str, number: int, name: str, purpose: str) -> Iterator[str]:
    # Without a date: a page says of which version it is, and is made again with every one.
    yield f'.TH {title} {number} "" "s32s-agent {__version__}" "s32s-agent"'
    # Long paths and URLs leave holes in lines that are set to full width.
    yield ".ad l"
    yield ".SH NAME"
    yield rf"{_escape(name)} \- {_escape(purpose)}"


def _synopsis(page: str) -> Iterator[str]:
    usage = next(block for block in blocks_of(page) if block.kind == "code")
    yield from (".nf", *map(_escape, usage.lines), ".fi")


def _page(title: str, text: str, tables: Tables) -> Iterator[str]:
    yield f".SH {title}"
    yield from _body(below_title(text), tables)


# --- from the tables of the code ---


def _generated(name: str, tables: Tables) -> Iterator[str]:
    """Return what a generated block of a document becomes.

    Raises:
        KeyError: no manual page knows the block.
    """
    if name == "options":
        yield from _config(tables)
        return
    lists = {"properties": _properties(tables), "statuses": _statuses()}
    yield from _items(lists[name])


def _config(tables: Tables) -> Iterator[str]:
    for section in tables.sections:
        if section.name:
            yield from (f".SS {_escape(section.name)}", _inline(section.help))
        yield from _items(map(_option, section.options))


def _option(option: Option) -> tuple[str, str]:
    default = "Needed." if option.needed else f"Default: {default_of(option)}."
    return f"`{option.name}`", f"{meaning_of(option)} Value: {option.form.markdown}. {default}"


def _properties(tables: Tables) -> Iterator[tuple[str, str]]:
    for each in tables.properties:
        needed = f" Needed: {each.needed}." if each.needed_in else ""
        yield f"`{each.name}`", f"{each.help} Value: {each.form.markdown}.{needed}"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        names = (
            f"`{name}` *{value}*" if value else f"`{name}`" for name, value in names_of(action)
        )
        yield ", ".join(names), help_of(parser, action)


def _statuses() -> Iterator[tuple[str, str]]:
    for numbers, each in statuses():
        yield f"{numbers} ({each.cause})" if each.cause else numbers, each.meaning


# --- from Markdown to roff ---


def _body(markdown: str, tables: Tables) -> Iterator[str]:
    first = True
    for block in blocks_of(markdown):
        yield from _block(block, tables, first=first)
        first = block.kind == "heading"


def _block(block: Block, tables: Tables, *, first: bool) -> Iterator[str]:
    if block.kind == "text":
        yield from (() if first else (".PP",))
        yield from map(_inline, block.lines)
    elif block.kind == "heading":
        yield f".SS {_inline(block.lines[0])}"
    elif block.kind == "list":
        for point in block.lines:
            yield from (r".IP \(bu 2", _inline(point))
    elif block.kind == "code":
        yield from (".PP", ".RS 4", ".nf", *map(_escape, block.lines), ".fi", ".RE")
    elif block.kind == "table":
        yield from _items(_tagged(cells_of(row)) for row in block.lines)
    else:
        yield from _generated(block.lines[0], tables)


def _tagged(cells: tuple[str, ...]) -> tuple[str, str]:
    """Return all cells of a row but the last as a tag, and the last as the text."""
    tag, *facts, text = cells
    return tag + "".join(f" ({fact})" for fact in facts if fact), text


def _items(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for tag, text in pairs:
        yield from (".TP", _inline(tag))
        yield _inline(text) if text else r"\&"


def _escape(text: str) -> str:
    """Write text so that roff prints it as it is: a line that begins with a dot is no request."""
    escaped = (
        text.replace("\\", r"\e")
        .replace("-", r"\-")
        .replace("^", r"\(ha")
        .replace("~", r"\(ti")
    )
    escaped = escaped.replace("`", r"\(ga").replace("'", r"\(aq").replace('"', r"\(dq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


_MARK = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|\[([^\]]+)\]\([^)]*\)")


def _inline(text: str) -> str:
    """Turn what Markdown marks inside a line into fonts."""
    parts, end = [], 0
    for match in _MARK.finditer(text):
        code, strong, emphasis, link = match.groups()
        parts.append(_escape(text[end : match.start()]))
        if link is not None:
            parts.append(_inline(link))
        elif emphasis is not None:
            parts.append(rf"\fI{_inline(emphasis)}\fR")
        else:
            bold = _escape(code) if code is not None else _inline(strong)
            parts.append(rf"\fB{bold}\fR")
        end = match.end()
    parts.append(_escape(text[end:]))
    return "".join(parts)
