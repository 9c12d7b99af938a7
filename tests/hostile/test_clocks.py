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
def test_a_clock_that_is_wrong_by_days_deletes_nothing(
    slave: Slave, tmp_path: Path, wrong: str
) -> None:
    """Every signature is expired, or not valid yet: the tree stays as it is, and the remedy names the clock."""
    library = find_faketime()
    if library is None:
        pytest.skip("libfaketime is not installed")
    clock = Clock(library, tmp_path / "clock", random.Random(1), Tally())
    clock.file.write_text(wrong)
    slave.publish({"a": b"alpha", "d/b": b"beta"})
    assert slave.once().exit_code == 0
    slave.publish({"a": b"new"})
    (slave.target / "extra").write_bytes(b"extra")
    before = slave.tree()

    run = slave.once(env=dict(clock.environment()))

    (failed,) = run.named("run.failed")
    assert (run.exit_code, slave.tree()) == (DENIED, before)
    assert "clock" in failed["remedy"]
