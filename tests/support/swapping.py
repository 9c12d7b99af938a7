"""Files and directories that a separate process exchanges with symbolic links during a run."""

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
"""Exchange pairs of names, each time in one step, and print how often; a link that was replaced is created again.

It pauses in between, so that some runs get as far as copies and deletes.
"""


Pairs = Sequence[tuple[Path, Path]]
"""A name in the tree, and the one outside of it with which it is exchanged."""


def paired(top: Path, names: Sequence[str], leads_to: Path) -> Pairs:
    """Create a link for each name, in a new directory `aside` beside the directory of `top`."""
    aside = top.parent.parent / "aside"
    aside.mkdir()
    pairs = [(top / name, aside / f"{number}") for number, name in enumerate(names)]
    for _, link in pairs:
        link.symlink_to(leads_to)
    return pairs


def put_back(pairs: Pairs) -> None:
    """Restore every name that is a link now."""
    for path, other in pairs:
        if path.is_symlink():
            path.unlink()
            other.rename(path)


class Swapper:
    """Exchanges files or directories with links, and back, until the block ends."""

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
        """Exchange nothing until the block ends."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.count = int(self._process.communicate()[0])
