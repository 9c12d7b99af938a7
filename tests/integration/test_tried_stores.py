"""A master tries out its store once, before it writes there for the first time; `--check` shows what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from support.agents import Agent
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.masters import Master, new_master
from support.moto_server import rclone_server
from support.s3_messages import Reply, Request, is_list
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import write

from s32s_agent.demo.seaweedfs import S3Server
from s32s_agent.plan.keys import PROBES

FILES = {"a.txt": b"a", "d/b.txt": b"b"}


def probes(proxy: CountingProxy) -> int:
    """Count the requests about objects of a probe."""
    return sum(PROBES in each.path for each in proxy.answered)


def test_a_store_is_tried_out_before_the_first_write_and_not_again(
    master: Master, bucket: Bucket
) -> None:
    """Not by a dry run, not by a run that changes nothing, once by the first that does; nothing of it stays."""
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        master.write(FILES)
        master.once("--dry-run")
        assert probes(proxy) == 0

        first = master.once()
        tried = probes(proxy)
        assert tried > 0
        (event,) = first.named("store.probed")
        assert (event["bucket"], event["server"][:9]) == (bucket.name, "SeaweedFS")

        master.write({"a.txt": b"changed"})
        again = master.once()
        assert (again.exit_code, again.finished["copied"]) == (0, 1)
        assert (probes(proxy), again.named("store.probed")) == (tried, [])
    left = bucket.keys()
    assert [key for key in left if "probe" in key] == []


def test_a_store_that_makes_a_file_of_an_empty_directory(tmp_path: Path, agent: Agent) -> None:
    """`rclone serve s3` does; a master sends none there, each run is quiet, and a slave gets no such file."""
    served = tmp_path / "served"
    (served / "bucket").mkdir(parents=True)
    with rclone_server(served) as url:
        maps = served / "bucket"
        master = new_master(
            tmp_path, agent, "bucket", lambda key, data: write(maps, {key: data})
        )
        master.configure(s3={"endpoint_url": url})
        master.write(FILES)
        (master.source / "empty").mkdir()

        runs = [master.once(), master.once()]

        assert [(run.exit_code, run.finished["copied"]) for run in runs] == [(0, 2), (0, 0)]
        (told,) = runs[1].named("entry.skipped")
        assert (told["key"], told["level"]) == ("empty/", "info")
    data = served / "bucket" / "data"
    assert sorted(str(each.relative_to(data)) for each in data.rglob("*")) == [
        "a.txt",
        "d",
        "d/b.txt",
    ]


def test_check_of_a_master_says_what_its_store_can_promise(
    master: Master, bucket: Bucket
) -> None:
    """One line for each promise, with what follows where it cannot; nothing in the bucket changes."""
    master.write(FILES)
    before = bucket.keys()

    run = master.agent.run("--check")

    assert run.exit_code == 0
    lines = [line for line in run.stdout.splitlines() if f'store of "{bucket.name}"' in line]
    assert lines[0].startswith(f'ok      store of "{bucket.name}": SeaweedFS')
    (order,) = (line for line in lines if "order of listings" in line)
    assert (order[:4], order.rpartition("; ")[2]) == ("note", "the agent sorts them")
    (writers,) = (line for line in lines if "two writers, large objects" in line)
    assert writers.startswith("ok")
    assert bucket.keys() == before


def test_check_as_json(master: Master, bucket: Bucket) -> None:
    """One document: the exit status, every finding, and the traits of each store."""
    master.write(FILES)
    run = master.agent.run("--check", "--json")
    document = json.loads(run.stdout)

    assert (document["schema_version"], document["exit_status"]) == (1, run.exit_code)
    assert {each["verdict"] for each in document["findings"]} <= {"ok", "note", "warning"}
    traits = document["stores"][bucket.name]
    assert (traits["replace"], traits["in_key_order"]) == ("held", False)


def test_check_of_a_slave_writes_nothing(master: Master, seaweedfs_server: S3Server) -> None:
    """It only reads; where nothing is missing in what reading shows, it says nothing."""
    master.write(FILES)
    master.once()
    slave = master.slave()
    with CountingProxy(seaweedfs_server.endpoint_url) as proxy:
        slave.configure(s3={"endpoint_url": proxy.endpoint_url})
        run = slave.agent.run("--check")

        assert set(proxy.counts()) <= {"LIST", "GET", "HEAD", "GET map"}
    assert run.exit_code == 0
    assert "store of" not in run.stdout


def test_a_store_whose_listings_have_no_etags_is_told(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """A run that copies says what that means, and what helps; one that copies nothing is quiet, and `--check` warns."""
    slave = scripted_slave
    slave.publish(FILES)

    def without_etags(request: Request) -> Reply:
        page = scripted.page(request)
        return replace(page, rows=tuple(replace(row, etag="") for row in page.rows)).reply()

    scripted.on(is_list, without_etags)
    first, second = slave.once(), slave.once()

    assert [run.exit_code for run in (first, second)] == [0, 0]
    (told,) = first.named("store.limited")
    assert (told["mapping"], told["level"]) == ("site", "warning")
    assert "--keep-etag" in told["reason"]
    assert (second.named("store.limited"), second.finished["copied"]) == ([], 0)
    checked = slave.agent.run("--check")
    assert "ETags in listings              no; a change is seen by size" in checked.stdout
