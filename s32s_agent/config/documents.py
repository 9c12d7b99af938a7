"""Turn JSON and YAML text into values, within limits that no text can exceed.

Knows nothing of configs or maps and opens no file. `values` checks what comes out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from s32s_agent.text import printable

MAX_YAML_SIZE = 1024 * 1024
"""Characters. PyYAML reads about 100 KB a second."""
MAX_JSON_SIZE = 8 * 1024 * 1024
"""Characters."""
MAX_DEPTH = 20
"""Mappings and lists inside each other; the deepest that any format here needs is four."""


class Record(dict[str, object]):
    """A mapping of a document, with the keys that the document repeats."""

    def __init__(self, pairs: Sequence[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeated: tuple[str, ...] = ()
        if len(self) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.repeated = tuple(key for key, count in counts.items() if count > 1)


def load_json(text: str) -> object:
    """Read one JSON value; its objects become `Record`.

    Raises:
        ValueError: the text is too long, is not JSON, or nests too deeply.
    """
    _refuse_long(text, MAX_JSON_SIZE)
    try:
        return json.loads(text, object_pairs_hook=Record)
    except json.JSONDecodeError as error:
        fact = error.msg[:1].lower() + error.msg[1:]
        raise ValueError(
            f"line {error.lineno}, column {error.colno}: not valid JSON, {printable(fact)}",
        ) from error
    except RecursionError as error:
        raise ValueError("not valid JSON, it nests too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"not valid JSON, {printable(str(error))}") from error


def load_yaml(text: str) -> object:
    """Read one YAML document; its mappings become `Record`, and their keys are always text.

    Aliases and tags are refused: the first can blow a small text up to gigabytes, and nothing here needs the second.

    Raises:
        ValueError: the text is too long, is not YAML, nests too deeply, or uses what is refused.
    """
    _refuse_long(text, MAX_YAML_SIZE)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _value(loader, node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"line {line}: not valid YAML, control characters are not allowed",
        ) from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(_yaml_problem(error)) from error
    except (ValueError, OverflowError) as error:
        # \U99999999, or an integer of thousands of digits
        raise ValueError(f"not valid YAML, {printable(str(error))}") from error


def _refuse_long(text: str, limit: int) -> None:
    if len(text) > limit:
        raise ValueError(f"expected at most {limit} characters, got {len(text)}")


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """Return the message for a text that PyYAML or `_Loader` refuses, with its line and column."""
    mark = error.problem_mark or error.context_mark
    fact = f"not valid YAML, {printable(str(error.problem))}"
    if isinstance(error, _Refused):
        fact = str(error.problem)
    elif error.context == "while scanning an alias":
        # PyYAML expects a letter after the *, and says nothing of patterns.
        mark, fact = error.context_mark, _NO_ALIAS
    return f"line {mark.line + 1}, column {mark.column + 1}: {fact}" if mark else fact


_NO_ALIAS = "YAML aliases are not allowed; put a pattern that begins with * in quotes: '*.bmp'"
_NO_ANCHOR = "YAML anchors are not allowed; put text that begins with & in quotes"
_NO_TAG = "YAML tags are not allowed; put text that begins with ! in quotes"


class _Refused(yaml.MarkedYAMLError):
    """YAML as its standard has it, but nothing that is allowed here."""

    def __init__(self, problem: str, where: yaml.Event | yaml.Node) -> None:
        mark: Any = where.start_mark  # the stubs know marks of two kinds
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags, depth, dates and numbers to the base of sixty."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(_NO_ALIAS, event)
        if event.anchor is not None:
            raise _Refused(_NO_ANCHOR, event)
        if event.tag is not None:
            raise _Refused(_NO_TAG, event)
        if self._depth >= MAX_DEPTH:
            raise _Refused("not valid YAML, it nests too deeply", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    # YAML 1.1 reads 1000:1000 (a user and a group) and 1:30 (a time?) as numbers to the base of sixty.
    if ":" in node.value:
        return node.value
    if node.tag.endswith(":int"):
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


def _text(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    # A date is text here: no value of any format is a date, and "2024-01-31" may well be a name.
    return node.value


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)
_Loader.add_constructor("tag:yaml.org,2002:value", _text)


def _value(loader: _Loader, node: yaml.Node) -> object:
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return Record([(_key(key), _value(loader, value)) for key, value in node.value])
    value: object = loader.construct_object(node)
    return value


def _key(node: yaml.Node) -> str:
    """Return a key as it is written, so that `no:` and `1:` are the keys "no" and "1", as in JSON."""
    if not isinstance(node, yaml.ScalarNode):
        raise _Refused("not valid YAML here, expected text as the key", node)
    return str(node.value)
