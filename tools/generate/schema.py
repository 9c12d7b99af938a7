"""Make the JSON Schemas of config and maps, for editors, from the tables of options and properties.

A schema never refuses what the program takes. It takes some things that the program refuses: what one key says about
another, and what only this computer knows.
"""

from __future__ import annotations

from s32s_agent.config.forms import Schema, unmarked
from s32s_agent.config.options import Option
from s32s_agent.model import Role
from tools.generate.tables import Tables

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def of_the_config(tables: Tables) -> Schema:
    """Return the schema of the config file."""
    top, *sections = tables.sections
    properties = {each.key: _option(each) for each in top.options}
    for section in sections:
        properties[section.name] = {
            "description": unmarked(section.help),
            "type": ["object", "null"],
            "properties": {each.key: _option(each) for each in section.options},
            "additionalProperties": False,
        }
    return {
        "$schema": _DRAFT,
        "title": "s32s-agent config",
        "type": "object",
        "properties": properties,
        "required": [each.key for each in top.options if each.needed],
        "additionalProperties": False,
    }


def _option(option: Option) -> Schema:
    default = {} if option.needed else {"default": option.default}
    examples = {} if option.example is None else {"examples": [option.example]}
    return {"description": unmarked(option.help), **default, **examples, **option.form.schema}


def of_a_map(tables: Tables) -> Schema:
    """Return the schema of a map file."""
    mapping = {
        "type": "object",
        "properties": {
            each.name: {"description": unmarked(each.help), **each.form.schema}
            for each in tables.properties
        },
        "required": [each.name for each in tables.properties if each.needed_in == tuple(Role)],
        "anyOf": [{"required": ["slave"]}, {"required": ["master"]}],
        "additionalProperties": False,
    }
    return {"$schema": _DRAFT, "title": "s32s-agent map", "type": "array", "items": mapping}
