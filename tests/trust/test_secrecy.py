"""No credential is logged or stored by the agents of any test, at any level, in any error."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from support.agents import Agent, AgentRun
from support.buckets import READER
from support.counting_proxy import CountingProxy
from support.fault_rigs import new_rig
from support.forked import forked_once
from support.scenarios import SCENARIOS
from support.secrecy import assert_no_secrets_in_files
from support.slaves import Slave
from support.tracing import KILL, PROCEED, SUPPORTED, WHY_NOT, Action, Call

pytestmark = pytest.mark.hostile

PASSWORD = "hunter2-but-longer"
NOTHING = AgentRun(
    0, [{"event": "run.finished", "exit_code": 0, "copied": 0, "deleted": 0}], "", ""
)
TOKEN = "FwoGZXIvYXdzE-a-session-token-of-a-role"


def everything_written(slave: Slave, env: dict[str, str | None], mode: str) -> str:
    """Run an agent, and return its output and the content of its state directory."""
    run = slave.agent.run(mode, "--log-level", "debug", "--log-format", "logfmt", env=env)
    state = slave.agent.state_dir
    kept = [each.read_bytes() for each in state.rglob("*") if each.is_file()]
    return run.stdout + run.stderr + b"".join(kept).decode(errors="replace")


def test_a_disclosed_secret_fails_a_test(slave: Slave) -> None:
    """The output of every agent of every test is searched, and the search finds a secret."""
    with pytest.raises(AssertionError, match="a credential was disclosed"):
        slave.once(env={"AWS_SECRET_ACCESS_KEY": "run.started"})
    slave.agent.given.clear()


def test_a_stored_secret_fails_a_test(agent: Agent, tmp_path: Path) -> None:
    """The state and the logs of every agent are searched at the end of each test."""
    secrets = {agent.server.secret_key}
    assert_no_secrets_in_files(secrets, agent.directory)
    for path in (tmp_path / "log", agent.state_dir / "maps" / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"key={agent.server.secret_key}")

        with pytest.raises(AssertionError, match="a credential was disclosed"):
            assert_no_secrets_in_files(secrets, agent.directory)

        path.unlink()


def test_a_disclosed_secret_fails_a_test_however_the_agent_ran(slave: Slave) -> None:
    """Also when it was forked, or ran without capabilities."""
    slave.agent.given.add("run.started")
    with pytest.raises(AssertionError, match="a credential was disclosed"):
        forked_once(slave.agent)
    with pytest.raises(AssertionError, match="a credential was disclosed"):
        slave.once_unprivileged()
    slave.agent.given.clear()


@pytest.mark.skipif(not SUPPORTED, reason=WHY_NOT)
def test_a_secret_disclosed_before_a_kill_is_a_problem(tmp_path: Path) -> None:
    """The output and files of runs that meet a fault are searched as well."""

    def decide(call: Call) -> Action:
        return KILL if call.name.startswith("rename") and "/srv/" in call.paths[0] else PROCEED

    with new_rig(SCENARIOS["first"], tmp_path / "rig", lambda _agent: NOTHING) as rig:
        rig.agent.given.add("mapping.planned")
        traced = rig.trace(decide)
        rig.agent.state_dir.joinpath("x").write_text(rig.agent.server.secret_key)

        found = rig.problems(traced)

    assert traced.exit_code == -9
    assert {"a credential was disclosed", "a credential was disclosed in x"} <= set(found)


@pytest.mark.parametrize("mode", ["--once", "--check"])
def test_a_session_token_is_not_disclosed(slave: Slave, mode: str) -> None:
    """A token that the server does not know is sent to it, and shown nowhere."""
    output = everything_written(slave, {"AWS_SESSION_TOKEN": TOKEN}, mode)

    assert TOKEN not in output


@pytest.mark.parametrize("mode", ["--once", "--check"])
@pytest.mark.parametrize(
    "address", [f"http://user:{PASSWORD}@127.0.0.1:9", f"http://user:{PASSWORD}@[::1"]
)
def test_the_password_of_a_proxy_is_not_disclosed(
    slave: Slave, mode: str, address: str
) -> None:
    """A proxy that does not answer, or whose URL is invalid, is named without its password."""
    output = everything_written(slave, {"HTTP_PROXY": address, "HTTPS_PROXY": address}, mode)

    assert "proxy" in output.lower()
    assert PASSWORD not in output


def test_an_endpoint_with_a_password_is_refused_without_it(slave: Slave) -> None:
    """The message names the problem, not the URL."""
    slave.configure(s3={"endpoint_url": f"https://user:{PASSWORD}@s3.example.net"})

    run = slave.agent.run("--once", "--log-format", "console")

    assert (run.exit_code, PASSWORD in run.stderr) == (78, False)
    assert "s3.endpoint_url" in run.stderr


def test_the_keys_of_a_profile_are_not_disclosed(slave: Slave) -> None:
    """Keys from a credentials file are used, and shown nowhere."""
    identity = slave.agent.server.identities[READER]
    path = slave.agent.directory / "credentials"
    path.write_text(
        f"[default]\naws_access_key_id={identity.access_key}\naws_secret_access_key={identity.secret_key}\n"
    )
    path.chmod(0o600)
    keys: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    slave.publish({"a": b"alpha"})

    output = everything_written(
        slave, {**keys, "AWS_SHARED_CREDENTIALS_FILE": str(path)}, "--once"
    )

    assert (slave.tree(), identity.secret_key in output) == ({"a": b"alpha"}, False)


def test_no_credential_is_in_the_process_list(slave: Slave) -> None:
    """The command line, which `ps` shows to every user, contains none during a run."""
    slave.publish({"a": b"alpha"})
    with CountingProxy(slave.agent.server.endpoint_url) as proxy:
        slave.configure(s3={"endpoint_url": proxy.endpoint_url})
        proxy.hold_after(0)
        with subprocess.Popen(
            slave.agent.command("--once"),
            env=slave.agent.environment(),
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                assert proxy.wait_for(1)
                about = Path("/proc", str(process.pid))
                shown = (about / "cmdline").read_bytes() + (about / "comm").read_bytes()
            finally:
                process.send_signal(signal.SIGKILL)

    assert b"s32s_agent" in shown
    assert slave.agent.server.secret_key.encode() not in shown
