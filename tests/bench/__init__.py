"""Measures the agent beside rclone, s5cmd and aws-cli on the same work: `python -m tests.bench`.

It installs nothing, speaks to loopback only, and judges nobody by a run whose result was wrong.
"""

import sys
from pathlib import Path

# For the helpers that it shares with the tests, which know them as `support`.
sys.path.append(str(Path(__file__).parent.parent))
