"""The table of options: each row is whole, and parser, schema and sample follow from it."""

from __future__ import annotations

import dataclasses

import pytest

from s32s_agent.config.config_file import parse
from s32s_agent.config.documents import load_json, load_yaml
from s32s_agent.config.forms import one_of
from s32s_agent.config.options import Option, option, section, sections_of
from s32s_agent.config.properties import PROPERTIES
from s32s_agent.config.settings import Settings, SyncSettings
from s32s_agent.errors import ConfigError
from s32s_agent.model import Mapping
from tools.generate.sample import in_yaml

OPTIONS = [each for group in sections_of(Settings) for each in group.options]
NEEDED = "role: slave\nmaps: bucket/maps\nroots: [/srv/www]\n"


def as_read(value: object) -> object:
    """Return a value as the parser of the config gets it."""
    return load_yaml(in_yaml(value))


@dataclasses.dataclass(frozen=True, slots=True)
class Sync(SyncSettings):
    """The section with one more option."""

    colour: str = option(
        "How it *looks*.", one_of("red", "blue"), default="red", example="blue"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class More(Settings):
    """The table with one more row."""

    sync: Sync = section("How mappings are carried out.", Sync)


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_a_row_is_whole(row: Option) -> None:
    """It has a help of a few sentences, and its default and example are values that it takes."""
    values = [row.example] if row.needed else [row.default, row.example]
    for value in values:
        if value is not None or row.form.schema.get("anyOf", [])[-1:] == [{"type": "null"}]:
            row.form.check(as_read(value))

    assert row.help.endswith(".")
    assert row.help.count(". ") < 3
    assert row.form.markdown


def test_the_default_of_a_row_is_the_default_of_its_field() -> None:
    """A settings class has the same defaults as a config that leaves everything out."""
    parsed = parse(NEEDED, "config.yaml")
    named = Settings(role=parsed.role, maps=parsed.maps, roots=parsed.roots)

    assert parsed == named
    for group in sections_of(Settings):
        for row in group.options:
            holder = getattr(named, group.name) if group.name else named
            if not row.needed:
                assert getattr(holder, row.key) == row.form.check(as_read(row.default))


def test_the_parser_follows_from_the_rows() -> None:
    """A new row is read, has its default, and is checked; without the row its key is unknown."""
    text = f"{NEEDED}sync: {{colour: %s}}"
    read, default = parse(text % "blue", "test", More), parse(NEEDED, "test", More)

    assert isinstance(read.sync, Sync)
    assert isinstance(default.sync, Sync)
    assert (read.sync.colour, default.sync.colour) == ("blue", "red")
    with pytest.raises(ConfigError, match=r'sync\.colour: expected red or blue, got "green"'):
        parse(text % "green", "test", More)
    with pytest.raises(ConfigError, match=r"sync\.colour: unknown key"):
        parse(text % "blue", "test")


def test_properties_are_fields_of_a_mapping() -> None:
    """Each row gives a field, and each field has its row."""
    fields = {field.name for field in dataclasses.fields(Mapping)}

    assert {each.field or each.name for each in PROPERTIES} == fields
    assert [each.name for each in PROPERTIES if not each.help.endswith(".")] == []


@pytest.mark.parametrize("value", ["0644", "644", "25%", "null", "a: b", "", "x", [["a"], []]])
def test_the_sample_writes_what_the_parser_reads(value: object) -> None:
    """A value on one line of YAML is the value again, in quotes where it needs them."""
    assert load_yaml(f"key: {in_yaml(value)}") == {"key": value}
    assert load_json('{"a": 1}') == load_yaml(in_yaml({"a": 1}))
