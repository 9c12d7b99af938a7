"""A computer whose clock is wrong: the store refuses its requests, and the message names the clock."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.slaves import Slave

from tools.soak.runs import Clock, find_faketime
from tools.soak.tally import Tally

pytestmark = pytest.mark.hostile

DENIED = 77


@pytest.mark.parametrize("wrong", ["-2d", "+2d"])
def test_a_clock_that_is_wrong_by_days_deletes_nothing_wrong(
    slave: Slave, tmp_path: Path, wrong: str
) -> None:
    """The store refuses the first signature; the next ones have the time of its own clock, and the run is in sync."""
    library = find_faketime()
    if library is None:
        pytest.skip("libfaketime is not installed")
    clock = Clock(library, tmp_path / "clock", random.Random(1), Tally())
    clock.file.write_text(wrong)
    slave.publish({"a": b"alpha", "d/b": b"beta"})
    assert slave.once().exit_code == 0
    slave.publish({"a": b"new"})
    (slave.target / "extra").write_bytes(b"extra")

    run = slave.once(env=dict(clock.environment()))

    assert (run.exit_code, slave.tree()) == (0, {"a": b"new", "d": None, "d/b": b"beta"})
    assert [each["key"] for each in run.named("entry.deleted")] == ["extra"]
