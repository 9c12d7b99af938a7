"""Make the JSON Schemas of config and maps, for editors, from the settings, the parsers' own limits, and the README.

A schema never refuses what the program takes. It takes some things that the program refuses: what one key says about
another, and what only this computer knows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from s32s_agent.config import config_file, locations, map_file
from s32s_agent.config.settings import Settings, Symlinks
from s32s_agent.config.values import load_yaml
from s32s_agent.output import logs
from tools.generate.readme import Readme

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_CONTROL = r"\x00-\x1f\x7f-\x9f"
Schema = dict[str, Any]


def of_the_config(readme: Readme) -> Schema:
    """Make the schema of the config file; every key of `Settings` must have a shape here.

    Raises:
        KeyError: an option has no shape, or no row in the README.
    """
    rows = readme.rows("Configuration")
    properties = _section(Settings, "", rows)
    return {
        "$schema": _DRAFT,
        "title": "s32s-agent config",
        "type": "object",
        "properties": properties,
        "required": ["role", "maps", "roots"],
        "additionalProperties": False,
    }


def of_a_map(readme: Readme) -> Schema:
    """Make the schema of a map file; every property of a mapping must have a shape here."""
    rows = readme.rows("Map files")
    properties = {
        name: {"description": _plain(rows[name][-1]), **_MAPPING[name]}
        for name in map_file.PROPERTIES
    }
    mapping = {
        "type": "object",
        "properties": properties,
        "required": ["name", "s3"],
        "anyOf": [{"required": ["slave"]}, {"required": ["master"]}],
        "additionalProperties": False,
    }
    return {"$schema": _DRAFT, "title": "s32s-agent map", "type": "array", "items": mapping}


def _section(settings: type, path: str, rows: dict[str, tuple[str, ...]]) -> Schema:
    properties: Schema = {}
    for field in dataclasses.fields(settings):
        name = f"{path}{field.name}"
        inner = _SECTIONS.get(name)
        if inner is not None:
            properties[field.name] = {
                "type": ["object", "null"],
                "properties": _section(inner, f"{name}.", rows),
                "additionalProperties": False,
            }
            continue
        default, meaning = rows[name]
        said = {} if default == "needed" else {"default": load_yaml(default.strip("`"))}
        properties[field.name] = {"description": _plain(meaning), **said, **_SHAPES[name]}
    return properties


_SECTIONS = {
    field.name: type(field.default)
    for field in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(field.default)
}


def _plain(text: str) -> str:
    return text.replace("`", "").replace("**", "")


# --- shapes ---


def _matches(pattern: str) -> Schema:
    return {"type": "string", "pattern": rf"^(?:{pattern})$"}


def _or_null(shape: Schema) -> Schema:
    return {"anyOf": [shape, {"type": "null"}]}


def _one_of(*words: str) -> Schema:
    return {"enum": list(words)}


_BOOLEAN = {"type": "boolean"}
_TEXT = _matches(rf"[^{_CONTROL}]+")
_DIRECTORY = _matches(rf"(?:/|[A-Za-z]:[\\/])[^{_CONTROL}]*")
_PLACE = rf"(?:[sS]3://)?(?:{locations.BUCKET}|arn:aws[^{_CONTROL}]+)(?:/[^{_CONTROL}]*)?"
_LOCATION = _matches(_PLACE)
_SECONDS = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": int(config_file.MAX_SECONDS)},
        _matches(config_file.DURATION),
    ]
}
_BANDWIDTH = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": config_file.MAX_BANDWIDTH},
        _matches(config_file.SIZE),
    ]
}
_MAX_DELETE = {"anyOf": [{"type": "integer", "minimum": 0}, _matches(config_file.PERCENT)]}
_DAYS = {"type": "number", "minimum": 0, "maximum": config_file.MAX_DAYS}
_MODE = _matches(config_file.PERMISSIONS)
_COMMAND = {
    "type": "array",
    "items": {"type": "string"},
    "prefixItems": [_matches(config_file.PROGRAM)],
}
_COMMANDS = {
    "anyOf": [_COMMAND, {"type": "array", "items": {**_COMMAND, "minItems": 1}}],
}
_SHAPES: dict[str, Schema] = {
    "role": _one_of("slave", "master"),
    "maps": _LOCATION,
    "roots": {"type": "array", "items": _DIRECTORY, "minItems": 1},
    "state_dir": _DIRECTORY,
    "s3.profile": _or_null(_TEXT),
    "s3.region": _or_null(_matches(config_file.REGION)),
    "s3.endpoint_url": _or_null(_matches(locations.URL)),
    "s3.allow_http": _BOOLEAN,
    "s3.addressing_style": _one_of("auto", "path", "virtual"),
    "s3.ca_bundle": _or_null(_DIRECTORY),
    "s3.requester_pays": _BOOLEAN,
    "s3.expected_bucket_owner": _or_null(_matches(config_file.ACCOUNT)),
    "s3.server_side_encryption": _or_null(_one_of("AES256", "aws:kms")),
    "s3.kms_key_id": _or_null(_TEXT),
    "sync.workers": {"type": "integer", "minimum": 1, "maximum": config_file.MAX_WORKERS},
    "sync.max_bandwidth": _or_null(_BANDWIDTH),
    "sync.max_delete": _MAX_DELETE,
    "sync.allow_empty_source": _BOOLEAN,
    "sync.durable": _BOOLEAN,
    "sync.trash_days": _DAYS,
    "sync.file_mode": _MODE,
    "sync.dir_mode": _MODE,
    "sync.owner": _or_null(_matches(config_file.OWNER)),
    "sync.symlinks": _one_of(*(each.value for each in Symlinks)),
    "sync.run_timeout": _or_null(_SECONDS),
    "log.level": _one_of(*list(logs.LEVELS)[:-1]),
    "log.format": _one_of(*logs.FORMATS),
    "monitoring.metrics_file": _or_null(_TEXT),
    "monitoring.ping_url": _or_null(_TEXT),
    "monitoring.report": _or_null(_LOCATION),
    "hooks.before": _COMMANDS,
    "hooks.on_change": {
        "anyOf": [*_COMMANDS["anyOf"], {"type": "object", "additionalProperties": _COMMANDS}]
    },
    "hooks.after": _COMMANDS,
    "hooks.on_failure": _COMMANDS,
    "hooks.timeout": _SECONDS,
}
_ANY_TEXT = {"type": "string"}
_MAPPING: dict[str, Schema] = {
    "name": {**_TEXT, "maxLength": map_file.MAX_NAME},
    "description": _ANY_TEXT,
    "s3": _LOCATION,
    # What the other role's directory is, nobody checks.
    "master": _ANY_TEXT,
    "slave": _ANY_TEXT,
    "files": {
        "type": "array",
        "items": _matches(r"(?!(?:[\s\S]*/)?\.{0,2}(?:/|$))[^\x00]+"),
        "minItems": 1,
    },
    "ignore": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "extras": _one_of("delete", "keep"),
    "content_types": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": r"^\.[^/]*$"},
        "additionalProperties": _matches(map_file.MEDIA_TYPE),
    },
    "cache_control": _matches(map_file.HEADER),
    "storage_class": _matches(map_file.HEADER),
}
