"""`python -m s32s_agent`."""

import sys

from s32s_agent.cli import main

sys.exit(main())
