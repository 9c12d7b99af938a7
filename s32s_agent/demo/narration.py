"""Write the narration of the demo to standard output. Does nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from s32s_agent.output.terminal import BOLD, CYAN, DIM, GREEN, paint, wants_colours

SENTENCES = {
    "maps.loaded": "{files} map file, {mappings} mapping",
    "mapping.planned": "{copies} to copy ({bytes:,} bytes), {deletes} to delete, {unchanged} unchanged",
    "entry.copied": "{key} ({size:,} bytes): {why}",
    "entry.deleted": "{key}",
    "deletes.withheld": "{count} deletes: {reason}",
    "snapshot.published": "{snapshot}, channel {channel}, number {sequence}: {objects} objects, {bytes:,} bytes",
    "snapshot.followed": "{snapshot}, channel {channel}, number {sequence}",
    "run.finished": "{copied} copied, {deleted} deleted, {unchanged} unchanged, {seconds:.2f} s",
}
"""How log events are shown; of all others only errors are."""
WHY = {
    "etag": "another version, though the size is the same",
    "local_changed": "it was edited here",
}


class ClaimFailed(Exception):
    """The narration claims something that is not true."""


def _painted(code: str, text: str) -> str:
    return paint(code, text, colours=wants_colours(sys.stdout, os.environ))


def chapter(title: str, *text: str) -> None:
    """Write the title of a chapter, and its first lines."""
    print(f"\n\n{_painted(BOLD, title)}\n")
    say(*text)


def say(*text: str) -> None:
    """Write some lines of the narration."""
    print("".join(f"  {line}\n" for line in text), end="")


def quote(text: str) -> None:
    """Write what a program wrote, or what a file holds."""
    print("\n".join(f"    {_painted(DIM, '|')} {line}" for line in text.splitlines()))


def command(*words: str) -> None:
    """Write a command as a user would type it."""
    print(f"\n  {_painted(CYAN, '$')} {shlex.join(words)}")


def check(text: str, *, holds: bool) -> None:
    """Write a claim that was checked.

    Raises:
        ClaimFailed: it does not hold.
    """
    if not holds:
        raise ClaimFailed(f"this is not true: {text}")
    print(f"  {_painted(GREEN, 'ok')}  {text}")


def in_words(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield a log event as a line: its name, and a sentence; nothing for events that are not shown."""
    name, why = event["event"], event.get("why", "")
    text = SENTENCES.get(name, "{error}" if "error" in event else "")
    if text:
        yield f"{name:<16} " + text.format(**{**event, "why": WHY.get(why, why)})
