"""No run waits for ever: neither for the program that issues credentials, nor for the abort of an upload."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faulty_network import Fault, FaultyNetwork
from support.forked import Forks
from support.masters import Master
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads

pytestmark = pytest.mark.hostile

SOON_SECONDS = 30
PARTIAL, UNAVAILABLE = 1, 69
ABORT = b"DELETE /bucket/data/begun?uploadId"


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[dict[str, str | None]]:
    """The environment of a run whose `credential_process` never ends."""
    note, config = tmp_path / "pid", tmp_path / "aws-config"
    command = f"sh -c 'echo $$ > {note}; exec sleep 600'"
    config.touch(mode=0o600)
    config.write_text(f"[default]\ncredential_process = {command}\n")
    gone = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    yield {**gone, "AWS_CONFIG_FILE": str(config)}
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_run_timeout_ends_the_wait_for_credentials(
    scripted_slave: Slave, scripted: ScriptedS3, hanging: dict[str, str | None]
) -> None:
    """The `credential_process` hangs."""
    s3 = {"endpoint_url": scripted.endpoint_url}
    scripted_slave.configure("maps/site.json", s3=s3, sync={"run_timeout": "2s"})
    started = time.monotonic()

    run = scripted_slave.once(env=hanging)

    assert time.monotonic() - started < SOON_SECONDS
    assert run.exit_code == PARTIAL
    assert [each["cause"] for each in run.named("run.failed")] == ["timeout"]


def test_credentials_that_never_arrive_end_the_run(
    scripted_slave: Slave, forks: Forks, hanging: dict[str, str | None]
) -> None:
    """Without `run_timeout` the wait ends as well, and the message names the program."""
    run = forks.once(scripted_slave.agent, env=hanging, timeouts={"request_seconds": 2})

    (failed,) = run.named("run.failed")
    assert run.exit_code == UNAVAILABLE
    assert failed["error"] == "no credentials within 2 s"
    assert "credential_process" in failed["remedy"]


@pytest.fixture
def leaving(scripted_master: Master, scripted: ScriptedS3) -> Iterator[Master]:
    """A master with a file to send and an unfinished upload of a killed run, whose abort is answered byte by byte."""
    master = scripted_master
    master.write({"x": b"data"})
    scripted.uploads["left"] = "data/begun", {1: b"part"}
    with FaultyNetwork(scripted.endpoint_url) as network:
        network.on(ABORT, Fault(rate=2))
        notes = Uploads(master.agent.state_dir / "uploads")
        master.agent.state_dir.mkdir(mode=0o750)
        notes.begin(Upload(network.endpoint_url, "bucket", "data/begun", "left"))
        master.configure("maps/site.json", s3={"endpoint_url": network.endpoint_url})
        yield master


def test_run_timeout_ends_the_wait_for_an_abort(leaving: Master, forks: Forks) -> None:
    """The answer to the abort never ends."""
    config = leaving.agent.config_file
    config.write_text(config.read_text() + "sync: {run_timeout: 2s}\n")
    started = time.monotonic()

    run = forks.once(leaving.agent)

    assert time.monotonic() - started < SOON_SECONDS
    assert run.exit_code == PARTIAL
    assert [each["cause"] for each in run.named("run.failed")] == ["timeout"]


def test_an_abort_that_hangs_delays_no_copy(
    leaving: Master, forks: Forks, scripted: ScriptedS3
) -> None:
    """It is left to a later run and reported; the files are sent."""
    run = forks.once(leaving.agent, timeouts={"request_seconds": 2})

    assert (run.exit_code, scripted.objects["data/x"].data) == (UNAVAILABLE, b"data")
    assert [each["key"] for each in run.named("entry.skipped")] == ["begun"]
    assert len(list((leaving.agent.state_dir / "uploads").iterdir())) == 1
