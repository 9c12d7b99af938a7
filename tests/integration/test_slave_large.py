"""Large objects end to end: in ranges, interrupted, and gone on with, on a real server."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.contents import md5
from support.counting_proxy import CountingProxy
from support.slaves import Slave

from s32s_agent.stores.s3.ranges import AHEAD, RANGE

pytestmark = pytest.mark.integration

RANGES = 9
DATA = random.Random(4).randbytes(RANGES * RANGE)
KEY = "disk.img"
PATIENCE_SECONDS = 120


def interrupted(
    slave: Slave,
    proxy: CountingProxy,
    ranges: int,
    number: signal.Signals,
    length: int = RANGE,
) -> int:
    """Begin a pass and send it a signal when so many ranges of a length are whole; give its status."""
    proxy.hold_from(ranges * length)
    agent = slave.agent
    with subprocess.Popen(
        agent.command("--once"), env=agent.environment(), stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert proxy.wait_for(
                min(ranges + AHEAD, -(-len(DATA) // length)), PATIENCE_SECONDS
            )
            until = time.monotonic() + PATIENCE_SECONDS
            while size_of_leftover(slave) < ranges * length and time.monotonic() < until:
                time.sleep(0.02)
            assert size_of_leftover(slave) >= ranges * length
            process.send_signal(number)
            proxy.release()
            status = process.wait(PATIENCE_SECONDS)
            assert proxy.wait_until_answered()
            return status
        finally:
            process.kill()


def size_of_leftover(slave: Slave) -> int:
    return sum(Path(each).stat().st_size for each in slave.temporaries() if "site" in each)


def bytes_asked_for(proxy: CountingProxy) -> int:
    return sum(each.size for each in proxy.answered if each.kind == "GET")


def digests(slave: Slave) -> dict[str, str]:
    return {key: md5(data) for key, data in slave.tree().items() if data is not None}


@pytest.mark.parametrize("ranges", [0, 3, 5, 8])
def test_a_killed_download_goes_on_in_the_next_pass(
    slave: Slave, proxy: CountingProxy, ranges: int
) -> None:
    """Killed at any point: the next pass asks for what is not surely there; the file is right, nothing else stays."""
    slave.publish({KEY: DATA})

    assert interrupted(slave, proxy, ranges, signal.SIGKILL) == -signal.SIGKILL
    assert slave.tree().keys() <= {Path(each).name for each in slave.temporaries()}
    proxy.forget()
    run = slave.once()
    assert (run.exit_code, digests(slave)) == (0, {KEY: md5(DATA)})
    assert slave.temporaries() == []
    assert bytes_asked_for(proxy) == len(DATA) - max(0, ranges - AHEAD) * RANGE
    assert [each["verified"] for each in run.named("entry.copied")] == ["md5"]


def test_a_stopped_download_of_parts_goes_on(
    slave: Slave, proxy: CountingProxy, bucket: Bucket
) -> None:
    """SIGTERM ends a pass soon; an object of parts is proven by them, with what was kept of it."""
    part_size = 5 << 20
    bucket.put_multipart(f"data/{KEY}", DATA, part_size)

    assert interrupted(slave, proxy, 13, signal.SIGTERM, part_size) == 143
    proxy.forget()
    run = slave.once()
    assert (run.exit_code, digests(slave)) == (0, {KEY: md5(DATA)})
    assert slave.temporaries() == []
    assert bytes_asked_for(proxy) <= len(DATA) - 6 * part_size
    assert [each["verified"] for each in run.named("entry.copied")] == ["multipart"]


def test_a_large_object_in_sync_costs_nothing(slave: Slave, proxy: CountingProxy) -> None:
    """One look and one request a range; the pass after that asks for none."""
    slave.publish({KEY: DATA})

    assert slave.once().exit_code == 0
    assert proxy.counts()["GET"] == RANGES
    assert bytes_asked_for(proxy) == len(DATA)
    proxy.forget()
    assert slave.once().finished["unchanged"] == 1
    assert proxy.counts()["GET"] == 0


def test_an_object_replaced_between_two_passes_never_mixes_two_versions(
    slave: Slave, proxy: CountingProxy
) -> None:
    """The old version's part is not used, and does not stay."""
    new = DATA[::-1]
    slave.publish({KEY: DATA})
    interrupted(slave, proxy, 8, signal.SIGKILL)
    slave.publish({KEY: new})
    proxy.forget()

    run = slave.once()

    assert (run.exit_code, digests(slave)) == (0, {KEY: md5(new)})
    assert slave.temporaries() == []
    assert bytes_asked_for(proxy) == len(new)
