"""Look for credentials where none may be: in everything that agents of this test session say and keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SHORTEST = 8
"""Characters. A shorter one would be found in innocent words."""
NAMES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def secrets_of(environment: Mapping[str, str], more: Iterable[str] = ()) -> set[str]:
    """Give the credentials that a process was given."""
    given = {environment.get(name, "") for name in NAMES} | set(more)
    return {each for each in given if len(each) >= SHORTEST}


def refuse_secrets(secrets: Iterable[str], data: bytes, where: str) -> None:
    """Fail the test when one of the secrets stands in some bytes; the message does not repeat it."""
    assert not holds_secrets(secrets, data), f"a credential was told in {where}"


def refuse_secrets_in_files(secrets: Iterable[str], directory: Path) -> None:
    """Fail the test when the state of an agent holds one, or a log that lies beside it."""
    found = list(files_with_secrets(secrets, directory))
    assert not found, f"a credential was told in {', '.join(found)}"


def holds_secrets(secrets: Iterable[str], data: bytes) -> bool:
    """Tell whether one of the secrets stands in some bytes."""
    return any(each.encode() in data for each in secrets)


def files_with_secrets(secrets: Iterable[str], directory: Path) -> Iterator[str]:
    """Look through the state of an agent, and through logs that lie beside it."""
    known = list(secrets)
    state, beside = directory / "state", (*directory.glob("*"), *directory.parent.glob("*"))
    for path in (*state.rglob("*"), *beside):
        looked_at = path.is_file() and not path.is_symlink() and path.name != "credentials"
        if looked_at and holds_secrets(known, path.read_bytes()):
            yield path.name
