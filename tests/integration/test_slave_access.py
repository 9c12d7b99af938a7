"""Credentials, buckets and servers that are not what they should be. On a real server."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from support.buckets import LISTER, READER, Bucket
from support.slaves import Slave

pytestmark = pytest.mark.integration

FILES = {"a": b"alpha", "b": b"beta"}
WRONG_KEYS: dict[str, str | None] = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing-secret",
}
NO_KEYS: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def keys_of(bucket: Bucket, name: str) -> dict[str, str | None]:
    identity = bucket.server.identities[name]
    return {
        "AWS_ACCESS_KEY_ID": identity.access_key,
        "AWS_SECRET_ACCESS_KEY": identity.secret_key,
    }


def wrong_secret(bucket: Bucket) -> dict[str, str | None]:
    return {
        "AWS_ACCESS_KEY_ID": bucket.server.access_key,
        "AWS_SECRET_ACCESS_KEY": "wrong-but-secret",
    }


def test_a_reader_is_enough(slave: Slave, bucket: Bucket) -> None:
    """A slave needs to list and read, nothing else."""
    slave.publish(FILES)

    run = slave.once(env=keys_of(bucket, READER))

    assert (run.exit_code, slave.tree()) == (0, FILES)


@pytest.mark.parametrize("keys", ["unknown", "none", "wrong secret"])
def test_without_valid_credentials_nothing_changes(
    slave: Slave, bucket: Bucket, keys: str
) -> None:
    """Unknown, missing and wrong keys are status 77, with a remedy and without the keys in the log."""
    env = {"unknown": WRONG_KEYS, "none": NO_KEYS, "wrong secret": wrong_secret(bucket)}[keys]
    slave.publish(FILES)
    slave.once()
    slave.publish({"a": b"newer"})
    bucket.delete("data/b")

    run = slave.once(env=env)

    assert (run.exit_code, slave.tree()) == (77, FILES)
    (event,) = run.named("run.failed")
    assert event["cause"] == "noperm"
    assert "credentials" in event["error"] + event["remedy"]
    secret = env["AWS_SECRET_ACCESS_KEY"]
    assert secret is None or secret not in run.stderr + run.stdout


def test_objects_that_may_not_be_read_are_denied(slave: Slave, bucket: Bucket) -> None:
    """Who may list the maps but not read them gets 77 and keeps what is there."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"a": b"newer"})

    run = slave.once(env=keys_of(bucket, LISTER))

    assert (run.exit_code, slave.tree()) == (77, FILES)


def test_a_bucket_that_is_not_there_is_not_an_empty_one(slave: Slave) -> None:
    """No such bucket is status 69 for its mapping, and deletes nothing."""
    slave.publish(FILES)
    slave.once()
    slave.publish_map({**slave.mapping(), "s3": "no-such-bucket/data"})

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (69, FILES)
    (event,) = run.named("mapping.failed")
    assert ("NoSuchBucket" in event["error"], event["cause"]) == (True, "unavailable")
    assert "bucket's name" in event["remedy"]


def test_a_bucket_of_maps_that_is_not_there(slave: Slave) -> None:
    """The bucket of the maps is status 69 too."""
    slave.agent.configure(maps="no-such-bucket/maps", roots=[slave.root])

    run = slave.once()

    assert run.exit_code == 69


def test_a_server_that_is_down_is_not_an_empty_bucket(slave: Slave) -> None:
    """Nobody listens: status 69, nothing changes, and no copy of a map is used in its place."""
    slave.publish(FILES)
    slave.once()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        slave.configure(s3={"endpoint_url": f"http://127.0.0.1:{nobody.getsockname()[1]}"})

        run = slave.once()

    assert (run.exit_code, slave.tree()) == (69, FILES)
    (event,) = run.named("run.failed")
    assert "s3.endpoint_url" in event["remedy"]
    assert run.named("maps.loaded") == []


def test_a_slave_that_could_write_to_the_bucket(slave: Slave, bucket: Bucket) -> None:
    """What writes to S3, or deletes there, is not even loaded into the process of a slave that copies and deletes."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"a": b"newer"})
    bucket.delete("data/b")
    script = (
        "import sys; from s32s_agent import cli; code = cli.main(sys.argv[1:]);"
        "print(code, *sorted(name for name in sys.modules if name.startswith('s32s_agent.stores.s3.')))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, *slave.agent.command("--once")[3:]],
        env=slave.agent.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, *loaded = done.stdout.split()

    assert (code, slave.tree()) == ("0", {"a": b"newer"})
    assert "s32s_agent.stores.s3.source" in loaded
    writing = {
        f"s32s_agent.stores.s3.{name}" for name in ("target", "multipart", "write_requests")
    }
    assert not writing & set(loaded)
