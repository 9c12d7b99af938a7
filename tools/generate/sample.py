"""Make the sample config, with every option at its default, from the table of options."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from s32s_agent.config.documents import load_yaml
from s32s_agent.config.forms import BOOLEAN, unmarked
from s32s_agent.config.options import Option
from tools.generate.tables import Tables

_TOP = """\
# The config of s32s-agent: /etc/s32s-agent/config.yaml
#
# {needed} are needed. Everything else is optional, and stands here with its default.
# `s32s-agent --check` reports every mistake at once and changes nothing.
"""
_WIDTH = 100


def of_the_config(tables: Tables) -> str:
    """Return the text of the sample config."""
    top, *sections = tables.sections
    *others, last = (each.key for each in top.options if each.needed)
    parts = [_TOP.format(needed=f"{', '.join(others)} and {last}")]
    parts += ["".join(_lines(each, "")) for each in top.options]
    for section in sections:
        options = "".join(line for each in section.options for line in _lines(each, "  "))
        parts.append(f"{_comment(section.help, '')}{section.name}:\n{options}")
    return "\n".join(parts)


def _lines(option: Option, indent: str) -> Iterator[str]:
    yield _comment(option.help, indent)
    if option.form is not BOOLEAN:
        yield _comment(f"Value: {option.form.markdown}", indent)
    if option.example is not None and not option.needed:
        yield _comment(f"Example: {in_yaml(option.example)}", indent)
    value = option.example if option.needed else option.default
    yield f"{indent}{option.key}: {in_yaml(value)}\n"


def _comment(markdown: str, indent: str) -> str:
    lines = textwrap.wrap(
        unmarked(markdown), _WIDTH, break_long_words=False, break_on_hyphens=False
    )
    return "".join(f"{indent}# {line}\n" for line in lines)


def in_yaml(value: object) -> str:
    """Return a value as YAML on one line, in quotes only where it needs them."""
    if isinstance(value, list):
        return f"[{', '.join(map(in_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {in_yaml(each)}' for key, each in value.items())}}}"
    if isinstance(value, str) and load_yaml(value) == value:
        return value
    return json.dumps(value)
