"""What the agent does with config and state that other users may write, and with whose permissions it writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.agents import Agent
from support.slaves import Slave

pytestmark = pytest.mark.hostile

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.mark.parametrize("mode", ["--once", "--check"])
def test_no_run_starts_with_a_config_that_others_may_write(slave: Slave, mode: str) -> None:
    """Status 78 before any request or change; --status, which changes nothing, still works."""
    slave.publish({"a": b"alpha"})
    slave.agent.config_file.chmod(0o666)

    run = slave.agent.run(mode, "--log-format", "console")

    assert run.exit_code == os.EX_CONFIG
    assert "is writable by everyone (mode 0666)" in run.stderr
    assert f"chmod go-w {slave.agent.config_file}" in run.stderr
    assert (slave.target.exists(), slave.agent.state_dir.exists()) == (False, False)
    assert slave.agent.run("--status").exit_code == 0


@pytest.mark.parametrize("arguments", [("--once",), ("--once", "--dry-run"), ("--check",)])
def test_no_run_starts_with_a_state_directory_that_others_may_write(
    slave: Slave, arguments: tuple[str, ...]
) -> None:
    """Status 73, and nothing is deleted or copied."""
    slave.publish({"a": b"alpha"})
    assert slave.once().exit_code == 0
    slave.publish({"a": b"newer"})
    slave.agent.state_dir.chmod(0o777)

    run = slave.agent.run(*arguments, "--log-format", "logfmt")

    assert (run.exit_code, slave.tree()) == (os.EX_CANTCREAT, {"a": b"alpha"})
    assert "state_dir" in run.stderr + run.stdout
    assert f"chmod go-w {slave.agent.state_dir}" in run.stderr + run.stdout


@pytest.mark.parametrize("name", ["run.lock", "index.db", "last_run.json", "maps"])
def test_a_planted_link_in_the_state_directory_is_not_followed(
    slave: Slave, tmp_path: Path, name: str
) -> None:
    """What links with the names of the agent's files point at stays as it is."""
    precious = tmp_path / "precious"
    if name == "maps":
        precious.mkdir()
    else:
        precious.write_bytes(b"precious")
    slave.agent.state_dir.mkdir(mode=0o750)
    (slave.agent.state_dir / name).symlink_to(precious)
    slave.publish({"a": b"alpha"})

    run = slave.once()

    assert run.exit_code == os.EX_CANTCREAT
    assert "symbolic link" in run.stderr
    assert (list(precious.iterdir()) if name == "maps" else precious.read_bytes()) in (
        [],
        b"precious",
    )


def test_status_does_not_block_on_a_pipe_or_follow_a_link(
    agent: Agent, tmp_path: Path
) -> None:
    """`--status` neither waits for a pipe nor shows what a link leads to."""
    agent.configure(maps="bucket/maps", roots=[tmp_path / "srv"])
    agent.state_dir.mkdir()
    path = agent.state_dir / "last_run.json"
    os.mkfifo(path)
    pipe = agent.run("--status", "--log-format", "console")
    path.unlink()
    secret = tmp_path / "secret"
    secret.write_text('{"exit_code": 0, "role": "secret"}')
    path.symlink_to(secret)

    link = agent.run("--status", "--json", "--log-format", "console")

    assert (pipe.exit_code, link.exit_code) == (os.EX_CANTCREAT, os.EX_CANTCREAT)
    assert "secret" not in link.stdout


def test_the_files_of_a_run_are_writable_by_the_agent_alone(slave: Slave) -> None:
    """Even without a umask other users may write nothing in the state, and read little."""
    slave.publish({"a": b"alpha"})
    before = os.umask(0)
    try:
        assert slave.once().exit_code == 0
    finally:
        os.umask(before)

    state = slave.agent.state_dir
    modes = {
        str(each.relative_to(state)).split("/")[0]: stat.S_IMODE(each.stat().st_mode)
        for each in [state, *state.rglob("*")]
        if each.parent.name not in ("batches", "maps")
    }
    assert modes == {
        ".": 0o750,
        "batches": 0o700,
        "index.db": 0o600,
        "index.db-journal": 0o600,
        "last_run.json": 0o644,
        "maps": 0o700,
        "run.lock": 0o600,
    }
    kept = [*(state / "maps").iterdir(), *(state / "batches").iterdir()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in kept} == {0o600}


@needs_root
def test_root_does_not_use_the_state_of_a_service(slave: Slave) -> None:
    """The error names the user that should run the agent."""
    slave.publish({"a": b"alpha"})
    slave.agent.state_dir.mkdir(mode=0o750)
    os.chown(slave.agent.state_dir, NOBODY, -1)

    run = slave.once()

    assert run.exit_code == os.EX_CANTCREAT
    (event,) = run.named("run.failed")
    assert "belongs to nobody (mode 0750), expected root" in event["error"]
    assert event["remedy"].startswith("run the agent as that user")


def test_no_credential_crosses_a_network_in_the_clear(slave: Slave) -> None:
    """http:// to another computer is refused, also where the environment sets it."""
    slave.configure(s3={"endpoint_url": None})

    run = slave.once(env={"AWS_ENDPOINT_URL": "http://192.0.2.1:9000"})

    assert run.exit_code == os.EX_CONFIG
    (event,) = run.named("run.failed")
    assert "expected https://" in event["error"]
