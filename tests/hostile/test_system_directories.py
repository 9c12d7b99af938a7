"""`roots: [/]`: system directories and home directories are refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.agents import AgentRun
from support.forked import TIMEOUT_SECONDS
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot, write

pytestmark = pytest.mark.hostile

DATAERR = 65
NAMED = "expected a directory that is neither a system directory nor a home"
LINKED = "is a system directory or a home directory"
"""The errors of a map that names such a directory, and of one that names a link to it."""
WITH_PASSWD = 'mount --bind "$0" /etc/passwd && exec "$@"'
PRIVATE = ("unshare", "--mount", "--propagation", "private")


def test_roots_of_everything_do_not_make_a_system_directory_a_target(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """Neither directly nor through a link."""
    slave = scripted_slave
    (slave.root / "link").symlink_to("/etc")
    places = {"etc": "/etc", "top": "/", "root": "/root", "link": str(slave.root / "link")}
    slave.agent.configure(
        maps=f"{slave.bucket}/maps/site.json",
        roots=[Path("/")],
        s3={"endpoint_url": scripted.endpoint_url},
    )
    for name, place in places.items():
        # Nothing is under this prefix, and a dry run touches nothing, should the map ever be obeyed.
        evil = slave.mapping(name, "nothing", slave=place, extras="keep")
        slave.publish_map(evil, slave.mapping())
        slave.publish({"x": b"x"})

        run = slave.once("--dry-run")

        (failed,) = run.named("mapping.failed")
        assert (run.exit_code, failed["mapping"], failed["cause"]) == (
            DATAERR,
            name,
            "dataerr",
        )
        assert (LINKED if name == "link" else NAMED) in failed["error"]
        assert [each["mapping"] for each in run.named("mapping.planned")] == ["site"]


def with_passwd(slave: Slave, passwd: Path) -> AgentRun:
    """Run the agent on a computer with another user database."""
    done = subprocess.run(
        [*PRIVATE, "sh", "-c", WITH_PASSWD, passwd, *slave.agent.command("--once")],
        env=slave.agent.environment(),
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return slave.agent.ended((), done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can bind a file over /etc/passwd")
def test_a_map_does_not_mirror_over_a_home_directory(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """Whatever its path in the user database is: neither it nor what contains it is a target, nor through a link."""
    if subprocess.run([*PRIVATE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    slave, home = scripted_slave, tmp_path / "people/eve"
    write(home, {"precious": b"precious"})
    (slave.root / "link").symlink_to(home)
    passwd = tmp_path / "passwd"
    passwd.write_text(f"{Path('/etc/passwd').read_text()}eve:x:1234:1234::{home}:/bin/sh\n")
    slave.agent.configure(
        maps=f"{slave.bucket}/maps/site.json",
        roots=[tmp_path],
        s3={"endpoint_url": scripted.endpoint_url},
    )
    slave.publish({"x": b"x"})
    for place, refusal in ((home, NAMED), (home.parent, NAMED), (slave.root / "link", LINKED)):
        slave.publish_map(slave.mapping(), slave.mapping("evil", slave=str(place)))

        run = with_passwd(slave, passwd)

        (failed,) = run.named("mapping.failed")
        assert (run.exit_code, failed["mapping"]) == (DATAERR, "evil")
        assert refusal in failed["error"]
        assert snapshot(home.parent) == {"eve": None, "eve/precious": b"precious"}
        assert slave.tree() == {"x": b"x"}
    slave.publish_map(slave.mapping("below", slave=str(home / "site")))
    assert (with_passwd(slave, passwd).exit_code, snapshot(home / "site")) == (0, {"x": b"x"})
