"""No map writes objects to paths of files that the agent trusts or runs, or through links of other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot, write

pytestmark = pytest.mark.hostile

DATAERR = 65
NOBODY = 65534
EVIL = {"config.yaml": b"evil", "config": b"evil", "hook": b"evil"}


def test_a_map_does_not_replace_the_config(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """No map can name the directory of a config, a profile or a hook below a root, or a directory above it."""
    slave, agent = scripted_slave, scripted_slave.agent
    home, files = tmp_path / "home", {"bin/hook": b"#!/bin/sh\n", "etc/other": b"other"}
    env: dict[str, str | None] = {"HOME": str(home)}
    write(home, files)
    (home / "bin/hook").chmod(0o700)
    agent.config_file = home / "etc/config.yaml"
    agent.configure(
        maps=f"{slave.bucket}/maps/site.json",
        roots=[tmp_path],
        s3={"endpoint_url": scripted.endpoint_url},
        hooks={"after": [[str(home / "bin/hook")]]},
    )
    slave.publish(EVIL)
    before = snapshot(home)
    for places in ({name: home / name for name in ("etc", ".aws", "bin")}, {"top": home}):
        evil = [slave.mapping(name, slave=str(place)) for name, place in places.items()]
        slave.publish_map(slave.mapping(), *evil)

        run = slave.once(env=env)

        errors = {each["mapping"]: each["error"] for each in run.named("mapping.failed")}
        assert (run.exit_code, errors.keys()) == (DATAERR, places.keys())
        assert all("which the agent trusts or runs" in error for error in errors.values())
        after = snapshot(home)
        assert {name: after[name] for name in before} == before
        assert not (home / ".aws").exists()
        assert slave.tree() == EVIL
        assert "trusts or runs" in agent.run("--check", env=env).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
@pytest.mark.parametrize("name", ["site", "site/below"])
def test_a_link_of_another_user_leads_no_run_into_another_directory(
    scripted_slave: Slave, name: str
) -> None:
    """It is not followed though it stays in the roots: nothing there is changed."""
    slave = scripted_slave
    write(slave.root / "precious", {"x": b"precious", "below/x": b"precious"})
    link = slave.root / "site"
    link.symlink_to("precious")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    slave.publish_map(slave.mapping(slave=str(slave.root / name)))
    slave.publish({"evil": b"evil"})

    run = slave.once()

    assert run.exit_code == DATAERR
    assert snapshot(slave.root / "precious") == {
        "x": b"precious",
        "below": None,
        "below/x": b"precious",
    }
    os.chown(link, 0, 0, follow_symlinks=False)
    assert slave.once().exit_code == 0
