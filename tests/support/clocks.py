"""Time that passes when a test says so."""

from __future__ import annotations


class Clock:
    """Gives the same time until `seconds` is changed."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds
