"""Programs for those who work on the project, each run as `python -m tools.NAME` from the top of a checkout.

bench       measure the agent beside rclone, s5cmd and aws-cli
crashes     inject a fault at every file-system call of a run
generate    write the files that follow from the code and the docs
peers       try other tools against hostile servers
proof       inject every class of faults at full length
soak        run several agents under random changes, signals and clocks
"""

import sys
from pathlib import Path

# The programs share servers and checks with the tests, which import them as `support`.
_TESTS = str(Path(__file__).parent.parent / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
