"""Names that change places with symbolic links while a pass runs, in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

SWAP = """
import contextlib, ctypes, os, random, signal, sys, time
libc, here, exchange, count = ctypes.CDLL(None), -100, 2, 0
leads_to, *names = [os.fsencode(path) for path in sys.argv[1:]]
pairs = list(zip(names[::2], names[1::2]))
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
print("begun", flush=True)
while not stopped:
    for one, other in pairs:
        if not os.path.islink(one) and not os.path.islink(other):
            with contextlib.suppress(OSError):
                os.rename(other, b"%s.%d" % (other, count))
            with contextlib.suppress(OSError):
                os.symlink(leads_to, other)
        count += libc.renameat2(here, one, here, other, exchange) == 0
    time.sleep(random.random() / 250)
print(count, flush=True)
"""
"""Lets pairs of names change places, each time in one step, and tells how often; a link that was replaced comes again.

It rests in between, so that some passes get as far as to copy and delete.
"""


Pairs = Sequence[tuple[Path, Path]]
"""A name in the tree, and the one outside of it with which it changes places."""


def paired(top: Path, names: Sequence[str], leads_to: Path) -> Pairs:
    """Make a link for each name, in a new directory `aside` beside the top's own."""
    aside = top.parent.parent / "aside"
    aside.mkdir()
    pairs = [(top / name, aside / f"{number}") for number, name in enumerate(names)]
    for _, link in pairs:
        link.symlink_to(leads_to)
    return pairs


def put_back(pairs: Pairs) -> None:
    """Have every name be what it was, whoever is in its place."""
    for place, other in pairs:
        if place.is_symlink():
            place.unlink()
            other.rename(place)


class Swapper:
    """Swaps files or directories for links, and back, while the block runs."""

    def __init__(self, leads_to: Path, pairs: Pairs) -> None:
        names = [str(each) for pair in pairs for each in pair]
        command = [sys.executable, "-c", SWAP, str(leads_to), *names]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.count = 0

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing be swapped while the block runs."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.count = int(self._process.communicate()[0])
