"""Runs one command and writes what it took, as JSON: `python -I -S launcher.py REPORT COMMAND...`.

A process of its own, and a small one: the kernel counts the memory of the parent into the peak of a child until the
child executes its program, so a large parent would show in every figure. It imports nothing but built-in modules.

Memory is resident memory, mapped files included, as `/usr/bin/time -v` tells it. For a single process it is the
kernel's own high-water mark; where a tool has more than one process at a time, their sum is looked at twenty times a
second, and the higher of the two counts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

SAMPLE_SECONDS = 0.05
KIB = 1024


def main(report: str, command: list[str]) -> None:
    """Run the command to its end; output goes where the launcher's goes."""
    peak = [0]
    ended = threading.Event()
    begin = time.monotonic()
    process = os.posix_spawn(command[0], command, dict(os.environ))
    watcher = threading.Thread(target=watch, args=(process, peak, ended))
    watcher.start()
    _, status, usage = os.wait4(process, 0)
    wall = time.monotonic() - begin
    ended.set()
    watcher.join()
    figures = {
        "status": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": max(usage.ru_maxrss * KIB, peak[0]),
    }
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs memory
        json.dump(figures, file)


def watch(process: int, peak: list[int], ended: threading.Event) -> None:
    """Note the highest sum of the resident memory of all processes below this one."""
    page = os.sysconf("SC_PAGE_SIZE")
    while not ended.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(resident(each) for each in family(process)) * page)


def resident(process: int) -> int:
    """Return the pages that a process has in memory; 0 when it is gone."""
    return int((read(f"/proc/{process}/statm") or "0 0").split()[1])


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [process]
    for each in found:
        found += children(each)
    return found


def children(process: int) -> list[int]:
    """Return the children of a process, whichever of its threads made them."""
    try:
        threads = os.listdir(f"/proc/{process}/task")  # noqa: PTH208 - pathlib costs memory
    except OSError:
        return []  # it has ended
    texts = [read(f"/proc/{process}/task/{thread}/children") for thread in threads]
    return [int(word) for text in texts for word in text.split()]


def read(path: str) -> str:
    """Read a file of /proc; nothing when its process is gone."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
