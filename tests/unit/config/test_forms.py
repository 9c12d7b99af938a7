"""What may stand as a value: every form takes what it says and says what it expected."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator

from s32s_agent.config import forms
from s32s_agent.config.documents import load_json
from s32s_agent.config.forms import Form
from s32s_agent.config.values import InnerProblems
from s32s_agent.model import Extras

DIGITS = forms.matching("[0-9]+", "`digits`")
CHOICE = forms.one_of("a", "b", "c")
NUMBERS = forms.list_of(DIGITS, "a list of `digits`")
KEYED = forms.keyed(forms.BOOLEAN, "words, each with `true` or `false`", key=DIGITS)
COUNT = forms.whole_number(1, 9, "a count")
DAYS = forms.number(0, 7, "days")


@pytest.mark.parametrize(
    ("form", "value", "result"),
    [
        (DIGITS, "12", "12"),
        (CHOICE, "b", "b"),
        (forms.parsed(int, "digits", {}), "7", 7),
        (forms.member_of(Extras), "keep", Extras.KEEP),
        (forms.or_null(CHOICE), None, None),
        (forms.or_null(CHOICE), "a", "a"),
        (COUNT, 9, 9),
        (DAYS, 0.5, 0.5),
        (DAYS, 7, 7.0),
        (NUMBERS, ["1", "2"], ("1", "2")),
        (forms.list_of(DIGITS, "digits", empty_ok=True), [], ()),
        (KEYED, load_json('{"1": true, "2": false}'), {"1": True, "2": False}),
    ],
)
def test_a_right_value_becomes_what_it_stands_for(
    form: Form[object], value: object, result: object
) -> None:
    """The check returns it, and the schema takes it."""
    assert form.check(value) == result
    assert Draft202012Validator(form.schema).is_valid(value)


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        (DIGITS, "12x", 'expected digits, got "12x"'),
        (DIGITS, 12, "expected digits, got 12"),
        (CHOICE, "d", 'expected a, b or c, got "d"'),
        (CHOICE, None, "expected a, b or c, got null"),
        (forms.TEXT, "a\nb", "expected text without control characters"),
        (forms.TEXT, "a\u2028b", "expected text without control characters"),
        (forms.BOOLEAN, 1, "expected true or false, got 1"),
        (forms.parsed(int, "digits", {}), "x", 'got "x"'),
        (COUNT, 10, "expected a count from 1 to 9, got 10"),
        (COUNT, True, "expected a count from 1 to 9, got true"),
        (DAYS, -1, "expected days from 0 to 7, got -1"),
        (DAYS, "1", 'expected days from 0 to 7, got "1"'),
        (NUMBERS, "1", 'expected a list of digits, got "1"'),
        (NUMBERS, [], "expected a list of digits, got an empty list"),
        (KEYED, [], "expected words, each with true or false, got a list"),
    ],
)
def test_the_message_for_a_wrong_value_says_what_was_expected(
    form: Form[object], value: object, message: str
) -> None:
    """The message says what was expected and what is there."""
    with pytest.raises(ValueError, match=re.escape(message)):
        form.check(value)


@pytest.mark.parametrize(
    ("form", "text", "problems"),
    [
        (
            NUMBERS,
            '["1", "x", 2]',
            [("[1]", 'expected digits, got "x"'), ("[2]", "expected digits, got 2")],
        ),
        (
            KEYED,
            '{"1": true, "1": false, "x": true, "2": 3, "": true}',
            [
                (".1", "key given more than once"),
                (".x", 'expected digits, got "x"'),
                (".2", "expected true or false, got 3"),
                ('.""', 'expected digits, got ""'),
            ],
        ),
        (
            forms.list_of(NUMBERS, "lists"),
            '[["1"], ["x"], []]',
            [
                ("[1][0]", 'expected digits, got "x"'),
                ("[2]", "expected a list of digits, got an empty list"),
            ],
        ),
    ],
)
def test_every_problem_inside_a_value_has_its_path(
    form: Form[object], text: str, problems: list[tuple[str, str]]
) -> None:
    """All that is wrong in a list or a mapping is named at once."""
    with pytest.raises(InnerProblems) as raised:
        form.check(load_json(text))

    assert list(raised.value.items) == problems
