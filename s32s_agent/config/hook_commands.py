"""The commands of `hooks`, as values, and how the config writes them: always as lists of words, never for a shell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from s32s_agent.config.documents import Record
from s32s_agent.config.forms import Form, Schema, keyed, list_of, text_schema
from s32s_agent.config.values import InnerProblems, check_each, expected

Command = tuple[str, ...]
"""A program and its arguments; no shell reads them."""


@dataclass(frozen=True, slots=True)
class OnChange:
    """What runs after files were changed; one of the two is empty."""

    of_all: tuple[Command, ...] = ()
    """Once a run, whichever mappings changed."""
    by_mapping: dict[str, tuple[Command, ...]] = field(default_factory=dict)
    """Once for each of these mappings that changed."""

    def of(self, mapping: str) -> tuple[Command, ...]:
        """Return the commands that a change in a mapping calls for."""
        return self.of_all or self.by_mapping.get(mapping, ())


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise expected("text, in quotes where YAML reads it as something else", value)
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise expected("text that can be a program's argument", value)
    return value


_PROGRAM = r"/[\s\S]+|[^/]+"
_WORDS = list_of(Form("text", _word, {"type": "string"}), "a program and its arguments")


def _command(value: object) -> Command:
    words = _WORDS.check(value)
    if not re.fullmatch(_PROGRAM, words[0]):
        problem = expected("an absolute path, or a name without slashes", words[0])
        raise InnerProblems([("[0]", str(problem))])
    return words


_COMMAND_SCHEMA: Schema = {
    "type": "array",
    "items": {"type": "string"},
    "prefixItems": [text_schema(_PROGRAM)],
}
_LISTS = "a list of words such as [/usr/bin/logger, changed], or a list of such lists"


def _commands(value: object) -> tuple[Command, ...]:
    kinds = {isinstance(each, list) for each in value} if isinstance(value, list) else {None}
    if not isinstance(value, list) or len(kinds) > 1:
        raise expected(_LISTS, value)
    if kinds == {False}:
        return (_command(value),)
    return check_each(((f"[{index}]", each) for index, each in enumerate(value)), _command)


COMMANDS: Form[tuple[Command, ...]] = Form(
    "a command, or a list of commands",
    _commands,
    {
        "anyOf": [
            _COMMAND_SCHEMA,
            {"type": "array", "items": {**_COMMAND_SCHEMA, "minItems": 1}},
        ]
    },
)
"""One command, or a list of them; none are an empty list."""
_BY_MAPPING = keyed(COMMANDS, "names of mappings, each with its commands")


def _on_change(value: object) -> OnChange:
    if isinstance(value, Record):
        return OnChange(by_mapping=_BY_MAPPING.check(value))
    return OnChange(of_all=_commands(value))


ON_CHANGE = Form(
    "a command, a list of commands, or names of mappings, each with its commands",
    _on_change,
    {"anyOf": [*COMMANDS.schema["anyOf"], _BY_MAPPING.schema]},
)
