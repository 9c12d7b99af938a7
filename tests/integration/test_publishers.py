"""Publishers that are killed, that race, and whose store ignores conditions: on a real server where one can do it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.forked import Running, shared_forks
from support.killing_proxy import KillingProxy
from support.masters import Master
from support.s3_messages import Reply, Request
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.integration

PLACE = "snaps/site"
CHANNEL = f"{PLACE}/channels/current.json"
MOST_REQUESTS = 40
KILLED = -signal.SIGKILL


@pytest.fixture
def versioned(master: Master, bucket: Bucket) -> Slave:
    """A slave of a bucket that keeps versions, so that no snapshot is overtaken."""
    bucket.keep_versions()
    master.publish_map(master.mapping(snapshots=f"{master.bucket}/{PLACE}"))
    return master.slave()


def begin_publishing(master: Master) -> Running:
    """Start `--publish`; its output is for people."""
    return shared_forks().begin(master.agent, "--publish", "--log-format", "json")


@pytest.mark.parametrize("forwards", [False, True], ids=["before", "after"])
def test_a_publisher_killed_at_any_request_leaves_a_whole_release(
    master: Master, bucket: Bucket, versioned: Slave, *, forwards: bool
) -> None:
    """Killed before the server has the request, or before it answers: slaves have the old release or the new one."""
    with KillingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        bucket.put("data/a", installed := b"first")
        assert begin_publishing(master).wait().exit_code == 0
        for number in range(1, MOST_REQUESTS):
            bucket.put("data/a", released := f"release {number}".encode())
            proxy.arm(number, forwards=forwards)
            victim = begin_publishing(master)
            proxy.aim(victim)
            status = victim.wait().exit_code
            run = versioned.once()
            assert run.exit_code == 0
            assert (versioned.target / "a").read_bytes() in (installed, released)
            installed = (versioned.target / "a").read_bytes()
            if status == 0:
                break
            assert status == KILLED
        assert 8 < number < MOST_REQUESTS - 1
    assert installed == released


def test_publishers_that_race_give_each_number_once(
    master: Master, bucket: Bucket, versioned: Slave
) -> None:
    """Whoever wins: no channel is overwritten by one that has not read it, and the last release arrives."""
    racing = []
    for number in range(6):
        bucket.put("data/a", f"release {number}".encode())
        racing.append(begin_publishing(master))

    ended = [each.wait() for each in racing]

    assert {each.exit_code for each in ended} <= {0, 1}
    assert begin_publishing(master).wait().exit_code == 0
    listed = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=CHANNEL)
    numbers = [
        json.loads(
            bucket.client.get_object(
                Bucket=bucket.name, Key=CHANNEL, VersionId=each["VersionId"]
            )["Body"].read()
        )["sequence"]
        for each in listed["Versions"]
    ]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert versioned.once().exit_code == 0
    assert (versioned.target / "a").read_bytes() == b"release 5"


def test_check_says_whether_publishers_can_overtake_each_other(
    master: Master, bucket: Bucket
) -> None:
    """The real server honours conditions; nothing of the trial stays."""
    master.publish_map(master.mapping(snapshots=f"{master.bucket}/{PLACE}"))
    Path(master.source, "a").write_bytes(b"a")
    before = bucket.keys()

    checked = master.agent.run("--check")

    assert checked.exit_code == 0
    assert f"{PLACE} can be written, on conditions" in checked.stdout
    assert bucket.keys() == before


def test_check_warns_of_a_store_that_ignores_conditions(
    scripted_master: Master, scripted: ScriptedS3
) -> None:
    scripted_master.publish_map(
        scripted_master.mapping(snapshots=f"{scripted_master.bucket}/{PLACE}")
    )
    Path(scripted_master.source, "a").write_bytes(b"a")

    def ignore_conditions(request: Request) -> Reply:
        stored = scripted.put(request.key, request.body)
        return Reply(headers={"ETag": stored.etag})

    scripted.on(
        lambda each: each.method == "PUT" and each.key.startswith(PLACE), ignore_conditions
    )

    checked = scripted_master.agent.run("--check")

    assert checked.exit_code == 0
    assert "ignores If-None-Match and If-Match" in checked.stdout
    assert not [key for key in scripted.objects if key.startswith(f"{PLACE}/")]
