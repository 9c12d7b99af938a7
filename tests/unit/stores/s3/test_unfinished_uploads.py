"""The notes of unfinished uploads: only our own are ever found again, whatever else lies in the directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.errors import DirectoryError
from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads

PLACE = ("https://s3", "bucket", "data/")
UPLOAD = Upload("https://s3", "bucket", "data/a\nb é", "id/+=")


def left(uploads: Uploads) -> list[Upload]:
    return [upload for _, upload in uploads.left_behind(*PLACE)]


def test_an_upload_of_a_killed_run_is_found(tmp_path: Path) -> None:
    """A new process finds the note of a killed one, exactly."""
    Uploads(tmp_path / "uploads").begin(UPLOAD)

    assert left(Uploads(tmp_path / "uploads")) == [UPLOAD]


def test_an_ended_upload_has_no_note(tmp_path: Path) -> None:
    """The note is removed; ending an upload twice is no error."""
    uploads = Uploads(tmp_path / "uploads")
    note = uploads.begin(UPLOAD)
    uploads.end(note)
    uploads.end(note)

    assert left(uploads) == []
    assert list((tmp_path / "uploads").iterdir()) == []


def test_before_the_first_upload_there_is_nothing(tmp_path: Path) -> None:
    """The directory is only made when it is needed."""
    uploads = Uploads(tmp_path / "uploads")

    assert (left(uploads), (tmp_path / "uploads").exists()) == ([], False)


@pytest.mark.parametrize(
    "other",
    [
        Upload("https://other", "bucket", "data/a", "1"),
        Upload("https://s3", "other", "data/a", "1"),
        Upload("https://s3", "bucket", "data2/a", "1"),
        Upload("https://s3", "bucket", "data", "1"),
    ],
    ids=["endpoint", "bucket", "prefix", "parent"],
)
def test_uploads_of_other_prefixes_are_left_alone(tmp_path: Path, other: Upload) -> None:
    """A mapping ends its own uploads only: endpoint, bucket and prefix must be the same."""
    uploads = Uploads(tmp_path / "uploads")
    uploads.begin(other)
    uploads.begin(UPLOAD)

    assert left(uploads) == [UPLOAD]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "1", '{"endpoint": "https://s3"}', "\xff", "[["]
)
def test_a_damaged_note_is_ignored(tmp_path: Path, text: str) -> None:
    """What a power cut left of a note does not name an upload."""
    uploads = Uploads(tmp_path / "uploads")
    uploads.begin(UPLOAD)
    (tmp_path / "uploads" / "0.json").write_bytes(text.encode("latin-1"))

    assert left(uploads) == [UPLOAD]


def test_without_a_note_there_is_no_upload(tmp_path: Path) -> None:
    """When the note cannot be written there is an error, not an upload that would never be aborted."""
    (tmp_path / "uploads").write_bytes(b"a file")

    with pytest.raises(DirectoryError):
        Uploads(tmp_path / "uploads").begin(UPLOAD)


def test_notes_are_private(tmp_path: Path) -> None:
    """The directory is the agent's alone."""
    Uploads(tmp_path / "uploads").begin(UPLOAD)

    assert (tmp_path / "uploads").stat().st_mode & 0o777 == 0o700
