"""Check the values of a document that other people wrote, key by key, and report everything that is wrong.

Knows nothing of configs or maps, and never stops at the first wrong value. A *check* is a function that takes a value
of a document and returns what it stands for, or raises ValueError with a sentence such as `expected` makes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from s32s_agent.config.documents import Record
from s32s_agent.text import printable

MAX_PROBLEMS = 20
"""More are no help, and a hostile file must not fill the log."""
MAX_QUOTED = 80
"""Characters of a wrong value that a message repeats."""

T = TypeVar("T")
D = TypeVar("D")


def quote(value: object) -> str:
    """Return a value as a message repeats it, short and printable."""
    if isinstance(value, str):
        cut = value if len(value) <= MAX_QUOTED else value[:MAX_QUOTED] + "..."
        return f'"{printable(cut)}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        # Python refuses to write integers of thousands of digits, which YAML can hold.
        return str(value) if value.bit_length() <= 64 else "a huge number"  # noqa: PLR2004
    if isinstance(value, float):
        return str(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def quote_key(key: str) -> str:
    """Return a key as a part of a path, short and printable."""
    return printable(key[:MAX_QUOTED]) or '""'


def expected(what: str, value: object) -> ValueError:
    """Return the error of a check: what it expects and what it got."""
    return ValueError(f"expected {what}, got {quote(value)}")


def first_problems(problems: Sequence[str]) -> tuple[str, ...]:
    """Return the first problems and, as the last one, the number of the others."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    return (*problems[:MAX_PROBLEMS], f"and {len(problems) - MAX_PROBLEMS} more problems")


class InnerProblems(ValueError):
    """What is wrong inside one value.

    Args:
        items: of every problem its path below the value, such as `[0]` or `.name`, and its sentence.
    """

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {sentence}" for path, sentence in items))
        self.items = tuple(items)


def problems_below(path: str, error: ValueError) -> list[tuple[str, str]]:
    """Return the problems that an error of a check carries, each with its whole path."""
    inner = error.items if isinstance(error, InnerProblems) else (("", str(error)),)
    return [(path + below, sentence) for below, sentence in inner]


def check_each(
    values: Iterable[tuple[str, object]], check: Callable[[object], T]
) -> tuple[T, ...]:
    """Return the checked values.

    Args:
        values: each with its path, such as `[0]`.
        check: for every one of them.

    Raises:
        InnerProblems: with everything that is wrong.
    """
    checked: list[T] = []
    problems: list[tuple[str, str]] = []
    for path, value in values:
        try:
            checked.append(check(value))
        except ValueError as error:
            problems += problems_below(path, error)
    if problems:
        raise InnerProblems(problems)
    return tuple(checked)


class RecordReader:
    """Read one mapping of a document, key by key; what is wrong goes to `problems`, with its path.

    Args:
        value: of the document; anything but a `Record` is a problem, and has no keys.
        problems: receives one sentence for each problem.
        path: of the value in the document.
        known: the keys that may be there; None is any.
        word: what messages call a key.
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
        self._problems = problems
        if not isinstance(value, Record):
            self.report("", expected("a mapping", value))
        for key in self._values.repeated:
            self.report(key, f"{word} given more than once")
        if known is not None:
            self._report_unknown(known)

    def report(self, path: str, problem: object, below: str = "") -> None:
        """Add a problem.

        Args:
            path: a key, or several with dots between them, or "" for the mapping itself.
            problem: its sentence.
            below: the path inside the value under the key, printable.
        """
        place = ".".join(printable(part[:MAX_QUOTED]) for part in (self._path, path) if part)
        self._problems.append(f"{place}{below}: {problem}" if place else str(problem))

    def _report_unknown(self, known: Collection[str]) -> None:
        unknown = [key for key in self._values if key not in known]
        for number, key in enumerate(unknown):
            # A search for a similar name costs a millisecond, and a hostile file can have a million keys.
            similar = (
                difflib.get_close_matches(key[:MAX_QUOTED], known, n=1)
                if number < MAX_PROBLEMS
                else ()
            )
            hint = "".join(f', did you mean "{name}"?' for name in similar)
            self.report(key or '""', f"unknown {self._word}{hint}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def read(self, key: str, check: Callable[[object], T], default: D) -> T | D:
        """Return the checked value, or the default when the key is absent or its value is wrong."""
        if key not in self._values:
            return default
        try:
            return check(self._values[key])
        except ValueError as error:
            for below, sentence in problems_below("", error):
                self.report(key, sentence, below)
            return default

    def require(self, key: str, check: Callable[[object], T], what: str) -> T | None:
        """Return the checked value; None is always a reported problem."""
        if key not in self._values:
            self.report(key, f"missing, expected {what}")
        return self.read(key, check, None)

    def section(self, key: str, known: Collection[str]) -> RecordReader:
        """Return the reader of the mapping under a key; one that is absent or null is empty."""
        value = self._values.get(key)
        path = f"{self._path}.{key}" if self._path else key
        section = Record(()) if value is None else value
        return RecordReader(section, self._problems, path=path, known=known, word=self._word)


def is_number(value: object) -> bool:
    """Return whether a value is a number that a float can hold; true and false are none."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 64  # noqa: PLR2004
    return isinstance(value, float) and math.isfinite(value)
