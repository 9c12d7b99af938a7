"""Keys that an instance or a program lends: one that hangs or denies ends the pass, and keys are renewed."""

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


def test_the_keys_of_an_instance_mirror(slave: Slave) -> None:
    """A real store takes what the role was lent: the pass needs no other keys."""
    slave.publish(FILES)
    known = slave.agent.server
    with MetadataServer(known.access_key, known.secret_key) as lender:
        run = slave.once(env=lender.environment)

    assert (run.exit_code, run.finished["copied"]) == (0, len(FILES))
    assert lender.asked == ["/latest/api/token", ROLES, f"{ROLES}{ROLE}"]


@pytest.mark.parametrize("behaviour", ["hang", "deny"])
def test_an_instance_that_lends_no_keys_ends_the_pass(slave: Slave, behaviour: str) -> None:
    """Nothing here is touched, and the message says which keys would do."""
    slave.publish(FILES)
    assert slave.once().exit_code == 0
    slave.publish({"new": b"new"})
    before = slave.tree()
    known = slave.agent.server
    with MetadataServer(known.access_key, known.secret_key, behaviour) as lender:
        run = slave.once(env=lender.environment)

    (failed,) = run.named("run.failed")
    assert (run.exit_code, slave.tree(), bool(lender.asked)) == (DENIED, before, True)
    assert "no credentials were found: set s3.profile" in failed["error"]
    assert "an instance role" in failed["error"]


def keys(path: Path, name: str, end: timedelta) -> None:
    """Write what a `credential_process` prints."""
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


def test_keys_that_are_about_to_end_are_renewed(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """The program is asked again, and the pass goes on with what it lends then, for listings and for bytes."""
    slave, lender = scripted_slave, tmp_path / "lender"
    lender.mkdir()
    (lender / "lend.py").write_text(LENDER)
    keys(lender / "first", ENDING, timedelta(minutes=5))
    keys(lender / "second", LASTING, timedelta(hours=6))
    program = shlex.join([sys.executable, str(lender / "lend.py")])
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
    assert (lender / "calls").read_text().splitlines() == ["called"] * 2
    asked = [each for each in scripted.requests if "authorization" in each.headers]
    assert asked
    assert [each for each in asked if not is_signed_with(LASTING, each)] == []
