"""The agent, for which a small object is a large one: `python -m support.small_ranges --once ...`.

So that every call of a download in ranges can be tried without moving gigabytes.
"""

from __future__ import annotations

import sys

from s32s_agent import cli
from s32s_agent.stores.local import partial_downloads
from s32s_agent.stores.s3 import download, ranges

RANGE = 64 << 10
RANGED_FROM = 8 * RANGE


def shrink() -> None:
    """Have this process fetch what has a few hundred kilobytes in ranges."""
    for name, value in (("RANGE", RANGE), ("RANGED_FROM", RANGED_FROM)):
        for module in (download, ranges, partial_downloads):
            if hasattr(module, name):
                setattr(module, name, value)
    ranges.cut.__defaults__ = (RANGE,)


if __name__ == "__main__":
    shrink()
    sys.exit(cli.main())
