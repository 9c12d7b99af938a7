"""What may stand as a value in configs and maps: each form once, for the program, for people and for editors.

Forms of a single kind of document are elsewhere: `option_forms`, `hook_commands`, `properties`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar

from s32s_agent.config.documents import Record
from s32s_agent.config.locations import BUCKET, normal_directory, parse_location
from s32s_agent.config.values import (
    InnerProblems,
    check_each,
    expected,
    is_number,
    problems_below,
    quote,
    quote_key,
)
from s32s_agent.model import Location
from s32s_agent.text import has_control_characters

Schema = dict[str, Any]
"""JSON Schema, draft 2020-12."""
T = TypeVar("T")
E = TypeVar("E", bound=Enum)
_CONTROL = r"\x00-\x1f\x7f-\x9f"


@dataclass(frozen=True, slots=True, eq=False)
class Form(Generic[T]):
    """What may stand as a value; equal only to itself."""

    markdown: str
    """What the reference page says; messages say it after "expected"."""
    check: Callable[[object], T]
    """Returns what a value of the document stands for, or raises ValueError with a sentence."""
    schema: Schema
    """Takes all that `check` takes, and more where only arithmetic or this computer can tell."""
    is_local_path: bool = False
    """The values are local paths; those with a drive are for a master only."""

    @property
    def words(self) -> str:
        """Return the text for people without its marks."""
        return unmarked(self.markdown)


def unmarked(markdown: str) -> str:
    """Return a text without the marks of code and of emphasis."""
    return markdown.replace("`", "").replace("**", "")


def text_schema(pattern: str) -> Schema:
    """Return the schema of text that matches a regular expression as a whole."""
    return {"type": "string", "pattern": rf"^(?:{pattern})$"}


# --- words and text ---


def one_of(*choices: str) -> Form[str]:
    """Return the form of one of some words."""
    *others, last = (f"`{each}`" for each in choices)
    markdown = f"{', '.join(others)} or {last}"

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise expected(unmarked(markdown), value)
        return value

    return Form(markdown, check, {"enum": list(choices)})


def member_of(kind: type[E]) -> Form[E]:
    """Return the form of the values of an enumeration."""
    word = one_of(*(each.value for each in kind))
    return Form(word.markdown, lambda value: kind(word.check(value)), word.schema)


def matching(pattern: str, markdown: str) -> Form[str]:
    """Return the form of text that matches a regular expression as a whole."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise expected(unmarked(markdown), value)
        return value

    return Form(markdown, check, text_schema(pattern))


def _one_line(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise expected("text", value)
    if has_control_characters(value):
        raise expected("text without control characters", value)
    return value


TEXT = Form("text", _one_line, text_schema(rf"[^{_CONTROL}]+"))
"""One line that is not empty."""


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise expected("text", value)
    return value


ANY_TEXT = Form("text", _any_text, {"type": "string"})


def parsed(parse: Callable[[str], T], markdown: str, schema: Schema) -> Form[T]:
    """Return the form of one line of text that a function turns into something, or refuses with ValueError."""

    def check(value: object) -> T:
        text = _one_line(value)
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, got {quote(value)}") from error

    return Form(markdown, check, schema)


# --- truth and numbers ---


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


BOOLEAN = Form("`true` or `false`", _boolean, {"type": "boolean"})


def whole_number(low: int, high: int, what: str) -> Form[int]:
    """Return the form of a whole number from one limit to another.

    Args:
        low: the least one.
        high: the greatest one.
        what: it counts, such as "a count".
    """
    words = f"{what} from {low} to {high}"

    def check(value: object) -> int:
        if not isinstance(value, int) or not is_number(value) or not low <= value <= high:
            raise expected(words, value)
        return value

    return Form(words, check, {"type": "integer", "minimum": low, "maximum": high})


def number(low: int, high: int, what: str) -> Form[float]:
    """Return the form of a number, with or without a fraction, from one limit to another."""
    words = f"{what} from {low} to {high}"

    def check(value: object) -> float:
        if not isinstance(value, int | float) or not is_number(value):
            raise expected(words, value)
        if not low <= value <= high:
            raise expected(words, value)
        return float(value)

    return Form(words, check, {"type": "number", "minimum": low, "maximum": high})


# --- forms of forms ---


def or_null(form: Form[T]) -> Form[T | None]:
    """Return a form that takes null, too."""
    return Form(
        form.markdown,
        lambda value: None if value is None else form.check(value),
        {"anyOf": [form.schema, {"type": "null"}]},
        form.is_local_path,
    )


def list_of(item: Form[T], markdown: str, *, empty_ok: bool = False) -> Form[tuple[T, ...]]:
    """Return the form of a list; every wrong item is a problem of its own."""
    words = unmarked(markdown)

    def check(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise expected(words, value)
        if not value and not empty_ok:
            raise ValueError(f"expected {words}, got an empty list")
        return check_each(
            ((f"[{index}]", each) for index, each in enumerate(value)), item.check
        )

    schema: Schema = {"type": "array", "items": item.schema}
    if not empty_ok:
        schema["minItems"] = 1
    return Form(markdown, check, schema, item.is_local_path)


def keyed(
    item: Form[T], markdown: str, *, key: Form[str] = ANY_TEXT, word: str = "key"
) -> Form[dict[str, T]]:
    """Return the form of a mapping whose keys are free; every wrong key or value is a problem of its own."""

    def check(value: object) -> dict[str, T]:
        if not isinstance(value, Record):
            raise expected(unmarked(markdown), value)
        problems = [
            (f".{quote_key(each)}", f"{word} given more than once") for each in value.repeated
        ]
        checked: dict[str, T] = {}
        for each in value:
            try:
                checked[key.check(each)] = item.check(value[each])
            except ValueError as error:
                problems += problems_below(f".{quote_key(each)}", error)
        if problems:
            raise InnerProblems(problems)
        return checked

    schema: Schema = {"type": "object", "additionalProperties": item.schema}
    if "pattern" in key.schema:
        schema["propertyNames"] = {"pattern": key.schema["pattern"]}
    return Form(markdown, check, schema)


# --- where things are ---

DIRECTORY = replace(
    parsed(
        # Drives are judged when the role is known.
        lambda text: normal_directory(text, windows_ok=True),
        "an absolute path",
        text_schema(rf"(?:/|[A-Za-z]:[\\/])[^{_CONTROL}]*"),
    ),
    is_local_path=True,
)
LOCATION: Form[Location] = parsed(
    parse_location,
    "`bucket/prefix`",
    text_schema(rf"(?:[sS]3://)?(?:{BUCKET}|arn:aws[^{_CONTROL}]+)(?:/[^{_CONTROL}]*)?"),
)
