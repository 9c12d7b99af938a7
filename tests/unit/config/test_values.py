"""Checking the values of documents that other people wrote."""

from __future__ import annotations

import pytest

from s32s_agent.config import forms, values
from s32s_agent.config.documents import Record, load_json
from s32s_agent.config.values import RecordReader, quote


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("lots", '"lots"'),
        ("a" * 200, '"' + "a" * 80 + '..."'),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (1 << 200, "a huge number"),
        (0.5, "0.5"),
        (Record(()), "a mapping"),
        ([1], "a list"),
    ],
)
def test_quote(value: object, text: str) -> None:
    """A message repeats a wrong value briefly."""
    actual = quote(value)

    assert actual == text


def test_a_hostile_file_does_not_fill_the_log() -> None:
    """Only the first problems are kept, and the others counted."""
    few = values.first_problems(["a"] * 20)
    many = values.first_problems(["a"] * 25)

    assert few == ("a",) * 20
    assert many == (*["a"] * 20, "and 5 more problems")


def _reader(value: object, **options: str) -> tuple[RecordReader, list[str]]:
    problems: list[str] = []
    known = ("first", "second", "items")
    return RecordReader(value, problems, known=known, **options), problems


def test_every_problem_is_reported_at_once() -> None:
    """One look at a mapping names all that is wrong, each with its path."""
    value = load_json(
        '{"frist": 1, "zzz": 2, "first": 3, "first": 4, "": 0, "items": ["a", 1, ""]}'
    )
    words = forms.list_of(forms.TEXT, "a list of words")
    reader, problems = _reader(value, path="top", word="property")
    first = reader.read("first", forms.TEXT.check, "default")
    second = reader.require("second", forms.BOOLEAN.check, "true or false")
    items = reader.read("items", words.check, None)

    assert (first, second, items) == ("default", None, None)
    assert problems == [
        "top.first: property given more than once",
        'top.frist: unknown property, did you mean "first"?',
        "top.zzz: unknown property",
        'top."": unknown property',
        "top.first: expected text, got 4",
        "top.second: missing, expected true or false",
        "top.items[1]: expected text, got 1",
        'top.items[2]: expected text, got ""',
    ]


def test_what_is_right_is_returned() -> None:
    """Right values come back without a problem."""
    reader, problems = _reader(
        load_json('{"first": true, "items": ["a", "b"], "second": null}')
    )
    words = forms.list_of(forms.TEXT, "a list of words")
    first = reader.require("first", forms.BOOLEAN.check, "true or false")
    items = reader.require("items", words.check, words.words)
    none = reader.read("absent", words.check, None)
    section = reader.section("second", ())

    assert (first, items, none) == (True, ("a", "b"), None)
    assert ("first" in reader, "absent" in reader, "first" in section) == (True, False, False)
    assert problems == []


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_what_is_no_mapping(value: object) -> None:
    """A value that is no mapping is one problem, and has no keys."""
    reader, problems = _reader(value)

    assert "first" not in reader
    assert problems == [f"expected a mapping, got {quote(value)}"]


def test_a_million_unknown_keys_do_not_cost_a_million_searches() -> None:
    """Only the first unknown keys get a suggestion."""
    _, problems = _reader(Record([(f"firs{number}", 1) for number in range(1000)]))

    assert len(problems) == 1000
    assert sum("did you mean" in problem for problem in problems) == 20


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (1, True),
        (1.5, True),
        (True, False),
        (1 << 200, False),
        (float("nan"), False),
        (float("inf"), False),
        ("1", False),
    ],
)
def test_is_number(value: object, answer: bool) -> None:  # noqa: FBT001 - a table
    """A number is finite, of ordinary size, and no truth value."""
    actual = values.is_number(value)

    assert actual == answer
