"""Remember the multipart uploads that are under way, so that a killed pass leaves none behind.

An unfinished upload is stored and billed until somebody aborts it. Each is a small file in the state
directory while it runs; only those are ever aborted, never what somebody else began.
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
        """Remember an upload; give what `end` needs.

        Raises:
            DirectoryError: it cannot be remembered.
        """
        make_directory(self._directory)
        note = self._directory / f"{secrets.token_hex(8)}.json"
        replace_file(note, json.dumps(asdict(upload)).encode())
        return note

    def end(self, note: Path) -> None:
        """Forget an upload that is complete or aborted."""
        # One that stays costs the next pass a request for an upload that is no more.
        with contextlib.suppress(OSError):
            note.unlink()

    def left_behind(
        self, endpoint: str, bucket: str, prefix: str
    ) -> Iterator[tuple[Path, Upload]]:
        """Yield the uploads below a prefix that a killed pass did not end."""
        for note in sorted(self._directory.glob("*.json")):
            try:
                upload = Upload(**json.loads(read_file(note)))
            except (OSError, ValueError, TypeError):
                continue  # torn by a power cut: nothing can be known of it
            same_place = (upload.endpoint, upload.bucket) == (endpoint, bucket)
            if same_place and upload.key.startswith(prefix):
                yield note, upload
