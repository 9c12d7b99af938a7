"""What happened in a run, and what must never have."""

from __future__ import annotations

import threading
from collections import Counter


class Tally:
    """Counts and violations. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def add(self, what: str, count: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[what] += count

    def violate(self, sentence: str) -> None:
        """Note what must not happen."""
        with self._lock:
            self.violations.append(sentence)

    def of(self, prefix: str) -> str:
        """Return the counts of one kind: `exit 0: 12, exit 75: 3`."""
        found = sorted(each for each in self.counts.items() if each[0].startswith(prefix))
        return ", ".join(f"{name.removeprefix(prefix)}: {count}" for name, count in found)
