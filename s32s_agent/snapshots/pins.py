"""Pins: a file in the state directory holds a mapping of this computer at one snapshot, until it is released."""

from __future__ import annotations

from pathlib import Path

from s32s_agent.errors import DirectoryError
from s32s_agent.snapshots.fields import NotASnapshot
from s32s_agent.snapshots.manifest import Channel, decode_channel, encode_channel, sha256_of
from s32s_agent.state.files import make_directory, read_file, replace_file

_DAMAGED = "remove the file, or pin the mapping again with --rollback ID"


def read_pin(directory: Path, mapping: str) -> Channel | None:
    """Return the snapshot to which a mapping is pinned; None when it is not.

    Args:
        directory: of the pins.
        mapping: the mapping's name.

    Raises:
        NotASnapshot: the file is damaged; the mapping must not follow its channel by accident.
        DirectoryError: it cannot be read.
    """
    path = _path(directory, mapping)
    try:
        return decode_channel(read_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DirectoryError(f'"{path}": {error.strerror}') from error
    except NotASnapshot as error:
        raise NotASnapshot(f'the pin "{path}": {error}', remedy=_DAMAGED) from error


def write_pin(directory: Path, mapping: str, target: Channel) -> None:
    """Pin a mapping to a snapshot, durably.

    Raises:
        DirectoryError: the state directory cannot be written.
    """
    make_directory(directory)
    replace_file(_path(directory, mapping), encode_channel(target))


def release_pin(directory: Path, mapping: str) -> bool:
    """Release a mapping; return whether it was pinned.

    Raises:
        DirectoryError: the state directory cannot be written.
    """
    path = _path(directory, mapping)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DirectoryError(f'"{path}": {error.strerror}') from error
    return True


def _path(directory: Path, mapping: str) -> Path:
    return directory / f"{sha256_of(mapping.encode())[:16]}.json"
