"""Servers that answer ranges wrongly, with the agent as a process: a large file is complete or the old one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from support.contents import md5
from support.forked import Forks
from support.s3_messages import HTTP_WHEN, Reply, Request, is_get
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.small_ranges import RANGE, RANGED_FROM

pytestmark = pytest.mark.hostile

IMPATIENT = {"attempts": 2, "pause_seconds": 0.01}
OLD, NEW = b"the old version", random.Random(3).randbytes(RANGED_FROM + 3 * RANGE + 5)
DAMAGED = NEW[:-9] + b"\0" * 9
GET = is_get("data/large")


def whole(data: bytes) -> Reply:
    return Reply(200, data, {"etag": f'"{md5(NEW)}"', "last-modified": HTTP_WHEN})


def with_wrong_total(request: Request, data: bytes) -> Reply:
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if asked is None:
        return whole(data)
    start, end = map(int, asked.groups())
    headers = {**whole(data).headers, "content-range": f"bytes {start}-{end}/{len(data) + 1}"}
    return Reply(206, data[start : end + 1], headers)


LIES: dict[str, Callable[[Request, bytes], Reply]] = {
    "Range is ignored": lambda _, data: whole(data),
    "206 with a wrong total": with_wrong_total,
}


@pytest.fixture
def mirrored(scripted_slave: Slave) -> Slave:
    """A slave with the old version of an object that it fetches in ranges."""
    scripted_slave.agent.small_ranges = True
    scripted_slave.publish({"large": OLD})
    assert scripted_slave.once().exit_code == 0
    scripted_slave.publish({"large": NEW})
    return scripted_slave


@pytest.mark.parametrize("lie", LIES)
def test_a_store_that_answers_ranges_wrongly_corrupts_no_file(
    mirrored: Slave, scripted: ScriptedS3, forks: Forks, lie: str
) -> None:
    """The whole object is requested: damaged bytes are reported and leave the old file, right ones are installed."""
    scripted.on(GET, lambda request: LIES[lie](request, DAMAGED))

    run = forks.once(mirrored.agent, timeouts=IMPATIENT)

    assert (run.exit_code, mirrored.tree()) == (1, {"large": OLD}), run.stderr
    (failed,) = run.named("entry.failed")
    assert f"got MD5 {md5(DAMAGED)}, expected {md5(NEW)}" in failed["error"]
    assert mirrored.temporaries() == []
    asked = ["range" in each.headers for each in scripted.requests if GET(each)]
    assert (True in asked, asked[-1]) == (True, False)

    scripted.forget_rules()
    scripted.on(GET, lambda request: LIES[lie](request, NEW))

    run = forks.once(mirrored.agent, timeouts=IMPATIENT)

    assert (run.exit_code, mirrored.tree() == {"large": NEW}) == (0, True), run.stderr
    assert mirrored.temporaries() == []
