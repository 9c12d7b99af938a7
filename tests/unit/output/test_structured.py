"""structlog without what only its coroutines and its console need."""

from __future__ import annotations

import subprocess
import sys

NOTHING_IS_MISSING_LATER = """
import sys
from s32s_agent.output.structured import structlog

assert not {"asyncio", "rich"} & set(sys.modules)

import asyncio
from structlog.testing import capture_logs

with capture_logs() as events:
    asyncio.run(structlog.get_logger().ainfo("said"))
assert events == [{"event": "said", "log_level": "info"}], events
assert asyncio.run is structlog.stdlib.asyncio.run
"""


def test_what_is_left_out_can_be_used_later() -> None:
    """Another part of the process may need it, and a later structlog may need it at once."""
    subprocess.run([sys.executable, "-c", NOTHING_IS_MISSING_LATER], check=True)
