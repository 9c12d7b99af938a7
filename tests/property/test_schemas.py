"""The schemas for editors agree with the parsers: what the program takes is never red, what it cannot take is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from s32s_agent.config import config_file, map_file
from s32s_agent.config.documents import load_yaml
from s32s_agent.config.map_file import MapFile, MapRules
from s32s_agent.config.properties import PROPERTIES
from s32s_agent.config.settings import Settings
from s32s_agent.errors import ConfigError
from s32s_agent.model import Role

NAMES = [each.name for each in PROPERTIES]
ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "etc" / "schema"
NEEDED: dict[str, Any] = {"role": "slave", "maps": "bucket/maps", "roots": ["/srv"]}
MAPPING: dict[str, Any] = {"name": "site", "s3": "bucket/site", "slave": "/srv/site"}


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


CONFIG = validator("config.schema.json")
MAP = validator("map.schema.json")


def parser_takes(document: object) -> bool:
    try:
        config_file.parse(json.dumps(document), "test")
    except ConfigError:
        return False
    return True


def map_parser_takes(mapping: object, role: Role = Role.SLAVE) -> bool:
    rules = MapRules(role, ("/srv",), "/var/lib/s32s-agent", ())
    return not map_file.read_maps(
        [MapFile("m.json", json.dumps([mapping]).encode())], rules
    ).failures


def paths() -> list[str]:
    """Return the path of every option, and of every section."""
    found = []
    for field in dataclasses.fields(Settings):
        found.append(field.name)
        if dataclasses.is_dataclass(field.default):
            found += [
                f"{field.name}.{each.name}" for each in dataclasses.fields(field.default)
            ]
    return found


def with_option(path: str, value: object) -> dict[str, Any]:
    section, _, name = path.partition(".")
    return {**NEEDED, section: {name: value} if name else value}


WORDS = (
    *(
        "",
        " ",
        "a",
        "slave",
        "master",
        "/srv",
        "/srv/",
        "srv",
        "c:/x",
        "c:\\x",
        "c:x",
        "/a/../b",
        "~",
    ),
    *(
        "bucket/x",
        "s3://bucket/x",
        "S3://bucket",
        "bu",
        "bucket//x",
        "/bucket",
        "bucket/a b",
        "b..t/x",
    ),
    *(
        "arn:aws:s3:us-east-1:123456789012:accesspoint/ap/x",
        "a\nb",
        "a\x00",
        "\x1b",
        "é",
        "eu-west-1",
    ),
    *(
        "http://localhost:8333",
        "https://s3.example.net",
        "http://10.0.0.1",
        "https://u:p@h",
        "ftp://h",
    ),
    *(
        "25%",
        "101%",
        "12.5 %",
        "5",
        "20MB",
        "20 Mb",
        "0MB",
        "1.5GiB",
        "kB",
        "90s",
        "1h",
        "1 d",
        "0s",
        "5w",
    ),
    *(
        "0644",
        "644",
        "0999",
        "7777",
        "00644",
        "root",
        "www-data:www-data",
        "1000:1000",
        "a:b:c",
        "123456789012",
    ),
    *(
        "auto",
        "path",
        "AES256",
        "aws:kms",
        "skip",
        "follow",
        "keep",
        "info",
        "critical",
        "json",
        "journal",
    ),
    *(
        "delete",
        ".html",
        "text/html",
        "text/html; charset=utf-8",
        "a/b",
        "a//b",
        "./a",
        "a/..",
        "a/",
        "null",
    ),
)
VALUES: tuple[object, ...] = (
    *WORDS,
    *(None, True, False, 0, 1, -1, 16, 256, 257, 1.5, 10**9, 10**20),
    *(
        [],
        ["/srv"],
        ["srv"],
        [1],
        [None],
        ["a", "b"],
        [["a"]],
        [["a", ""], ["/b"]],
        [[]],
        [["./a"]],
    ),
    *(
        ["a", ["b"]],
        [["a"], "b"],
        [["a", 1]],
        ["./a"],
        ["/a", "\n"],
        [""],
        ["a/b/c", ".x"],
        ["../x"],
    ),
    *(
        {},
        {"a": 1},
        {"site": ["a"]},
        {"site": [["a"], ["b", "c"]]},
        {"site": "a"},
        {"site": [[]]},
    ),
    *(
        {".html": "text/html"},
        {"html": "text/html"},
        {".html": 1},
        {"timeout": "1m"},
        {"unknown": 1},
    ),
)
LOOSER = {
    # Which bucket and which directory a text means.
    *("maps", "roots", "state_dir", "s3.ca_bundle", "monitoring.report"),
    # What another key says: allow_http, and the encryption beside a key.
    *("s3.endpoint_url", "s3.kms_key_id"),
    # Sums and sizes that only arithmetic can judge.
    *("sync.max_bandwidth", "sync.max_delete", "sync.run_timeout", "hooks.timeout"),
    *("sync.file_mode", "sync.dir_mode"),
    # Which texts are a URL or a name for Prometheus.
    *("monitoring.metrics_file", "monitoring.ping_url"),
}
"""Options of which the schema takes more than the program."""


def disagreements() -> Iterator[tuple[str, object, bool]]:
    """Yield option, value, and whether the program takes it, wherever the schema says otherwise."""
    for path in paths():
        for value in VALUES:
            document = with_option(path, value)
            takes = parser_takes(document)
            if CONFIG.is_valid(document) != takes:
                yield path, value, takes


def test_an_editor_shows_no_right_config_as_wrong_nor_most_wrong_ones_as_right() -> None:
    """Every option with each of a hundred values: the schema is never stricter, and looser only where it must be."""
    found = list(disagreements())

    assert [(path, value) for path, value, takes in found if takes] == []
    assert [(path, value) for path, value, _ in found if path not in LOOSER] == []


@pytest.mark.parametrize("property_name", NAMES)
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
def test_an_editor_shows_no_right_map_as_wrong(property_name: str, role: Role) -> None:
    """Every property with each of the values, in both roles."""
    base = {**MAPPING, "master": "/srv/master"}
    stricter, looser = [], []
    for value in VALUES:
        mapping = {**base, property_name: value}
        takes, valid = map_parser_takes(mapping, role), MAP.is_valid([mapping])
        if takes and not valid:
            stricter.append(value)
        if valid and not takes:
            looser.append(value)

    assert stricter == []
    # What one property says about another, and what only the computer of the other role refuses.
    loose = {"name", "s3", "master", "slave", "content_types", "snapshots"}
    assert looser == [] or property_name in loose


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(("site", "a", "")), children, max_size=2)
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(paths()), JSON, max_size=4))
def test_any_config_that_parses_is_valid(options: dict[str, object]) -> None:
    """Whatever options are put together: what the program takes, the schema takes."""
    document: dict[str, Any] = dict(NEEDED)
    for path, value in options.items():
        section, _, name = path.partition(".")
        if name and isinstance(document.get(section, {}), dict):
            document[section] = {**document.get(section, {}), name: value}
        elif not name:
            document[section] = value

    assert CONFIG.is_valid(document) or not parser_takes(document)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_map_that_parses_is_valid(properties: dict[str, object]) -> None:
    """Whatever properties are put together: what the program takes, the schema takes."""
    mapping = {**MAPPING, **properties}

    assert MAP.is_valid([mapping]) or not map_parser_takes(mapping)


def test_the_samples_are_valid() -> None:
    """The files in etc are what an editor calls right."""
    sample = load_yaml((ROOT / "etc" / "config.yaml").read_text(encoding="utf-8"))
    of_maps = json.loads((ROOT / "etc" / "maps" / "sample.json").read_text(encoding="utf-8"))

    assert list(CONFIG.iter_errors(sample)) == []
    assert list(MAP.iter_errors(of_maps)) == []


def test_the_default_that_an_editor_shows_is_the_default() -> None:
    """Every option of the schema has a description, and the default of the sample config."""
    sample = load_yaml((ROOT / "etc" / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(sample, dict)
    schema = (SCHEMAS / "config.schema.json").read_text(encoding="utf-8")
    properties = json.loads(schema)["properties"]
    wrong = []
    for path in paths():
        section, _, name = path.partition(".")
        shape = properties[section]
        if name:
            shape, value = shape["properties"][name], sample[section][name]
            wrong += [] if shape["default"] == value and shape["description"] else [path]

    assert wrong == []


@pytest.mark.parametrize("key", ["role", "maps", "roots"])
def test_what_is_needed_is_needed(key: str) -> None:
    """Without one of the three keys a config is wrong, for both."""
    document = {name: value for name, value in NEEDED.items() if name != key}

    assert not CONFIG.is_valid(document)
    assert not parser_takes(document)
