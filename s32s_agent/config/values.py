"""Turn JSON and YAML text into plain values, and check them key by key.

Knows nothing of configs or maps, opens no file, and never stops at the first wrong value: `Fields` collects
the problems.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import yaml

from s32s_agent.text import has_control_characters, printable

MAX_YAML_SIZE = 1024 * 1024
"""Characters. PyYAML reads about 100 KB a second."""
MAX_JSON_SIZE = 8 * 1024 * 1024
"""Characters."""
MAX_DEPTH = 20
"""Mappings and lists inside each other; the deepest that any format here needs is four."""
MAX_PROBLEMS = 20
"""More than this helps nobody, and a hostile file must not fill the log."""
MAX_SHOWN = 80
"""Characters of a wrong value that a message repeats."""

T = TypeVar("T")
D = TypeVar("D")


def shown(value: object) -> str:
    """Write a value for a message, short and printable."""
    if isinstance(value, str):
        cut = value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "..."
        return f'"{printable(cut)}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        # Python refuses to write integers of thousands of digits, which YAML can hold.
        return str(value) if value.bit_length() <= 64 else "a huge number"  # noqa: PLR2004
    if isinstance(value, float):
        return str(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def expected(what: str, value: object) -> ValueError:
    """Make the error of a check: what it wants and what it got."""
    return ValueError(f"expected {what}, got {shown(value)}")


def capped(problems: Sequence[str]) -> tuple[str, ...]:
    """Keep the first problems and count the others."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    return (*problems[:MAX_PROBLEMS], f"and {len(problems) - MAX_PROBLEMS} more problems")


class Record(dict[str, object]):
    """A mapping of a document that remembers which of its keys were given more than once."""

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
    if len(text) > MAX_JSON_SIZE:
        raise ValueError(f"expected at most {MAX_JSON_SIZE} characters, got {len(text)}")
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
    if len(text) > MAX_YAML_SIZE:
        raise ValueError(f"expected at most {MAX_YAML_SIZE} characters, got {len(text)}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _plain(loader, node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"line {line}: not valid YAML, control characters are not allowed",
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}not valid YAML, {printable(str(error.problem))}") from error
    except (
        ValueError,
        OverflowError,
    ) as error:  # \U99999999, an integer of thousands of digits
        raise ValueError(f"not valid YAML, {printable(str(error))}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags, depth, dates and numbers to the base of sixty."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refused("expected no YAML aliases", event.start_mark)
        if event.tag is not None:
            raise _refused("expected no YAML tags", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise _refused("it nests too deeply", event.start_mark)
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


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _plain(loader: _Loader, node: yaml.Node) -> object:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return Record([(_key(key), _plain(loader, value)) for key, value in node.value])
    value: object = loader.construct_object(node)
    return value


def _key(node: yaml.Node) -> str:
    """Take a key as it is written, so that `no:` and `1:` are the keys "no" and "1", as in JSON."""
    if not isinstance(node, yaml.ScalarNode):
        raise _refused("expected a plain key", node.start_mark)
    return str(node.value)


class Fields:
    """Check one mapping of a document, key by key; what is wrong goes to `problems`, with its path.

    A check takes a value and returns what it stands for, or raises ValueError with a sentence (see `expected`).
    """

    def __init__(
        self,
        value: object,
        problems: list[str],
        *,
        path: str = "",
        known: Collection[str] | None = None,
        word: str = "key",
    ) -> None:
        self._path = path
        self._word = word
        self._values = value if isinstance(value, Record) else Record(())
        self.problems = problems
        if not isinstance(value, Record):
            self.report("", expected("a mapping", value))
        for key in self._values.repeated:
            self.report(key, f"{word} given more than once")
        if known is not None:
            self._tell_unknown(known)

    def report(self, key: str, problem: object) -> None:
        """Add a problem of a key, or of the mapping itself with ""."""
        place = ".".join(printable(part[:MAX_SHOWN]) for part in (self._path, key) if part)
        self.problems.append(f"{place}: {problem}" if place else str(problem))

    def _tell_unknown(self, known: Collection[str]) -> None:
        unknown = [key for key in self._values if key not in known]
        for number, key in enumerate(unknown):
            # Searching for a likeness costs a millisecond, and a hostile file can have a million keys.
            alike = (
                difflib.get_close_matches(key[:MAX_SHOWN], known, n=1)
                if number < MAX_PROBLEMS
                else ()
            )
            hint = "".join(f', did you mean "{name}"?' for name in alike)
            self.report(key or '""', f"unknown {self._word}{hint}")

    def names(self) -> tuple[str, ...]:
        """Return the keys that are there, in the document's order."""
        return tuple(self._values)

    def take(self, key: str, check: Callable[[object], T], default: D) -> T | D:
        """Return the checked value, or the default when the key is absent or its value is wrong."""
        if key not in self._values:
            return default
        try:
            return check(self._values[key])
        except ValueError as problem:
            self.report(key, problem)
            return default

    def need(self, key: str, check: Callable[[object], T], what: str) -> T | None:
        """Return the checked value; None is always a reported problem."""
        if key not in self._values:
            self.report(key, f"missing, expected {what}")
        return self.take(key, check, None)

    def take_list(
        self, key: str, check: Callable[[object], T], what: str, *, empty_ok: bool = False
    ) -> tuple[T, ...] | None:
        """Return the checked items, None when the key is absent or anything in it is wrong."""
        values = self.take(key, lambda value: _list(value, what, empty_ok=empty_ok), None)
        if values is None:
            return None
        before = len(self.problems)
        items = Record([(f"{key}[{number}]", item) for number, item in enumerate(values)])
        fields = Fields(items, self.problems, path=self._path)
        checked = [fields.take(name, check, None) for name in items]
        if len(self.problems) > before:
            return None
        return tuple(item for item in checked if item is not None)

    def need_list(
        self, key: str, check: Callable[[object], T], what: str
    ) -> tuple[T, ...] | None:
        """Return the checked items; None is always a reported problem."""
        if key not in self._values:
            self.report(key, f"missing, expected {what}")
        return self.take_list(key, check, what)

    def holds_mapping(self, key: str) -> bool:
        """Tell whether the value under a key is a mapping."""
        return isinstance(self._values.get(key), Record)

    def below(self, key: str) -> Fields:
        """Return the items of the list under a key, by names such as `key[0]`; empty without a list."""
        value = self._values.get(key)
        items = value if isinstance(value, list) else []
        names = Record([(f"{key}[{number}]", item) for number, item in enumerate(items)])
        return Fields(names, self.problems, path=self._path)

    def section(self, key: str, known: Collection[str] | None = None) -> Fields:
        """Return the mapping under a key; one that is absent or null is empty."""
        value = self._values.get(key)
        path = f"{self._path}.{key}" if self._path else key
        section = Record(()) if value is None else value
        return Fields(section, self.problems, path=path, known=known, word=self._word)


def _list(value: object, what: str, *, empty_ok: bool) -> list[object]:
    if not isinstance(value, list):
        raise expected(what, value)
    if not value and not empty_ok:
        raise ValueError(f"expected {what}, got an empty list")
    return value


def plain_text(value: object) -> str:
    """Check for text on one line that is not empty."""
    if not isinstance(value, str) or not value:
        raise expected("text", value)
    if has_control_characters(value):
        raise expected("text without control characters", value)
    return value


def text_as(parse: Callable[[str], T]) -> Callable[[object], T]:
    """Make a check of a function that turns text into something, or raises ValueError."""

    def check(value: object) -> T:
        text = plain_text(value)
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, got {shown(value)}") from error

    return check


def boolean(value: object) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def one_of(*choices: str) -> Callable[[object], str]:
    """Make a check for one of some words."""
    *others, last = choices

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise expected(f"{', '.join(others)} or {last}", value)
        return value

    return check


def matching(pattern: str, what: str) -> Callable[[object], str]:
    """Make a check for text that matches a regular expression as a whole."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise expected(what, value)
        return value

    return check


def optional(check: Callable[[object], T]) -> Callable[[object], T | None]:
    """Let a check accept null."""
    return lambda value: None if value is None else check(value)


def is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold; true and false are none."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 64  # noqa: PLR2004
    return isinstance(value, float) and math.isfinite(value)
