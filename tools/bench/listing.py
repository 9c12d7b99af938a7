"""A listing by itself: its pages one after the other, or side by side where the last listing showed how.

The agent's own listing without its look at the tree, so that one can be set beside the other. Both start Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from s32s_agent.config.settings import S3Settings
from s32s_agent.model import Location
from s32s_agent.stores.base import ScanHints
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source

WORKERS = 16


def main(bucket: str, prefix: str, remembered: Path | None = None) -> None:
    """List what is below a prefix; with a file, what that says of the last listing is used, and of this one noted."""
    settings = S3Settings(endpoint_url=os.environ["AWS_ENDPOINT_URL"], addressing_style="path")
    store = S3Source(Connection(settings), Location(bucket, prefix))
    hints = ScanHints()
    if remembered is not None and remembered.exists():
        hints = ScanHints(boundaries=tuple(json.loads(remembered.read_text())))
    scan = store.scan(hints)
    count = sum(1 for _ in scan)
    if remembered is not None and scan.learned.boundaries is not None:
        remembered.write_text(json.dumps(scan.learned.boundaries))
    if not count:
        sys.exit(f"nothing is listed below {bucket}/{prefix}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]) if sys.argv[3:] else None)
