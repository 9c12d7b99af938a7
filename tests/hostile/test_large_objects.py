"""Ranges that were not requested, and leftovers with other bytes: a file never contains a wrong byte."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.contents import copy_of, md5
from support.rows import Rows
from support.s3_messages import HTTP_WHEN, Reply, Request, error, is_get, multipart_etag
from support.scripted import ScriptedS3

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import SourceChanged, StoreUnavailable
from s32s_agent.model import Copy, Location, Outcome, Plan, Status
from s32s_agent.run.context import MappingContext
from s32s_agent.run.execute import carry_out
from s32s_agent.run.metering import Meter, Throttle
from s32s_agent.state.index import Index
from s32s_agent.stores.local.files import OpenFile
from s32s_agent.stores.local.partial_downloads import name_of
from s32s_agent.stores.local.target import LocalOptions, LocalTarget
from s32s_agent.stores.local.tree import Tree
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.ranges import AHEAD, RANGE
from s32s_agent.stores.s3.source import S3Source

pytestmark = pytest.mark.hostile

RANGES = AHEAD + 2
NEW = random.Random(1).randbytes((RANGES - 1) * RANGE + 100)
OLD = random.Random(2).randbytes(len(NEW))
KEY = "d/disk.img"
GET = is_get(f"data/{KEY}")


class Sleepless(CancelToken):
    """A cancel token that does not wait between attempts."""

    def sleep(self, seconds: float, _heartbeat: Heartbeat | None = None) -> None:
        del seconds
        self.check()


@dataclass
class Slave:
    """A run without a separate process."""

    server: ScriptedS3
    connection: Connection
    root: Path
    directory: Path

    def run(self, copy: Copy) -> list[Outcome]:
        """Scan the target, and carry out a plan of one copy."""
        store = LocalTarget(
            Tree(str(self.root)), Rows(), LocalOptions("20261122T204012Z-ab", durable=False)
        )
        token = Sleepless()
        source = S3Source(self.connection, Location(self.server.bucket, "data"))
        with (
            contextlib.closing(store),
            contextlib.closing(Index(self.directory / "index.db")) as index,
        ):
            scan = store.scan()
            list(scan)
            context = MappingContext(
                source,
                store,
                index.of_mapping("m"),
                4,
                Meter(Throttle(None, token), token, lambda _entries, _bytes: None),
            )
            found = carry_out(Plan(copies=(copy,)), context, scan.learned.leftovers)
            return [each for each in found if isinstance(each, Outcome)]

    def tree(self) -> dict[str, str]:
        """Return the files by key, with temporary ones; contents as MD5s."""
        return {
            str(path.relative_to(self.root)): md5(path.read_bytes())
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def ranges(self) -> list[int]:
        """Return the numbers of the requested ranges, sorted."""
        asked = [
            each.headers["range"] for each in self.server.requests if "range" in each.headers
        ]
        return sorted(int(each[6:].partition("-")[0]) // RANGE for each in asked)

    def leave(self, copy: Copy, data: bytes) -> Path:
        """Create what an interrupted download of a version leaves."""
        path = self.root / "d" / name_of(copy.entry)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return path


@pytest.fixture
def slave(scripted: ScriptedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slave:
    """A slave of the scripted server, whose object has the bytes NEW."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = S3Settings(
        endpoint_url=scripted.endpoint_url, region="us-east-1", addressing_style="path"
    )
    root = tmp_path / "root"
    root.mkdir()
    scripted.put(f"data/{KEY}", NEW)
    return Slave(scripted, Connection(settings), root, tmp_path)


WANTED = copy_of(KEY, NEW)
SIZE = len(NEW)
WHOLE = {KEY: md5(NEW)}


def answer(
    change: Callable[[Reply, int], Reply], *, first: int = 0
) -> Callable[[Request], Reply | None]:
    """Return a replier that changes correct answers to ranges, from one on; it gets the start of the range."""

    def reply(request: Request) -> Reply | None:
        asked = request.headers.get("range", "")
        if not asked:
            return None
        start, end = (int(each) for each in asked[6:].split("-"))
        if start < first * RANGE:
            return None
        headers = {
            "etag": f'"{md5(NEW)}"',
            "last-modified": HTTP_WHEN,
            "content-range": f"bytes {start}-{end}/{SIZE}",
        }
        return change(Reply(206, NEW[start : end + 1], headers), start)

    return reply


def headed(reply: Reply, **changes: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return replace(reply, headers={**reply.headers, **named})


def without_range(reply: Reply) -> Reply:
    kept = {name: value for name, value in reply.headers.items() if name != "content-range"}
    return replace(reply, headers=kept)


LIES: dict[str, Callable[[Reply, int], Reply]] = {
    "Range is ignored": lambda reply, _: replace(without_range(reply), status=200, body=NEW),
    "Range is ignored, with status 206": lambda reply, _: replace(reply, body=NEW),
    "another range": lambda reply, start: headed(
        replace(reply, body=NEW[start + 1 : start + 1 + len(reply.body)]),
        content_range=f"bytes {start + 1}-{start + len(reply.body)}/{SIZE}",
    ),
    "a shorter range": lambda reply, start: headed(
        replace(reply, body=reply.body[:-9]),
        content_range=f"bytes {start}-{start + len(reply.body) - 10}/{SIZE}",
    ),
    "206 with a wrong total": lambda reply, start: headed(
        reply, content_range=f"bytes {start}-{start + len(reply.body) - 1}/{SIZE + 1}"
    ),
    "206 without a range": lambda reply, _: without_range(reply),
    "206 with nonsense": lambda reply, _: headed(reply, content_range="bytes all of it"),
    "one byte short": lambda reply, _: replace(reply, body=reply.body[:-1]),
    "bytes of another version under this one's ETag": lambda reply, start: replace(
        reply, body=OLD[start : start + len(reply.body)]
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_store_that_answers_ranges_wrongly_is_asked_for_the_whole_object(
    slave: Slave, scripted: ScriptedS3, name: str
) -> None:
    """Whatever the answer to a range is, the file is right after the same run, and no temporary file stays."""
    scripted.on(GET, answer(LIES[name], first=1))

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, outcome.verified) == (Status.COPIED, "md5")
    assert slave.tree() == WHOLE
    assert [each for each in scripted.requests if GET(each)][-1].headers.get("range") is None


def test_a_store_that_ignores_conditions_never_mixes_two_versions(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """A range with another ETag, from a server that ignores If-Match, ends the download."""
    lie = f'"{md5(OLD)}"'
    scripted.on(
        GET,
        answer(
            lambda reply, start: headed(
                replace(reply, body=OLD[start : start + len(reply.body)]), etag=lie
            ),
            first=3,
        ),
    )

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, type(outcome.error)) == (Status.FAILED, SourceChanged)
    assert slave.tree() == {}


def test_an_object_replaced_while_it_is_fetched_never_mixes_two_versions(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """Replaced between two ranges: after the 412 the complete new version is fetched, and no old byte stays."""
    scripted.put(f"data/{KEY}", OLD)

    def replace_it(request: Request) -> Reply | None:
        if f"bytes={2 * RANGE}-" in request.headers.get("range", ""):
            scripted.put(f"data/{KEY}", NEW)
        return None

    scripted.on(GET, replace_it, times=1)

    (outcome,) = slave.run(copy_of(KEY, OLD))

    assert (outcome.status, outcome.verified) == (Status.COPIED, "md5")
    assert slave.tree() == WHOLE


def test_a_broken_connection_repeats_only_the_missing_bytes_of_a_range(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """The received bytes stay; the rest of the range is requested again, of the same version."""
    broken = answer(lambda reply, _: replace(reply, close_early=RANGE // 2), first=2)
    scripted.on(GET, broken, times=1)

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, slave.tree()) == (Status.COPIED, WHOLE)
    asked = [each.headers["range"] for each in scripted.requests if "range" in each.headers]
    assert len(asked) == len(set(asked)) == RANGES + 1
    pinned = {
        each.headers.get("if-match") for each in scripted.requests if each.key == f"data/{KEY}"
    }
    assert pinned == {f'"{md5(NEW)}"'}


def test_a_copy_that_is_retried_resumes(slave: Slave, scripted: ScriptedS3) -> None:
    """A range that always fails ends the attempt; the next attempt of the same run requests the rest."""

    def refuse(request: Request) -> Reply | None:
        last = f"bytes={(RANGES - 1) * RANGE}-" in request.headers.get("range", "")
        return error(404, "NoSuchBucket") if last else None

    scripted.on(GET, refuse, times=1)

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, slave.tree()) == (Status.COPIED, WHOLE)
    assert slave.ranges().count(0) == 1


# --- parts, each of which is hashed by the thread that fetches it ---


@pytest.fixture(params=[5 << 20, RANGE, 15 << 20], ids=["less", "a range", "more"])
def in_parts(request: pytest.FixtureRequest, scripted: ScriptedS3) -> Copy:
    """Store the object as one that was uploaded in parts of a length."""
    size: int = request.param
    pieces = [NEW[start : start + size] for start in range(0, SIZE, size)]
    etag = multipart_etag(pieces)
    scripted.put(f"data/{KEY}", NEW, etag=etag)
    return WANTED._replace(entry=WANTED.entry._replace(etag=etag.strip('"')))


def test_a_damaged_part_of_a_large_object_is_not_installed(
    slave: Slave, scripted: ScriptedS3, in_parts: Copy
) -> None:
    """A range has the ETag and bytes of another version: the parts do not match, and all bytes are fetched again."""

    def lie(reply: Reply, start: int) -> Reply:
        other = OLD[start : start + len(reply.body)]
        return headed(replace(reply, body=other), etag=f'"{in_parts.entry.etag}"')

    scripted.on(GET, answer(lie, first=2), times=1)

    (outcome,) = slave.run(in_parts)

    assert (outcome.status, outcome.verified) == (Status.COPIED, "multipart")
    assert slave.tree() == WHOLE


def test_parts_are_hashed_while_they_are_received(
    slave: Slave, scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each range holds complete parts, so no byte is read back from the disk to be hashed."""
    part = 5 << 20
    etag = multipart_etag([NEW[start : start + part] for start in range(0, SIZE, part)])
    scripted.put(f"data/{KEY}", NEW, etag=etag)
    monkeypatch.delattr(OpenFile, "read")

    (outcome,) = slave.run(WANTED._replace(entry=WANTED.entry._replace(etag=etag.strip('"'))))

    assert (outcome.status, outcome.verified) == (Status.COPIED, "multipart")
    asked = [each.headers["range"] for each in scripted.requests if "range" in each.headers]
    assert {int(each[6:].partition("-")[0]) % part for each in asked} == {0}


@pytest.mark.parametrize("flipped", [0, 17 << 20])
def test_a_corrupt_leftover_of_parts_is_fetched_again(
    slave: Slave, in_parts: Copy, flipped: int
) -> None:
    """Whichever part the inverted bit is in, of those that are kept and those that are fetched again."""
    left = NEW[:flipped] + bytes([NEW[flipped] ^ 1]) + NEW[flipped + 1 :]
    slave.leave(in_parts, left)

    (outcome,) = slave.run(in_parts)

    assert (outcome.status, outcome.verified) == (Status.COPIED, "multipart")
    assert slave.tree() == WHOLE


# --- what is left of an interrupted download ---


def test_a_leftover_is_resumed(slave: Slave, scripted: ScriptedS3) -> None:
    """Only bytes that may be missing are requested; all are proven together, and mode and time are the object's."""
    scripted.put(f"data/{KEY}", NEW, x_amz_meta_mode="0640", x_amz_meta_mtime="1700000000.5")
    slave.leave(WANTED, NEW[: (AHEAD + 1) * RANGE])

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, outcome.verified, slave.tree()) == (Status.COPIED, "md5", WHOLE)
    assert slave.ranges() == list(range(1, RANGES))
    status = (slave.root / KEY).stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 1_700_000_000_500_000_000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zeros after a power cut", bytes(SIZE)),
        ("a hole", NEW[:7] + bytes(RANGE) + NEW[RANGE + 7 : SIZE]),
        ("one flipped bit", bytes([NEW[0] ^ 1]) + NEW[1:]),
        ("longer than the object", NEW[1:] + bytes(RANGE)),
    ],
)
def test_a_corrupt_leftover_is_fetched_again(slave: Slave, name: str, data: bytes) -> None:
    """The proof fails: the kept bytes are dropped, and the object is fetched in the same run, in ranges."""
    slave.leave(WANTED, data)

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, outcome.verified) == (Status.COPIED, "md5"), name
    assert slave.tree() == WHOLE
    assert slave.ranges() == sorted([*range(RANGES), *range(1, RANGES)])


def test_a_leftover_of_the_version_before_never_mixes_two_versions(slave: Slave) -> None:
    """An object that was replaced between two runs is fetched from its beginning, and the old part is removed."""
    slave.leave(copy_of(KEY, OLD), OLD[:-1])

    (outcome,) = slave.run(WANTED)

    assert (outcome.status, slave.tree()) == (Status.COPIED, WHOLE)
    assert slave.ranges() == list(range(RANGES))


def test_a_leftover_of_a_version_that_is_replaced_during_the_run_is_removed(
    slave: Slave,
) -> None:
    """The plan would resume it, then the object is replaced: only the new version stays."""
    slave.leave(copy_of(KEY, OLD), OLD[:-1])

    (outcome,) = slave.run(copy_of(KEY, OLD))

    assert (outcome.status, slave.tree()) == (Status.COPIED, WHOLE)


def test_a_leftover_is_not_resumed_when_no_etag_can_prove_it(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """With SSE-KMS an ETag looks like an MD5 and is none: the whole object is fetched, and its length checked."""
    etag = hashlib.md5(b"ciphertext").hexdigest()
    scripted.put(f"data/{KEY}", NEW, etag=f'"{etag}"', x_amz_server_side_encryption="aws:kms")
    copy = WANTED._replace(entry=WANTED.entry._replace(etag=etag))
    slave.leave(copy, bytes(SIZE - 1))

    (outcome,) = slave.run(copy)

    assert (outcome.status, outcome.verified) == (Status.COPIED, "length")
    assert slave.tree() == WHOLE
    assert slave.ranges() == list(range(RANGES))


def test_bytes_received_before_an_outage_are_kept(slave: Slave, scripted: ScriptedS3) -> None:
    """The network fails during the download: the received bytes are kept, and the next run resumes them."""
    gone = error(404, "NoSuchBucket")
    scripted.on(
        GET,
        lambda request: (
            gone if f"bytes={(RANGES - 1) * RANGE}-" in request.headers["range"] else None
        ),
    )

    (failed,) = slave.run(WANTED)
    kept = slave.tree()
    scripted._rules.clear()
    scripted.requests.clear()
    (outcome,) = slave.run(WANTED)

    assert (failed.status, type(failed.error)) == (Status.FAILED, StoreUnavailable)
    assert list(kept) == [f"d/{name_of(WANTED.entry)}"]
    assert (outcome.status, slave.tree()) == (Status.COPIED, WHOLE)
    assert 0 not in slave.ranges()
