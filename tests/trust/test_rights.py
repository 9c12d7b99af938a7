"""The least permissions that suffice, and what happens with fewer, on a real server that enforces them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest
from support.buckets import (
    BLIND_WRITER,
    GETTER,
    LISTER,
    ONE_BUCKET,
    READER,
    Bucket,
    the_one_bucket,
)
from support.invariants import check_output
from support.masters import Master
from support.slaves import Slave

pytestmark = pytest.mark.hostile

FILES = {"a": b"alpha", "d/b": b"beta"}


def keys_of(bucket: Bucket, name: str) -> Mapping[str, str | None]:
    identity = bucket.server.identities[name]
    return {
        "AWS_ACCESS_KEY_ID": identity.access_key,
        "AWS_SECRET_ACCESS_KEY": identity.secret_key,
    }


def files_of(slave: Slave) -> dict[str, bytes]:
    return {key: data for key, data in slave.tree().items() if data is not None}


def objects_of(bucket: Bucket) -> dict[str, tuple[bytes, datetime]]:
    """Return the objects of the bucket with their times: an object that was written again has another time."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    rows = [row for page in pages for row in page.get("Contents", [])]
    return {row["Key"]: (bucket.get(row["Key"]), row["LastModified"]) for row in rows}


@pytest.fixture
def changed(slave: Slave, bucket: Bucket) -> Slave:
    """A slave in sync; since then one object of the bucket was replaced, and one deleted."""
    slave.publish(FILES)
    assert slave.once().exit_code == 0
    slave.publish({"a": b"newer"})
    bucket.delete("data/d/b")
    return slave


def test_list_and_read_are_enough_for_a_slave(changed: Slave, bucket: Bucket) -> None:
    """Copies and deletes need no permission to write in S3."""
    run = changed.once(env=keys_of(bucket, READER))

    assert (run.exit_code, files_of(changed)) == (0, {"a": b"newer"})
    assert changed.agent.run("--check", env=keys_of(bucket, READER)).exit_code == 0


@pytest.mark.parametrize("who", [LISTER, GETTER, ONE_BUCKET])
@pytest.mark.parametrize("mode", ["--once", "--check"])
def test_fewer_permissions_lose_nothing(
    changed: Slave, bucket: Bucket, who: str, mode: str
) -> None:
    """List without read, read without list, or another bucket only: 77, the remedy, and every file stays."""
    run = changed.agent.run(mode, "--log-format", "logfmt", env=keys_of(bucket, who))

    assert (run.exit_code, files_of(changed)) == (77, FILES)
    assert "AccessDenied" in run.stderr + run.stdout
    assert "check the credentials and the bucket policy" in run.stderr + run.stdout


def test_with_access_to_one_bucket_only_its_mappings_run(
    changed: Slave, bucket: Bucket
) -> None:
    """The mapping of the allowed bucket is mirrored; that of another one fails with 77 and keeps its files."""
    one = the_one_bucket(bucket)
    own = {**changed.mapping("own"), "s3": f"{one}/own"}
    put = bucket.client.put_object
    put(Bucket=one, Key="own/x", Body=b"x")
    changed.publish_map(changed.mapping(), own)
    map_file = bucket.get("maps/site.json")
    put(Bucket=one, Key="maps/site.json", Body=map_file)
    changed.agent.configure(maps=f"{one}/maps", roots=[changed.root])

    run = changed.once(env=keys_of(bucket, ONE_BUCKET))

    assert (run.exit_code, files_of(changed)) == (77, FILES)
    (event,) = run.named("mapping.failed")
    assert (event["mapping"], event["cause"]) == ("site", "noperm")
    assert (changed.root / "own" / "x").read_bytes() == b"x"


@pytest.fixture
def edited(master: Master) -> Master:
    """A master in sync; since then one file of the source was replaced, one added, and one deleted."""
    master.write(FILES)
    assert master.once().exit_code == 0
    master.write({"a": b"newer", "c": b"new"})
    (master.source / "d" / "b").unlink()
    return master


@pytest.mark.parametrize("who", [READER, LISTER, GETTER])
def test_a_master_that_may_not_write_deletes_nothing(
    edited: Master, bucket: Bucket, who: str
) -> None:
    """Without permission to write no copy succeeds, so nothing is deleted: 77, and the bucket stays as it is."""
    before = objects_of(bucket)

    run = edited.agent.run("--once", env=keys_of(bucket, who))

    assert run.exit_code == 77
    assert objects_of(bucket) == before
    assert run.finished["deleted"] == 0


def test_a_master_that_may_not_list_sends_nothing(edited: Master, bucket: Bucket) -> None:
    """A prefix that cannot be listed does not count as empty: 77 before the first upload, and the remedy."""
    edited.configure("maps/site.json")
    before = objects_of(bucket)

    run = edited.agent.run("--once", env=keys_of(bucket, BLIND_WRITER))

    assert (run.exit_code, objects_of(bucket)) == (77, before)
    assert [run.finished[each] for each in ("copied", "deleted", "bytes")] == [0, 0, 0]
    (event,) = run.named("mapping.failed")
    assert (event["mapping"], event["cause"]) == ("site", "noperm")
    assert "listing" in event["error"]
    assert "AccessDenied" in event["error"]
    assert "check the credentials and the bucket policy" in event["remedy"]
    assert check_output(run) == []
