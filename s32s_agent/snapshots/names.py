"""The forms of names, for the command line too, which imports little."""

from __future__ import annotations

import re

CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SNAPSHOT_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
