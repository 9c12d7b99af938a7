"""Temporary credentials of an instance or a program: one that hangs or denies ends the run; keys are renewed."""

from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.metadata import ROLE, ROLES, MetadataServer
from support.s3_messages import Request, error
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.hostile

DENIED = 77
FILES = {f"d/{number}": b"%d" % number for number in range(20)}
ENDING, LASTING = "AKIAENDING", "AKIALASTING"
LENDER = """
import pathlib
here = pathlib.Path(__file__).parent
calls = here / "calls"
with calls.open("a") as file:
    print("called", file=file)
first = len(calls.read_text().splitlines()) == 1
print((here / ("first" if first else "second")).read_text())
"""
"""Lends other keys from the second call on."""


def test_a_run_with_the_credentials_of_an_instance(slave: Slave) -> None:
    """A real store accepts the credentials of the role: the run needs no others."""
    slave.publish(FILES)
    known = slave.agent.server
    with MetadataServer(known.access_key, known.secret_key) as issuer:
        run = slave.once(env=issuer.environment)

    assert (run.exit_code, run.finished["copied"]) == (0, len(FILES))
    assert issuer.asked == ["/latest/api/token", ROLES, f"{ROLES}{ROLE}"]


@pytest.mark.parametrize("behaviour", ["hang", "deny"])
def test_an_instance_that_issues_no_credentials_ends_the_run(
    slave: Slave, behaviour: str
) -> None:
    """No file changes, and the message names the possible sources of credentials."""
    slave.publish(FILES)
    assert slave.once().exit_code == 0
    slave.publish({"new": b"new"})
    before = slave.tree()
    known = slave.agent.server
    with MetadataServer(known.access_key, known.secret_key, behaviour) as issuer:
        run = slave.once(env=issuer.environment)

    (failed,) = run.named("run.failed")
    assert (run.exit_code, slave.tree(), bool(issuer.asked)) == (DENIED, before, True)
    assert "no credentials were found: set s3.profile" in failed["error"]
    assert "an instance role" in failed["error"]


def keys(path: Path, name: str, end: timedelta) -> None:
    """Return the output of a `credential_process`."""
    lent = {
        "Version": 1,
        "AccessKeyId": name,
        "SecretAccessKey": f"the-secret-of-{name}",
        "SessionToken": f"the-token-of-{name}",
        "Expiration": (datetime.now(UTC) + end).isoformat(),
    }
    path.write_text(json.dumps(lent))


def is_signed_with(name: str, request: Request) -> bool:
    return f"Credential={name}/" in request.headers.get("authorization", "")


def test_credentials_that_expire_soon_are_renewed(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """The program runs again, and the run continues with the new credentials, for listings and for bytes."""
    slave, issuer = scripted_slave, tmp_path / "issuer"
    issuer.mkdir()
    (issuer / "lend.py").write_text(LENDER)
    keys(issuer / "first", ENDING, timedelta(minutes=5))
    keys(issuer / "second", LASTING, timedelta(hours=6))
    program = shlex.join([sys.executable, str(issuer / "lend.py")])
    config = tmp_path / "aws-config"
    config.touch(mode=0o600)
    config.write_text(f"[default]\ncredential_process = {program}\n")
    slave.publish(FILES)
    scripted.on(lambda request: is_signed_with(ENDING, request), error(400, "ExpiredToken"))
    secrets = {
        f"the-{kind}-of-{name}" for kind in ("secret", "token") for name in (ENDING, LASTING)
    }
    slave.agent.given |= secrets

    run = slave.once(
        env={
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
            "AWS_CONFIG_FILE": os.fspath(config),
        }
    )

    assert (run.exit_code, run.finished["copied"]) == (0, len(FILES))
    assert (issuer / "calls").read_text().splitlines() == ["called"] * 2
    asked = [each for each in scripted.requests if "authorization" in each.headers]
    assert asked
    assert [each for each in asked if not is_signed_with(LASTING, each)] == []
