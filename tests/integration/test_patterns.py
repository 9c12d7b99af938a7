"""What the patterns of `ignore` protect, on both sides, and what `--check` says about them. On a real server."""

from __future__ import annotations

import pytest
from support.buckets import Bucket
from support.masters import Master
from support.slaves import Slave
from support.trees import write

pytestmark = pytest.mark.integration

FILES = {f"{number:02}": b"%d" % number for number in range(20)}
UPLOADS = {"uploads/a": b"a", "uploads/deep/b": b"b"}


@pytest.mark.parametrize("pattern", ["uploads", "uploads/", "uploads/*", "up*ds/"])
def test_uploads_of_visitors_are_not_deleted(slave: Slave, pattern: str) -> None:
    """A pattern for a directory protects what is in it, however it is written."""
    slave.publish(FILES)
    slave.publish_map(slave.mapping(ignore=[pattern]))
    slave.once()
    write(slave.target, UPLOADS)

    run = slave.once()

    tree = {path: data for path, data in slave.tree().items() if data is not None}
    assert (run.exit_code, tree) == (0, {**FILES, **UPLOADS})
    assert run.finished["deleted"] == 0


@pytest.mark.parametrize("pattern", [".git", ".git/"])
def test_the_repository_of_a_site_is_not_published(
    master: Master, bucket: Bucket, pattern: str
) -> None:
    """Passwords in `.git/config` stay on the master."""
    master.write({"index.html": b"hi", ".git/config": b"password", ".gitignore": b"x"})
    master.publish_map(master.mapping(ignore=[pattern]))

    run = master.once()

    published = {key for key in bucket.keys() if key.startswith("data/")}  # noqa: SIM118
    assert (run.exit_code, published) == (0, {"data/.gitignore", "data/index.html"})


@pytest.mark.parametrize("pattern", ["/uploads/*", "./uploads/*", "uploads/* ", "../uploads"])
def test_a_pattern_that_no_path_can_match_is_refused(slave: Slave, pattern: str) -> None:
    """The mapping fails, with the place in the map file, before it deletes what the pattern was to protect."""
    slave.publish(FILES)
    slave.once()
    write(slave.target, UPLOADS)
    slave.publish_map(slave.mapping(ignore=["*.bmp", pattern]))

    run = slave.once()

    assert run.exit_code == 65
    assert (slave.target / "uploads" / "deep" / "b").read_bytes() == b"b"
    [failed] = run.named("mapping.failed")
    assert "mapping 1" in failed["error"]
    assert "ignore[1]: expected a pattern" in failed["error"]


def test_check_says_what_every_pattern_covers(slave: Slave) -> None:
    """Entries of both sides; a pattern that covers none is a warning, not a failure."""
    slave.publish({**FILES, "old.bmp": b"x"})
    slave.publish_map(slave.mapping(ignore=["*.bmp", "uploads", "uplaods/"]))
    slave.once()
    write(slave.target, UPLOADS)

    run = slave.agent.run("--check", "--log-format", "json")

    here, there = "of 21 entries in S3", "of 24 entries in the directory"
    assert run.exit_code == 0
    found = [
        line.partition(";")[0].replace('mapping "site": ', "")
        for line in run.stdout.splitlines()
        if "ignore" in line
    ]
    assert found == [
        f'ok      ignore "*.bmp" covers 1 {here} and 0 {there}',
        f'ok      ignore "uploads" covers 0 {here} and 4 {there}',
        f'warning ignore "uplaods/" covers 0 {here} and 0 {there}',
    ]


def test_check_counts_what_a_master_would_publish(master: Master) -> None:
    """Of a directory that is not there yet on a slave there is nothing to count; a master's is listed."""
    master.write({".git/config": b"x", "a": b"a"})
    master.publish_map(master.mapping(ignore=[".git"]))

    run = master.agent.run("--check", "--log-format", "json")

    expected = (
        'ok      mapping "site": ignore ".git" covers 0 of 0 entries in S3 and 2 of 3 entries'
    )
    assert any(line.startswith(expected) for line in run.stdout.splitlines())
