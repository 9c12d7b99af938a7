"""The agent with small ranges: `python -m support.small_ranges --once ...`.

With it every call of a download in ranges is tested without moving gigabytes.
"""

from __future__ import annotations

import sys

from s32s_agent import cli
from s32s_agent.stores.local import partial_downloads
from s32s_agent.stores.s3 import download, ranges

RANGE = 64 << 10
RANGED_FROM = 8 * RANGE


def shrink() -> None:
    """Make this process fetch objects of a few hundred kilobytes in ranges."""
    for name, value in (("RANGE", RANGE), ("RANGED_FROM", RANGED_FROM)):
        for module in (download, ranges, partial_downloads):
            if hasattr(module, name):
                setattr(module, name, value)
    ranges.cut.__defaults__ = (RANGE,)


if __name__ == "__main__":
    shrink()
    sys.exit(cli.main())
