"""Say on standard output what happens. Does nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

WORDS = {
    "maps.loaded": "{files} map file, {mappings} mapping",
    "mapping.planned": "{copies} to copy ({bytes:,} bytes), {deletes} to delete, {unchanged} unchanged",
    "entry.copied": "{key} ({size:,} bytes): {why}",
    "entry.deleted": "{key}",
    "deletes.withheld": "{count} deletes: {reason}",
    "run.finished": "{copied} copied, {deleted} deleted, {unchanged} unchanged, {seconds:.2f} s",
}
"""How events of the log are told; of the others only errors are."""
WHY = {
    "etag": "another version, though the size is the same",
    "local_changed": "somebody edited it here",
}


class NotAsTold(Exception):
    """The story claims something that did not happen."""


def paint(code: str, text: str) -> str:
    """Colour a text on a terminal that wants it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\x1b[{code}m{text}\x1b[0m"


def chapter(title: str, *text: str) -> None:
    """Begin a chapter."""
    print(f"\n\n{paint('1', title)}\n")
    say(*text)


def say(*text: str) -> None:
    """Tell some lines of the story."""
    print("".join(f"  {line}\n" for line in text), end="")


def quote(text: str) -> None:
    """Show what a program wrote, or what a file holds."""
    print("\n".join(f"    {paint('2', '|')} {line}" for line in text.splitlines()))


def command(*words: str) -> None:
    """Show a command as a user would type it."""
    print(f"\n  {paint('36', '$')} {shlex.join(words)}")


def claim(text: str, *, holds: bool) -> None:
    """Tell something that was looked up; `NotAsTold` when it is not so."""
    if not holds:
        raise NotAsTold(f"this is not so: {text}")
    print(f"  {paint('32', 'ok')}  {text}")


def in_words(event: Mapping[str, Any]) -> Iterator[str]:
    """Tell a log event in plain words, after its name, if it is worth telling."""
    name, why = event["event"], event.get("why", "")
    text = WORDS.get(name, "{error}" if "error" in event else "")
    if text:
        yield f"{name:<16} " + text.format(**{**event, "why": WHY.get(why, why)})
