"""S3 keys as relative paths: which of them a file system can hold, and which of them a mapping concerns.

This is the security boundary: a key that `unmappable` accepts names a file below the mapping's
directory and nothing else. Keys are refused or taken as they are, never repaired: two keys
must not become one path. Pure: nothing here touches a disk or a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

TRASH = ".s32s"
"""The agent's own directory at the top of a local directory."""
PROBES = f"{TRASH}/probe-"
"""How the keys of the objects begin with which a master tries out a store; they are not there for long."""
TEMPORARY = ".s32s-tmp."
"""How the names of files begin that are still being written."""

_NAME_BYTES = 255
"""NAME_MAX of every Linux file system in use but eCryptfs."""
KEY_BYTES = 1024
"""The longest key of S3, its prefix included."""

_NFS_LEFTOVER = re.compile(r"\.nfs[0-9a-fA-F]{8,}")
_SUSPECT = re.compile(
    r"(?:^|/)(?:\.{0,2}/|\.{1,2}$|\.s32s|\.nfs|lost\+found/)|\x00|[\ud800-\udfff\ufffd]"
)
"""A cheap test that every harmless key fails."""


def unmappable(key: str) -> str | None:
    """Return why no file below a directory can have this key, or None when one can.

    A directory's key ends in `/`; "" is the directory of the mapping itself.
    """
    if len(key) < _NAME_BYTES // 4 and not _SUSPECT.search(key):
        return None
    return next(_objections(key), None)


def _objections(key: str) -> Iterator[str]:
    if "\x00" in key:
        yield "a file name cannot hold NUL"
    if "\ufffd" in key:
        yield "the name is not valid UTF-8, so it cannot be distinguished from others"
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        yield "the name is not valid UTF-8"
        return
    if len(encoded) > KEY_BYTES:
        yield f"{len(encoded)} bytes are more than the {KEY_BYTES} of S3"
    parts = key.removesuffix("/").split("/")
    yield from _part_objections(parts, encoded)


def _part_objections(parts: list[str], encoded: bytes) -> Iterator[str]:
    if encoded and "" in parts:
        yield "an empty part (`//` or a leading `/`) names no file"
    if "." in parts or ".." in parts:
        yield "`.` and `..` are not names of files"
    if parts[0] == TRASH or any(part.startswith(TEMPORARY) for part in parts):
        yield f"`{TRASH}` and `{TEMPORARY}*` are the agent's own names"
    if parts[0] == "lost+found" or _NFS_LEFTOVER.fullmatch(parts[-1]):
        yield "`lost+found` and `.nfs*` belong to the file system"
    longest = max(len(part) for part in encoded.split(b"/"))
    if longest > _NAME_BYTES:
        yield f"a part of {longest} bytes is more than the {_NAME_BYTES} of a file name"


def names_no_directory(key: str) -> bool:
    """Return whether a directory's key has an empty part, as `/` and `a//` have: no directory can have that name.

    s3fs 1.95 writes an object `/` when a directory is copied into a mounted bucket.
    """
    return key.endswith("/") and "" in key[:-1].split("/")


def is_left_alone(name: str, *, at_the_top: bool) -> bool:
    """Return whether something in a local tree is neither mirrored nor removed.

    The agent's own directory, what a file system keeps for its repair, and an NFS client's name for a file that is
    removed but still open.

    Args:
        name: one part of a key, a directory's with its slash.
        at_the_top: it lies in the mapping's directory itself.
    """
    if at_the_top and name in (f"{TRASH}/", "lost+found/"):
        return True
    return _NFS_LEFTOVER.fullmatch(name) is not None


def is_no_text(key: str) -> bool:
    """Return whether a local name is not valid UTF-8, so that no key in S3 can name it."""
    return any("\ud800" <= character <= "\udfff" for character in key)


def ancestors(key: str) -> Iterator[str]:
    """Yield the keys of the directories above a key, outermost first, each with its slash."""
    position = key.find("/")
    while -1 < position < len(key) - 1:
        yield key[: position + 1]
        position = key.find("/", position + 1)


def parent(key: str) -> str:
    """Return the key of the directory that holds a key; "" is the top."""
    return key[: key.removesuffix("/").rfind("/") + 1]


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Compile wildcard patterns over whole keys into one predicate.

    `*` stands for any characters, `/` too; every other character stands for itself. A pattern that matches a
    directory, with or without the slash at its end, covers everything below it. Matching never backtracks, whatever
    the pattern, since patterns come from a bucket.
    """
    split = tuple(tuple(pattern.split("*")) for pattern in patterns)
    if not split:
        return lambda _key: False
    return lambda key: any(_covers(parts, key) for parts in split)


def _covers(parts: tuple[str, ...], key: str) -> bool:
    """Return whether a pattern, split at its `*`, matches a key or a directory above it."""
    first, last = parts[0], parts[-1]
    position = len(first)
    if not key.startswith(first):
        return False
    if len(parts) == 1:
        return _is_boundary(key, position)
    for part in parts[1:-1]:
        found = key.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    while (found := key.find(last, position)) >= 0:
        if not last or _is_boundary(key, found + len(last)):
            return True
        position = found + 1
    return False


def _is_boundary(key: str, end: int) -> bool:
    """Return whether the first characters of a key are the key, or a directory above it with or without its slash."""
    return end == len(key) or key[end] == "/" or (end > 0 and key[end - 1] == "/")
