"""A slow listing delays neither a signal nor the timeout of a run."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from support.s3_messages import Reply, Request, is_list
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.hostile

FILES = {f"{number:03}": b"x" for number in range(200)}
PAGE_SECONDS = 0.5
"""All 200 pages would take 100 seconds."""
SOON_SECONDS = 30


@pytest.fixture
def third_page(scripted_slave: Slave, scripted: ScriptedS3) -> threading.Event:
    """Set when the third of very many slow pages is requested."""
    scripted_slave.publish_map(scripted_slave.mapping())
    scripted_slave.publish(FILES)
    scripted.page_size = 1
    asked, pages = threading.Event(), iter(range(1, 1000))

    def slowly(_request: Request) -> Reply | None:
        if next(pages) == 3:
            asked.set()
        time.sleep(PAGE_SECONDS)
        return None

    scripted.on(is_list, slowly)
    return asked


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_during_a_listing_ends_the_run(
    scripted_slave: Slave,
    third_page: threading.Event,
    tmp_path: Path,
    number: int,
    exit_code: int,
) -> None:
    """Though botocore treats the signal's exception as a network error."""
    log, agent = tmp_path / "log", scripted_slave.agent
    with agent.started(log=log) as process:
        assert third_page.wait(SOON_SECONDS)
        process.send_signal(number)

        assert process.wait(SOON_SECONDS) == exit_code
    run = agent.ended((), exit_code, b"", log.read_bytes())
    assert run.finished["exit_code"] == exit_code
    assert not scripted_slave.target.exists() or scripted_slave.tree() == {}


@pytest.mark.usefixtures("third_page")
def test_run_timeout_ends_a_run_during_a_listing(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """The timeout is the reported cause."""
    endpoint = {"endpoint_url": scripted.endpoint_url}
    scripted_slave.configure("maps/site.json", s3=endpoint, sync={"run_timeout": "3s"})

    run = scripted_slave.once()

    assert run.exit_code == 1
    assert [each["cause"] for each in run.named("run.failed")] == ["timeout"]
