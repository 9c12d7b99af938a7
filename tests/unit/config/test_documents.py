"""Reading JSON and YAML that other people wrote."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.config.documents import Record, load_json, load_yaml

NO_ALIAS = "YAML aliases are not allowed; put a pattern that begins with * in quotes: '*.bmp'"


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
        (
            "a: &x 1\nb: *x",
            "line 1, column 4: YAML anchors are not allowed; put text that begins with & in quotes",
        ),
        ("a: *x", f"line 1, column 4: {NO_ALIAS}"),
        ("[tmp/*, *.bmp]", f"line 1, column 9: {NO_ALIAS}"),
        ("- *__pycache__*", f"line 1, column 3: {NO_ALIAS}"),
        ("a:\n  - *", f"line 2, column 5: {NO_ALIAS}"),
        ("*.bmp: 1", f"line 1, column 1: {NO_ALIAS}"),
        (
            "a: !!python/object/apply:os.system [id]",
            "line 1, column 4: YAML tags are not allowed; put text that begins with ! in quotes",
        ),
        ("<<: {a: 1}\n", ""),
        ("? [a]\n: b", "line 1, column 3: not valid YAML here, expected text as the key"),
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

    with pytest.raises(ValueError, match="YAML anchors are not allowed"):
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
