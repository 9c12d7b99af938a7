"""The power fails at any moment of a run: what the log reported as copied is there, and no file is torn.

Real file systems are mounted from images, which are what the disk would hold. This is a sample of the moments;
`python -m tools.crashes --power-cut ext4` tries all.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.disks import FILE_SYSTEMS, or_skip
from support.forked import forked_once
from support.powercuts import PowerCutOptions, cut_power
from support.tracing import SUPPORTED, WHY_NOT

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(not SUPPORTED, reason=WHY_NOT),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]
HARD = PowerCutOptions(commits=True, stride=9, recover_every=10)


@pytest.mark.parametrize("disk", FILE_SYSTEMS)
def test_a_power_cut_loses_nothing_that_was_reported_as_copied(
    disk: str, tmp_path: Path
) -> None:
    """Every file is old or new, and index and log report nothing that the disk does not hold."""
    with or_skip():
        cuts = cut_power("change", disk, tmp_path, forked_once, HARD)

    assert cuts.problems == []
    assert cuts.states > 10


def test_without_durability_a_power_cut_tears_files(tmp_path: Path) -> None:
    """The same moments with `durable: false`: files are lost, so the test above can fail."""
    with or_skip():
        disk = "ext4 noauto_da_alloc"
        cuts = cut_power("without durability", disk, tmp_path, forked_once, HARD)

    assert any("holds bytes that were never published" in each for each in cuts.problems)
    assert any("was reported as copied" in each for each in cuts.problems)
