"""Directory trees as values that a test can compare. Nothing is followed and nothing is changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

RESERVED = ".s32s"
"""The agent's own directory in a target; it is not part of the mirror."""


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """Return the content of every file by relative path; None for a directory.

    A symbolic link shows as the bytes `-> ` and its target, a special file as `special`. What is
    named `.s32s` is left out.
    """
    return {
        os.path.relpath(entry.path, directory): _content(entry)
        for entry in _walk(directory, without=RESERVED)
    }


def canary(path: Path) -> str:
    """Hash a tree with its contents, names, modes, sizes and times, the directory itself included; or a file.

    Two equal hashes prove that nothing below was changed, not even by writing the same bytes again.
    """
    digest = hashlib.sha256(_vitals(path.lstat()))
    if path.is_file():
        digest.update(path.read_bytes())
        return digest.hexdigest()
    for entry in _walk(path):
        digest.update(os.fsencode(os.path.relpath(entry.path, path)) + b"\0")
        digest.update(_vitals(entry.stat(follow_symlinks=False)))
        digest.update(hashlib.sha256(_content(entry) or b"").digest())
    return digest.hexdigest()


def write(directory: Path, files: dict[str, bytes]) -> None:
    """Create the files and the directories that they need."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _walk(directory: Path, without: str | None = None) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in found:
        if entry.name == without:
            continue
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), without)


def _content(entry: os.DirEntry[str]) -> bytes | None:
    if entry.is_symlink():
        return b"-> " + os.fsencode(Path(entry.path).readlink())
    if entry.is_dir(follow_symlinks=False):
        return None
    if not entry.is_file(follow_symlinks=False):
        return b"special"
    return Path(entry.path).read_bytes()


def _vitals(status: os.stat_result) -> bytes:
    # The size of a directory depends on the file system's history, so only that of files counts.
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return f"{status.st_mode:o} {status.st_uid} {status.st_gid} {size} {status.st_mtime_ns}\0".encode()
