"""What the README shows as the agent's output is what the agent prints. On a real server."""

from __future__ import annotations

import pytest
from support.buckets import Bucket
from support.pages import README, blocks, section_of
from support.slaves import Slave
from support.trees import write

pytestmark = pytest.mark.integration

PREFIX, SHOWN_BUCKET, SHOWN_TARGET = "backup/dir1", "bucketname", "/srv/www/site"
BEFORE = {
    "img/logo.png": bytes(182_000),
    "index.html": bytes(5_210),
    "style.css": bytes(3_000),
}
AFTER = {"index.html": bytes(6_120), "img/team.jpg": bytes(1_200_000)}


def test_the_readme_shows_what_a_dry_run_prints(slave: Slave, bucket: Bucket) -> None:
    """A new object, a changed one, one that is gone, and a file that no object ever was."""
    slave.publish(BEFORE, PREFIX)
    slave.publish_map(slave.mapping(s3=PREFIX))
    assert slave.once().exit_code == 0
    slave.publish(AFTER, PREFIX)
    bucket.delete(f"{PREFIX}/style.css")
    write(slave.target, {"old.html": b"old\n"})

    run = slave.once("--dry-run")

    text = run.stdout.replace(slave.bucket, SHOWN_BUCKET)
    text = text.replace(str(slave.target), SHOWN_TARGET)
    assert run.exit_code == 0
    assert blocks(section_of(README, "A map, a config, a dry run"), "text") == [text]
