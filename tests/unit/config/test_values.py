"""Reading JSON and YAML that somebody else wrote."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.config import values
from s32s_agent.config.values import Fields, Record, load_json, load_yaml, shown
from s32s_agent.text import printable


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain é 日", "plain é 日"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\x9b", "a\\x0ab\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_no_control_character_reaches_a_terminal(text: str, escaped: str) -> None:
    """Whatever is not printable is written as its escape."""
    actual = printable(text)

    assert actual == escaped


@given(st.text())
def test_everything_is_printable_afterwards(text: str) -> None:
    """The result can be printed and encoded, whatever the text."""
    actual = printable(text)

    assert actual.isprintable()
    assert actual.encode().decode() == actual


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
def test_shown(value: object, text: str) -> None:
    """A message repeats a wrong value briefly."""
    actual = shown(value)

    assert actual == text


def test_a_hostile_file_does_not_fill_the_log() -> None:
    """Only the first problems are kept, and the others counted."""
    few = values.capped(["a"] * 20)
    many = values.capped(["a"] * 25)

    assert few == ("a",) * 20
    assert many == (*["a"] * 20, "and 5 more problems")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: [1, 1.5, true, null, ~, no]", {"a": [1, 1.5, True, None, None, False]}),
        ("2024-01-31", "2024-01-31"),
        ("[1000:1000, 1:30.5]", ["1000:1000", "1:30.5"]),
        ("=", "="),
        ("{no: 1, 2: 3}", {"no": 1, "2": 3}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)
def test_yaml_values(text: str, value: object) -> None:
    """YAML gives what its author most likely meant."""
    actual = load_yaml(text)

    assert actual == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", "line 1, column 4: not valid YAML, expected no YAML aliases"),
        ("a: *x", "line 1, column 4: not valid YAML, expected no YAML aliases"),
        (
            "a: !!python/object/apply:os.system [id]",
            "line 1, column 4: not valid YAML, expected no YAML tags",
        ),
        ("<<: {a: 1}\n", ""),
        ("? [a]\n: b", "line 1, column 3: not valid YAML, expected a plain key"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not valid YAML, but found another document"),
        ("a: b: c", "line 1, column 5: not valid YAML, mapping values are not allowed here"),
        ("a: 1\nb: \x00", "line 2: not valid YAML, control characters are not allowed"),
        ("a: [" * 1000, "line 1, column 41: not valid YAML, it nests too deeply"),
        ("[" * 100_000, "line 1, column 21: not valid YAML, it nests too deeply"),
        ('"\\U99999999"', None),
        ('"\\U00110000"', None),
        ("9" * 5000, None),
        (" " * (1024 * 1024 + 1), "expected at most 1048576 characters, got 1048577"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str | None) -> None:
    """What is not plain YAML is refused, with its line where there is one."""
    if message == "":
        assert load_yaml(text) == {"<<": {"a": 1}}
        return
    with pytest.raises(ValueError, match=re.escape(message or "not valid YAML, ")):
        load_yaml(text)


def test_a_billion_laughs_are_not_laughed() -> None:
    """Aliases that multiply are refused before anything is multiplied."""
    text = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n"
        for i in range(9)
    )

    with pytest.raises(ValueError, match="expected no YAML aliases"):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not valid JSON, expecting value"),
        ("[1,\n2", "line 2, column 2: not valid JSON, expecting ',' delimiter"),
        ("[" * 100_000, "not valid JSON, it nests too deeply"),
        ("9" * 5000, "not valid JSON, Exceeds the limit"),
        (" " * (8 * 1024 * 1024 + 1), "expected at most 8388608 characters, got 8388609"),
    ],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    """What is not JSON is refused, with its line where there is one."""
    with pytest.raises(ValueError, match=re.escape(message)):
        load_json(text)


@pytest.mark.parametrize("load", [load_json, load_yaml])
def test_the_second_of_two_equal_keys_does_not_win_silently(load: object) -> None:
    """A key that is given twice is remembered by the mapping, in JSON and in YAML."""
    assert callable(load)
    value = load('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}')

    assert isinstance(value, Record)
    assert value.repeated == ("a",)
    inner = value["b"]
    assert isinstance(inner, Record)
    assert inner.repeated == ("c",)


@given(
    st.text(
        alphabet=st.characters() | st.sampled_from("{}[]:,&*!|>'\"#%@-?\n\t \\0"), max_size=60
    )
)
def test_only_value_errors_come_out(text: str) -> None:
    """Any text gives a value or a ValueError."""
    for load in (load_json, load_yaml):
        message = ""
        try:
            load(text)
        except ValueError as error:
            message = str(error)

        assert message.isprintable()


def _fields(value: object, **options: str) -> tuple[Fields, list[str]]:
    problems: list[str] = []
    return Fields(value, problems, known=("first", "second", "items"), **options), problems


def test_every_problem_is_reported_at_once() -> None:
    """One look at a mapping names all that is wrong, each with its path."""
    value = load_json(
        '{"frist": 1, "zzz": 2, "first": 3, "first": 4, "": 0, "items": ["a", 1, ""]}'
    )
    fields, problems = _fields(value, path="top", word="property")
    first = fields.take("first", values.plain_text, "default")
    second = fields.need("second", values.boolean, "true or false")
    items = fields.take_list("items", values.plain_text, "a list of words")

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
    fields, problems = _fields(
        load_json('{"first": true, "items": ["a", "b"], "second": null}')
    )
    first = fields.need("first", values.boolean, "true or false")
    items = fields.need_list("items", values.plain_text, "words")
    none = fields.take_list("absent", values.plain_text, "words")
    section = fields.section("second", ())

    assert (first, items, none, section.names()) == (True, ("a", "b"), None, ())
    assert problems == []


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_what_is_no_mapping(value: object) -> None:
    """A value that is no mapping is one problem, and has no keys."""
    fields, problems = _fields(value)

    assert fields.names() == ()
    assert problems == [f"expected a mapping, got {shown(value)}"]


def test_lists() -> None:
    """A list that is needed is reported when it is missing, no list, or empty."""
    fields, problems = _fields(load_json('{"first": "x", "second": []}'))
    for key in ("first", "second", "items"):
        fields.need_list(key, values.boolean, "a list")
    empty = fields.take_list("second", values.boolean, "a list", empty_ok=True)

    assert empty == ()
    assert problems == [
        'first: expected a list, got "x"',
        "second: expected a list, got an empty list",
        "items: missing, expected a list",
    ]


def test_a_million_unknown_keys_do_not_cost_a_million_searches() -> None:
    """Only the first unknown keys get a suggestion."""
    _, problems = _fields(Record([(f"firs{number}", 1) for number in range(1000)]))

    assert len(problems) == 1000
    assert sum("did you mean" in problem for problem in problems) == 20


def test_checks() -> None:
    """Every check says what it expected."""
    integer = values.matching("[0-9]+", "digits")
    choice = values.one_of("a", "b", "c")
    wrapped = values.text_as(int)

    assert (integer("12"), choice("b"), wrapped("7")) == ("12", "b", 7)
    assert values.optional(choice)(None) is None
    assert values.optional(choice)("a") == "a"
    for check, value, message in [
        (integer, "12x", 'expected digits, got "12x"'),
        (integer, 12, "expected digits, got 12"),
        (choice, "d", 'expected a, b or c, got "d"'),
        (choice, None, "expected a, b or c, got null"),
        (values.plain_text, "a\nb", "expected text without control characters"),
        (values.plain_text, "a\u2028b", "expected text without control characters"),
        (values.boolean, 1, "expected true or false, got 1"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            check(value)
    with pytest.raises(ValueError, match='got "x"'):
        wrapped("x")


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
