"""Bad networks, for every kind of request and both roles: no byte is lost, and no run hangs.

The agents of one test run at the same time, since they mostly wait.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import Agent, AgentRun
from support.buckets import Bucket
from support.faulty_network import Fault, FaultyNetwork
from support.forked import Forks
from support.invariants import (
    Invariants,
    Tree,
    check_after,
    check_output,
    check_recovery,
    check_status,
    state_before_run,
    versions_of,
)
from support.masters import Master, new_master
from support.run_checkers import server_contents
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.demo.seaweedfs import S3Server

pytestmark = pytest.mark.hostile

MIB = 1 << 20
LARGE = random.Random(5).randbytes(9 * MIB)
"""More than a slave takes in one piece, and than a master sends in one."""
OLD = {"small": b"old " * 500, "large": LARGE[::-1], "extra": b"extra"}
NEW = {"small": b"new " * 500, "large": LARGE}
PATIENT = {"connect_seconds": 8, "read_seconds": 8, "attempts": 3, "pause_seconds": 0.05}
IMPATIENT = {
    **PATIENT,
    "read_seconds": 1.5,
    "attempts": 2,
    "request_seconds": 5,
    "stalled_seconds": 5,
}
PARTIAL, UNAVAILABLE = 1, 69

SLAVE = {
    "map": b"GET /bucket/maps/site.json",
    "LIST": b"list-type=2",
    "GET small": b"GET /bucket/data/small",
    "GET large": b"GET /bucket/data/large",
    "HEAD": b"HEAD /bucket/data/extra",
}
MASTER = {
    "map": b"GET /bucket/maps/site.json",
    "LIST": b"list-type=2",
    "PUT": b"PUT /bucket/data/small",
    "create": b"POST /bucket/data/large?uploads",
    "part": b"partNumber=2",
    "complete": b"POST /bucket/data/large?uploadId",
    "DELETE": b"DELETE /bucket/data/extra",
}
REQUESTS = {
    **{f"slave: {name}": begins for name, begins in SLAVE.items()},
    **{f"master: {name}": begins for name, begins in MASTER.items()},
}


@dataclass(frozen=True, slots=True)
class Line:
    """One agent, its server, and the network between them."""

    name: str
    server: ScriptedS3
    network: FaultyNetwork
    user: Slave | Master
    before: Invariants

    @property
    def agent(self) -> Agent:
        return self.user.agent

    @property
    def begins(self) -> bytes:
        """The bytes by which the tested request is recognised."""
        return REQUESTS[self.name]

    @property
    def old(self) -> dict[str, bytes]:
        return _of_interest(self.name, OLD)

    @property
    def new(self) -> dict[str, bytes]:
        return _of_interest(self.name, NEW)

    def published(self) -> dict[str, bytes]:
        return dict(server_contents(self.server)())

    def target(self) -> Tree:
        """Return the content of the target: a directory, or a prefix."""
        return self.user.tree() if isinstance(self.user, Slave) else self.published()

    def left(self) -> list[str]:
        """List temporary files and unfinished uploads, without empty ones: the agent may not know those."""
        unfinished = [key for key, parts in self.server.uploads.values() if parts]
        return unfinished + (self.user.temporaries() if isinstance(self.user, Slave) else [])

    def configure(self, **sync: str) -> None:
        s3 = {"endpoint_url": self.network.endpoint_url}
        self.user.configure("maps/site.json", s3=s3, sync={"workers": 4, **sync})


def _of_interest(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the large file where no request for it is tested."""
    needed = b"large" in REQUESTS[name] or "part" in name
    return {key: data for key, data in files.items() if needed or key != "large"}


@pytest.fixture
def lines(tmp_path: Path, seaweedfs_server: S3Server) -> Iterator[list[Line]]:
    """An agent for each kind of request; its source has changed since its last run."""
    with ExitStack() as stack:
        yield [
            _line(tmp_path / str(number), name, stack, seaweedfs_server)
            for number, name in enumerate(REQUESTS)
        ]


def _line(directory: Path, name: str, stack: ExitStack, keys: S3Server) -> Line:
    server = stack.enter_context(ScriptedS3())
    network = stack.enter_context(FaultyNetwork(server.endpoint_url))
    agent = Agent(directory / "agent", keys)
    agent.directory.mkdir(parents=True)
    user: Slave | Master
    if name.startswith("slave"):
        user = Slave(agent, server.bucket, server.put, directory / "srv")
        user.root.mkdir()
        user.publish_map(user.mapping())
        for key, data in _of_interest(name, NEW).items():
            server.put(f"data/{key}", data)
        user.target.mkdir()
        for key, data in _of_interest(name, OLD).items():
            (user.target / key).write_bytes(data)
    else:
        user = new_master(directory, agent, server.bucket, server.put)
        user.write(_of_interest(name, NEW))
        for key, data in _of_interest(name, OLD).items():
            server.put(f"data/{key}", data)
    if isinstance(user, Slave):
        before = state_before_run(user.target, agent.state_dir)
    else:
        shown = server_contents(server)
        before = state_before_run(user.source, agent.state_dir, [user.source], shown)
    line = Line(name, server, network, user, before)
    line.configure()
    return line


def run_all(lines: list[Line], forks: Forks, timeouts: Mapping[str, float]) -> list[AgentRun]:
    """Run every agent once, all at the same time."""
    running = [forks.start(line.agent, timeouts=timeouts) for line in lines]
    return [each.wait() for each in running]


def problems(line: Line, run: AgentRun) -> list[str]:
    """List what the run did that no run may do: the target holds complete versions, and only a complete run deletes."""
    versions = versions_of(OLD, NEW)
    # What ends without an answer to a DELETE may have deleted: that is no error before it.
    before_it = None if "DELETE" in line.name else run
    found = check_after(line.before, versions, before_it, current=line.new) + check_output(run)
    if run.exit_code != 0 and "DELETE" not in line.name and "extra" not in line.target():
        found.append("deleted, though there was an error")
    return [f"{line.name}: {each}" for each in found]


def test_the_checks_find_a_torn_or_missing_file(lines: list[Line], forks: Forks) -> None:
    """All tests here rely on it: the target is compared with its content before the run."""
    slave, master = (each for each in lines if each.name in ("slave: LIST", "master: LIST"))
    assert isinstance(slave.user, Slave)
    runs = run_all([slave, master], forks, PATIENT)
    assert [problems(slave, runs[0]), problems(master, runs[1])] == [[], []]

    (slave.user.target / "small").write_bytes(b"new new to")
    assert len(problems(slave, runs[0])) == 1
    (slave.user.target / "small").unlink()
    assert len(problems(slave, runs[0])) == 1
    del master.server.objects["data/small"]
    assert len(problems(master, runs[1])) == 1


def recovery(line: Line, forks: Forks) -> list[str]:
    line.network.clear_faults()
    return [
        f"{line.name}: {each}"
        for each in check_recovery(
            lambda: forks.once(line.agent, timeouts=PATIENT), line.target, line.new, line.left
        )
    ]


TEMPORARY_FAULTS = {
    "latency": (Fault(latency=0.2), 99),
    "a reset": (Fault(reset_after=0), 1),
    "a reset in the middle of the answer": (Fault(reset_after=300), 1),
    "an answer cut off": (Fault(end_after=300), 1),
    "silence": (Fault(silence_after=300), 1),
    "a black hole": (Fault(swallow=True), 1),
    "an inverted byte in a body": (Fault(corrupt=-1), 1),
    "an inverted byte in a head": (Fault(corrupt=5), 1),
}


@pytest.mark.parametrize("name", TEMPORARY_FAULTS)
def test_a_temporary_fault_costs_only_time(lines: list[Line], forks: Forks, name: str) -> None:
    """One fault at any request is no failure: the run ends with everything mirrored."""
    fault, times = TEMPORARY_FAULTS[name]
    for line in lines:
        line.network.on(line.begins, fault, times)

    runs = run_all(lines, forks, PATIENT)

    for line, run in zip(lines, runs, strict=True):
        assert problems(line, run) == []
        assert (line.name, run.exit_code, line.target()) == (line.name, 0, line.new), (
            run.stderr
        )
        assert line.network.matched[line.begins] >= 1


LASTING_FAULTS = {
    "resets": Fault(reset_after=0),
    "answers cut off": Fault(end_after=40),
    "silence": Fault(silence_after=0),
    "a black hole": Fault(swallow=True),
    "a trickle of the answer": Fault(rate=2),
}


@pytest.mark.parametrize("name", LASTING_FAULTS)
def test_a_lasting_fault_ends_the_run(lines: list[Line], forks: Forks, name: str) -> None:
    """No run hangs: it reports that S3 cannot be reached, keeps the files, and the next run recovers."""
    for line in lines:
        line.network.on(line.begins, LASTING_FAULTS[name])

    runs = run_all(lines, forks, IMPATIENT)

    for line, run in zip(lines, runs, strict=True):
        assert problems(line, run) == []
        assert run.exit_code in _statuses(line), (line.name, run.stderr)
        assert line.network.matched[line.begins] >= 1
    assert [each for line in lines for each in recovery(line, forks)] == []


SETTLED = ("master: PUT", "master: complete", "master: DELETE", "slave: HEAD")
"""Where the answer got lost, HEAD shows that it happened; elsewhere the first line of the answer does."""


def _statuses(line: Line) -> set[int]:
    arrived = line.name in SETTLED and line.target() == line.new
    return {UNAVAILABLE, 0} if arrived else {UNAVAILABLE}


BROKEN_UPLOADS = {
    "a reset": lambda sent: Fault(reset_upload_after=sent),
    "an end": lambda sent: Fault(end_upload_after=sent),
    "silence": lambda sent: Fault(silence_upload_after=sent),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A request whose body breaks off."""

    key: str
    begins: bytes
    """What its head holds."""
    sent: int
    """How far it comes: past the head, and not to the end."""

    def arrived(self, line: Line) -> int:
        """Count how often the complete request reached the server."""
        sent = (each for each in line.server.requests if each.method == "PUT")
        part = self.begins.partition(b"partNumber=")[2].decode()
        return sum(
            (each.key, each.query.get("partNumber", "")) == (f"data/{self.key}", part)
            for each in sent
        )


UPLOADS = {
    "master: PUT": Upload("small", b"PUT /bucket/data/small", 1500),
    # More than the kernel takes for a server that does not read.
    "master: part": Upload("large", b"partNumber=1", MIB // 2),
}


def break_uploads(lines: list[Line], name: str, times: float = float("inf")) -> list[Line]:
    """Let bodies break off during the transfer; return the lines on which some are sent."""
    senders = [line for line in lines if line.name in UPLOADS]
    for line in senders:
        upload = UPLOADS[line.name]
        line.network.on(upload.begins, BROKEN_UPLOADS[name](upload.sent), times)
    return senders


@pytest.mark.parametrize("name", BROKEN_UPLOADS)
def test_a_body_that_breaks_off_once_is_sent_again(
    lines: list[Line], forks: Forks, name: str
) -> None:
    """Half of a file, or of a part, is no object: it is sent again, and the run ends with it in S3."""
    lines = break_uploads(lines, name, times=1)

    runs = run_all(lines, forks, PATIENT)

    for line, run in zip(lines, runs, strict=True):
        assert problems(line, run) == []
        assert (line.name, run.exit_code, line.target()) == (line.name, 0, line.new), (
            run.stderr
        )
        upload = UPLOADS[line.name]
        assert (upload.arrived(line), line.left()) == (1, [])
        assert line.network.matched[upload.begins] >= 2


@pytest.mark.parametrize("name", BROKEN_UPLOADS)
def test_bodies_that_always_break_off_leave_the_old_object(
    lines: list[Line], forks: Forks, name: str
) -> None:
    """No run hangs: it reports that S3 cannot be reached; old objects stay, and no unfinished upload is left."""
    lines = break_uploads(lines, name)

    runs = run_all(lines, forks, IMPATIENT)

    for line, run in zip(lines, runs, strict=True):
        upload = UPLOADS[line.name]
        assert problems(line, run) == []
        assert (line.name, run.exit_code) == (line.name, UNAVAILABLE), run.stderr
        assert upload.arrived(line) == 0
        assert line.published()[upload.key] == OLD[upload.key]
        assert set(line.server.asked("DELETE")) <= {"data/large"}  # its upload's end
        assert "extra" in line.published()
    assert [each for line in lines for each in recovery(line, forks)] == []


def test_the_number_of_attempts_of_each_request(lines: list[Line], forks: Forks) -> None:
    """Five attempts for temporary errors, fifteen for the bytes of an entry, three for an upload.

    And one more where a connection that was kept open is dead.
    """
    chosen = {"slave: map": 5, "slave: LIST": 6, "slave: GET small": 16, "master: PUT": 4}
    lines = [line for line in lines if line.name in chosen]
    for line in lines:
        line.network.on(line.begins, Fault(reset_after=0))

    runs = run_all(lines, forks, {"pause_seconds": 0.05})

    assert [run.exit_code for run in runs] == [UNAVAILABLE] * len(lines)
    assert {line.name: line.network.matched[line.begins] for line in lines} == chosen


@pytest.mark.parametrize("fault", ["a black hole", "a trickle of the answer"])
def test_run_timeout_ends_a_run_whichever_request_hangs(
    lines: list[Line], forks: Forks, fault: str
) -> None:
    """Long before the library would end the request."""
    for line in lines:
        line.configure(run_timeout="3s")
        line.network.on(line.begins, LASTING_FAULTS[fault])

    waits = ("connect_seconds", "read_seconds", "request_seconds", "stalled_seconds")
    runs = run_all(lines, forks, dict.fromkeys(waits, 600.0))

    for line, run in zip(lines, runs, strict=True):
        assert (line.name, run.exit_code) == (line.name, PARTIAL), run.stderr
        assert run.finished["seconds"] < 60
        assert [each["cause"] for each in run.named("run.failed")] == ["timeout"]
        assert problems(line, run) == []


def test_a_slow_upload_arrives(lines: list[Line], forks: Forks) -> None:
    """A part takes longer than the timeout of a connection, and still makes progress."""
    lines = [line for line in lines if line.name == "master: part"]
    for line in lines:
        line.network.on(b"PUT /bucket/data", Fault(upload_rate=MIB / 2))

    # The kernel takes what the line has not yet: the answer may be late by what all buffers on the way hold.
    runs = run_all(lines, forks, {**PATIENT, "connect_seconds": 4, "read_seconds": 60})

    assert [(run.exit_code, run.named("entry.failed")) for run in runs] == [(0, [])]
    assert hashlib.md5(lines[0].published()["large"]).digest() == hashlib.md5(LARGE).digest()


@pytest.mark.parametrize("request_of", ["small", "part"])
def test_a_corrupted_upload_is_never_reported_as_mirrored(
    master: Master, bucket: Bucket, forks: Forks, request_of: str
) -> None:
    """A real store receives damaged bytes: they are sent again, or the run reports it and the next one recovers."""
    files = {"small": LARGE[:100_000], "large": LARGE}
    begins = {"small": b"data/small", "part": b"partNumber=2"}[request_of]
    master.write(files)
    with FaultyNetwork(bucket.server.endpoint_url) as network:
        network.on(begins, Fault(corrupt_upload=50_000), 1)
        master.configure(s3={"endpoint_url": network.endpoint_url})

        run = forks.once(master.agent, timeouts=PATIENT)

        assert network.matched[begins] >= 1
        kept = set(bucket.keys())
        sent = {key: bucket.get(f"data/{key}") for key in files if f"data/{key}" in kept}
        whole = sent == files
        assert check_output(run) + check_status(run, sent, files) == []
        copied = {each["key"] for each in run.named("entry.copied")}
        assert [key for key in copied if sent.get(key) != files[key]] == []
        assert whole or run.named("entry.failed")
        again = forks.once(master.agent, timeouts=PATIENT)

    assert again.exit_code == 0
    assert {key: bucket.get(f"data/{key}") for key in files} == files
