"""The note of the last batch: it recognises the agent's own bytes, and is ignored when it is incomplete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.contents import md5

from s32s_agent.stores.local.last_batch import LastBatch

DATA = b"installed"
LARGE = b"0123456789abcdef" * (1 << 19) + b"end"
PART = 5 << 20


def multipart(data: bytes) -> str:
    parts = [data[start : start + PART] for start in range(0, len(data), PART)]
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    yield fd
    os.close(fd)


def noted(tmp_path: Path, etags: dict[str, str]) -> LastBatch:
    """Note a batch, and open the note as the next run does."""
    LastBatch(tmp_path / "notes" / "x.json").note(etags)
    return LastBatch(tmp_path / "notes" / "x.json")


@pytest.mark.parametrize(
    ("data", "etag", "ours"),
    [
        (DATA, md5(DATA), True),
        (LARGE, multipart(LARGE), True),
        (DATA + b"!", md5(DATA), False),
        (b"INSTALLED", md5(DATA), False),
        (DATA, "an-opaque-name", False),
        (b"", md5(b""), True),
    ],
)
def test_only_a_file_with_the_noted_etag_is_ours(
    tmp_path: Path, directory: int, data: bytes, etag: str, *, ours: bool
) -> None:
    """A file whose digest is another one, or whose ETag proves nothing, may be an edit."""
    (tmp_path / "tree/f").write_bytes(data)
    batch = noted(tmp_path, {"d/f": etag})

    assert batch.installed(directory, "f", "d/f") is ours
    assert not batch.installed(directory, "f", "f")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "missing"])
def test_only_a_regular_file_is_ours(tmp_path: Path, directory: int, kind: str) -> None:
    """A link is not followed, and the agent does not wait for a FIFO."""
    (tmp_path / "elsewhere").write_bytes(DATA)
    path = tmp_path / "tree/f"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()

    assert not noted(tmp_path, {"f": md5(b"")}).installed(directory, "f", "f")


@pytest.mark.parametrize(
    "text", ["", "{", '{"f": ', "[]", "7", "null", "\xff" * 9, "[" * 99_999]
)
def test_an_incomplete_note_is_ignored(tmp_path: Path, directory: int, text: str) -> None:
    """A run that was killed while it wrote the note has renamed nothing yet."""
    (tmp_path / "tree/f").write_bytes(DATA)
    note = tmp_path / "x.json"
    note.write_text(text, encoding="latin-1")

    assert not LastBatch(note).installed(directory, "f", "f")


def test_each_note_replaces_the_one_before(tmp_path: Path, directory: int) -> None:
    """Only the last batch can lack its rows in the index."""
    (tmp_path / "tree/f").write_bytes(DATA)
    noted(tmp_path, {"f": md5(DATA)})

    assert not noted(tmp_path, {"g": md5(DATA)}).installed(directory, "f", "f")


def test_a_note_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """A link in its place is not followed."""
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    for path in (tmp_path / "link", tmp_path / "no/parent/x", None):
        LastBatch(path).note({"f": "etag"})

    assert [each.name for each in tmp_path.iterdir()] == ["link"]


def test_each_target_has_its_own_note(tmp_path: Path, directory: int) -> None:
    """What was installed in one directory is not trusted in another."""
    (tmp_path / "tree/f").write_bytes(DATA)
    LastBatch.of("/srv/one", tmp_path / "notes").note({"f": md5(DATA)})

    one, other = (LastBatch.of(f"/srv/{name}", tmp_path / "notes") for name in ("one", "two"))
    assert one.installed(directory, "f", "f")
    assert not other.installed(directory, "f", "f")
