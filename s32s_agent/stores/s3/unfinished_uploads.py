"""Remember the multipart uploads that are under way, so that a killed run leaves none behind.

An unfinished upload is stored and billed until it is aborted. Each has a note, a small file in the state directory,
while it runs; only those are ever aborted, never the uploads of another program.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from s32s_agent.state.files import make_directory, read_file, replace_file


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished upload."""

    endpoint: str
    bucket: str
    key: str
    """The whole key, prefix included."""
    upload_id: str


class Uploads:
    """The unfinished uploads of this computer; thread-safe.

    Args:
        directory: made when it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, upload: Upload) -> Path:
        """Write a note of an upload, and return its path, for `end`.

        Raises:
            DirectoryError: it cannot be written.
        """
        make_directory(self._directory)
        note = self._directory / f"{secrets.token_hex(8)}.json"
        replace_file(note, json.dumps(asdict(upload)).encode())
        return note

    def end(self, note: Path) -> None:
        """Remove the note of an upload that is complete or aborted."""
        # A note that stays costs the next run one request for an upload that no longer exists.
        with contextlib.suppress(OSError):
            note.unlink()

    def left_behind(
        self, endpoint: str, bucket: str, prefix: str
    ) -> Iterator[tuple[Path, Upload]]:
        """Yield the uploads below a prefix that a killed run left, each with its note."""
        for note in sorted(self._directory.glob("*.json")):
            try:
                upload = Upload(**json.loads(read_file(note)))
            except (OSError, ValueError, TypeError):
                continue  # damaged by a power cut: it no longer says what it was
            same_place = (upload.endpoint, upload.bucket) == (endpoint, bucket)
            if same_place and upload.key.startswith(prefix):
                yield note, upload
