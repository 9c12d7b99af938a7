"""Programs and devices that a test may need: where one is missing, the test is skipped with the reason."""

from __future__ import annotations

import os
import pty
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where one of these programs is not installed."""
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def _no_terminal() -> str:
    """Return why no pseudo-terminal can be had; "" when one can."""
    try:
        descriptors = pty.openpty()
    except OSError as error:
        return f"no pseudo-terminal: {error}"
    for each in descriptors:
        os.close(each)
    return ""


NO_TERMINAL = _no_terminal()
needs_terminal = pytest.mark.skipif(bool(NO_TERMINAL), reason=NO_TERMINAL)
