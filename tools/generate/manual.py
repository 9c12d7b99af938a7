"""Make the manual pages from the parser of the command line and the tables of the README, in the macros of man(7)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator

from s32s_agent import __version__
from s32s_agent.arguments import make_parser
from tools.generate.readme import Block, Readme, cells_of


def of_the_command(readme: Readme) -> str:
    """Make s32s-agent(8)."""
    parser = make_parser()
    parts = [
        *_top("S32S-AGENT", 8, "s32s-agent", "keep directories equal to prefixes in S3"),
        ".SH SYNOPSIS",
        *_synopsis(readme),
        ".SH DESCRIPTION",
        *_body(_before_first_heading(readme)),
        ".SH OPTIONS",
        *_options(parser, readme),
        *_section("EXIT STATUS", readme, "Exit status"),
        *_section("HOOKS", readme, "Hooks"),
        *_section("LOG EVENTS", readme, "Log events"),
        *_section("TRASH", readme, "Trash"),
        ".SH FILES",
        *_items(
            (
                ("/etc/s32s-agent/config.yaml", "The config; see s32s-agent.yaml(5)."),
                ("/var/lib/s32s-agent", "Index, cached maps, lock, and last_run.json."),
            )
        ),
        ".SH SEE ALSO",
        ".BR s32s-agent.yaml (5)",
    ]
    return "\n".join(parts) + "\n"


def of_the_config(readme: Readme) -> str:
    """Make s32s-agent.yaml(5)."""
    name = "s32s-agent.yaml"
    parts = [
        *_top("S32S-AGENT.YAML", 5, name, "config and map files of s32s-agent"),
        ".SH DESCRIPTION",
        *_body(readme.section("Configuration")),
        *_section("MAP FILES", readme, "Map files"),
        *_section("HOOKS", readme, "Hooks"),
        *_section("RECIPES", readme, "Recipes"),
        ".SH SEE ALSO",
        ".BR s32s-agent (8)",
    ]
    return "\n".join(parts) + "\n"


def _top(title: str, number: int, name: str, purpose: str) -> Iterator[str]:
    # Without a date: a page says of which version it is, and is made again with every one.
    yield f'.TH {title} {number} "" "s32s-agent {__version__}" "s32s-agent"'
    yield ".SH NAME"
    yield rf"{_escape(name)} \- {_escape(purpose)}"


def _synopsis(readme: Readme) -> Iterator[str]:
    usage = next(block for block in readme.section("Command line") if block.kind == "code")
    yield from (".nf", *map(_escape, usage.lines), ".fi")


_NAVIGATION = re.compile(r"(?:\[[^\]]+\]\(#[^)]*\)(?: · )?)+")
"""Links to sections and nothing else: they lead nowhere in a manual page."""


def _before_first_heading(readme: Readme) -> list[Block]:
    text = readme.text.partition("\n## ")[0].partition("\n")[2]
    blocks = Readme(f"\n## Top\n{text}").section("Top")
    return [block for block in blocks if not _NAVIGATION.fullmatch(" ".join(block.lines))]


def _options(parser: argparse.ArgumentParser, readme: Readme) -> Iterator[str]:
    """Take the options from the parser, in its order, and what they mean from the README where one has its own row."""
    told: dict[str, str] = {}
    for name, cells in readme.rows("Command line").items():
        told[name.split()[0]] = cells[-1]
    for action in parser._actions:
        names = ", ".join(rf"\fB{_escape(name)}\fR" for name in action.option_strings)
        value = rf" \fI{_escape(str(action.metavar))}\fR" if action.metavar else ""
        meaning = told.get(action.option_strings[-1])
        about = {**vars(action), "prog": parser.prog}
        about["choices"] = ", ".join(action.choices or ())
        text = meaning or (action.help or "") % about
        yield from (".TP", names + value, _inline(text))


def _section(title: str, readme: Readme, heading: str) -> Iterator[str]:
    yield f".SH {title}"
    yield from _body(readme.section(heading))


def _body(blocks: Iterable[Block]) -> Iterator[str]:
    first = True
    for block in blocks:
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
        else:
            yield from _items(_tagged(cells_of(row)) for row in block.lines)
        first = block.kind == "heading"


def _tagged(cells: tuple[str, ...]) -> tuple[str, str]:
    """Make a tag of all cells of a row but the last, which is the text."""
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
