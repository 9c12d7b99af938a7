"""Multipart ETags that prove nothing, beside some that do: no damaged byte is accepted because of the others."""

from __future__ import annotations

import random

import pytest
from support.s3_messages import HTTP_WHEN, Reply, is_get, multipart_etag
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.stores.s3.ranges import RANGE

pytestmark = pytest.mark.hostile

PART = 5 << 20
OPAQUE = f'"{"0" * 32}-3"'
SMALL = random.Random(7).randbytes(11 << 20)
LARGE = random.Random(8).randbytes(4 * RANGE + 100)


@pytest.fixture
def slave(scripted_slave: Slave, scripted: ScriptedS3) -> Slave:
    """A slave that fetches one object after the other, in order."""
    s3 = {"endpoint_url": scripted.endpoint_url}
    scripted_slave.configure(sync={"workers": 1}, s3=s3)
    return scripted_slave


def put_in_parts(server: ScriptedS3, key: str, data: bytes, etag: str = "") -> None:
    pieces = [data[start : start + PART] for start in range(0, len(data), PART)]
    server.put(f"data/{key}", data, etag=etag or multipart_etag(pieces))


def damaged(server: ScriptedS3, key: str) -> Reply:
    stored = server.objects[f"data/{key}"]
    data = stored.data[:1000] + bytes([stored.data[1000] ^ 1]) + stored.data[1001:]
    return Reply(body=data, headers={"etag": stored.etag, "last-modified": HTTP_WHEN})


def test_a_damaged_object_is_refused_though_another_one_proves_nothing(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """Where the parts of one object gave its ETag, a mismatch is damage, whatever other objects showed before."""
    put_in_parts(scripted, "a-opaque", SMALL, OPAQUE)
    put_in_parts(scripted, "b-proven", SMALL[::-1])
    put_in_parts(scripted, "c-damaged", SMALL)
    scripted.on(is_get("data/c-damaged"), damaged(scripted, "c-damaged"), times=1)

    run = slave.once()

    wanted = {"a-opaque": SMALL, "b-proven": SMALL[::-1], "c-damaged": SMALL}
    assert (run.exit_code, slave.tree()) == (0, wanted)
    proofs = {each["key"]: each["verified"] for each in run.named("entry.copied")}
    assert proofs == {"a-opaque": "length", "b-proven": "multipart", "c-damaged": "multipart"}


def test_objects_that_prove_nothing_are_fetched_in_ranges(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """The second download shows that the ranges were right, so the next object is fetched in ranges again."""
    put_in_parts(scripted, "a", LARGE, OPAQUE)
    put_in_parts(scripted, "b", LARGE[::-1], OPAQUE.replace("0", "1"))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {"a": LARGE, "b": LARGE[::-1]})
    ranges = [
        each for each in scripted.requests if each.key == "data/b" and "range" in each.headers
    ]
    assert len(ranges) > 1
