"""Take the picture of the fleet page: `python tests/support/fleet_screenshot.py etc/fleet.png`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from s32s_agent.model import Location
from s32s_agent.monitoring.fleet import WORST_FIRST, Fleet, read_report
from s32s_agent.monitoring.fleet_page import write_page
from s32s_agent.monitoring.health import Limits
from support.browser import browser
from support.fleets import NOW, fleet, hostile

WIDTH, HEIGHT = 1100, 560


def picture(directory: Path) -> bytes:
    """Return the picture of a fleet in which most servers are in sync."""
    limits = Limits()
    reports = {key: data for key, data in fleet().items() if key not in hostile()}
    servers = (read_report(key[:-5], data, NOW, limits) for key, data in reports.items())
    ordered = sorted(servers, key=lambda each: (WORST_FIRST.index(each.health), each.name))
    page = directory / "fleet.html"
    write_page(Fleet(Location("bucketname", "S32SFLEET"), NOW, tuple(ordered)), page)
    with browser(directory / "profile") as shown:
        shown.size(WIDTH, HEIGHT)
        shown.open(page)
        return shown.screenshot()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        Path(sys.argv[1]).write_bytes(picture(Path(temporary)))
