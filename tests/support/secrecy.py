"""Search for credentials in the output and the files of every agent of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SHORTEST = 8
"""Characters. Shorter texts would be found in harmless words."""
NAMES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def secrets_of(environment: Mapping[str, str], more: Iterable[str] = ()) -> set[str]:
    """Return the credentials in an environment."""
    given = {environment.get(name, "") for name in NAMES} | set(more)
    return {each for each in given if len(each) >= SHORTEST}


def assert_no_secrets(secrets: Iterable[str], data: bytes, where: str) -> None:
    """Fail the test when the bytes contain one of the secrets; the message does not repeat it."""
    assert not holds_secrets(secrets, data), f"a credential was disclosed in {where}"


def assert_no_secrets_in_files(secrets: Iterable[str], directory: Path) -> None:
    """Fail the test when the state of an agent, or a log beside it, contains one of the secrets."""
    found = list(files_with_secrets(secrets, directory))
    assert not found, f"a credential was disclosed in {', '.join(found)}"


def holds_secrets(secrets: Iterable[str], data: bytes) -> bool:
    """Return whether the bytes contain one of the secrets."""
    return any(each.encode() in data for each in secrets)


def files_with_secrets(secrets: Iterable[str], directory: Path) -> Iterator[str]:
    """Yield the names of files that contain one of the secrets: in the state of an agent, and logs beside it."""
    known = list(secrets)
    state, beside = directory / "state", (*directory.glob("*"), *directory.parent.glob("*"))
    for path in (*state.rglob("*"), *beside):
        is_searched = path.is_file() and not path.is_symlink() and path.name != "credentials"
        if is_searched and holds_secrets(known, path.read_bytes()):
            yield path.name
