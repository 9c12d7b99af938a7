"""Two writers, servers that fail in the middle, and sources that change: what S3 shows is always a whole version.

Most of it on the scripted server, which does the wrong thing at exactly the moment that a test names.
"""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.masters import Master
from support.s3_messages import Reply, Request, error, is_list, is_put
from support.scripted import ScriptedS3

pytestmark = pytest.mark.integration

MIB = 1 << 20
SMALL = b"new version"
LARGE = os.urandom(20 * MIB)
OLD = b"the old one"
THEIRS = b"somebody else's"
PARTIAL, UNAVAILABLE, DENIED = 1, 69, 77
KEY = "data/x"
BOTH = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["one piece", "parts"])


def is_begin(request: Request) -> bool:
    return request.method == "POST" and "uploads" in request.query


def is_part(request: Request) -> bool:
    return request.method == "PUT" and "partNumber" in request.query


def is_completion(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def is_abort(request: Request) -> bool:
    return request.method == "DELETE" and "uploadId" in request.query


def is_write(request: Request) -> bool:
    """Match what makes an object show."""
    return is_put(KEY)(request) or is_completion(request)


def conditional(server: ScriptedS3) -> Callable[[Request], Reply | None]:
    """Make completions keep their condition, as AWS does; the scripted server only does so for PutObject."""

    def reply(request: Request) -> Reply | None:
        present = server.objects.get(request.key)
        wanted = request.headers.get("if-match")
        if request.headers.get("if-none-match") == "*" and present is not None:
            return error(412, "PreconditionFailed")
        if wanted is not None and (present is None or present.etag != wanted):
            return error(412, "PreconditionFailed")
        return None

    return reply


def content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def shown(server: ScriptedS3, key: str = KEY) -> bytes | None:
    stored = server.objects.get(key)
    return stored.data if stored else None


@pytest.fixture
def master(scripted_master: Master) -> Master:
    return scripted_master


# --- damage on the way ---


def test_a_part_damaged_on_the_way_is_not_taken(master: Master, scripted: ScriptedS3) -> None:
    """Every part names its MD5, which the signature holds: the store refuses other bytes, and they come again."""
    master.write({"x": LARGE})
    damaged: list[Request] = []

    def check(request: Request) -> Reply | None:
        body = request.body if damaged else request.body[:-1] + b"?"
        if content_md5(body) == request.headers["content-md5"]:
            return None
        damaged.append(request)
        return error(400, "BadDigest")

    scripted.on(is_part, check)

    run = master.once()

    assert (damaged != [], run.exit_code, shown(scripted)) == (True, 0, LARGE)
    for each in filter(is_part, scripted.requests):
        assert "content-md5" in each.headers["authorization"]
        assert each.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


# --- two writers ---


@BOTH
@pytest.mark.parametrize("before", [None, OLD], ids=["new", "changed"])
def test_somebody_else_s_object_is_not_overwritten(
    master: Master, scripted: ScriptedS3, data: bytes, before: bytes | None
) -> None:
    """What appears or changes between the listing and the upload stays, and is reported; no upload stays open."""
    if before is not None:
        scripted.put(KEY, before)
    master.write({"x": data})

    def interfere(_request: Request) -> None:
        scripted.put(KEY, THEIRS)

    scripted.on(is_begin if data is LARGE else is_write, interfere, times=1)
    scripted.on(is_completion, conditional(scripted))

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (PARTIAL, THEIRS, {})
    assert [each["key"] for each in run.named("entry.failed")] == ["x"]
    assert (master.once().exit_code, shown(scripted)) == (0, data)


@BOTH
@pytest.mark.parametrize(
    "refusal",
    [error(412, "PreconditionFailed"), Reply(412), error(409, "ConditionalRequestConflict")],
    ids=["412", "412 without a body", "409"],
)
def test_a_refused_condition_fails_one_entry(
    master: Master, scripted: ScriptedS3, data: bytes, refusal: Reply
) -> None:
    """412 and 409 fail this entry only, and never lead to an unconditional write."""
    master.write({"x": data, "y": b"y"})
    scripted.on(lambda request: request.key == KEY and is_write(request), refusal)

    run = master.once()

    assert (run.exit_code, shown(scripted), shown(scripted, "data/y")) == (PARTIAL, None, b"y")
    assert scripted.uploads == {}
    writes = [each for each in scripted.requests if each.key == KEY and is_write(each)]
    assert all(each.headers.get("if-none-match") == "*" for each in writes)


@BOTH
@pytest.mark.parametrize("meanwhile", [False, True], ids=["alone", "two writers"])
def test_a_store_without_conditions(
    master: Master,
    scripted: ScriptedS3,
    data: bytes,
    meanwhile: bool,  # noqa: FBT001
) -> None:
    """501 makes the agent compare by hand and write without a condition; somebody else's object still stays."""
    scripted.put(KEY, OLD)
    master.write({"x": data})

    def refuse(request: Request) -> Reply | None:
        if meanwhile:
            scripted.put(KEY, THEIRS)
        conditions = {"if-match", "if-none-match"} & set(request.headers)
        return error(501, "NotImplemented") if conditions else None

    scripted.on(is_write, refuse)

    run = master.once()

    expected = (PARTIAL, THEIRS) if meanwhile else (0, data)
    assert (run.exit_code, shown(scripted), scripted.uploads) == (*expected, {})


def test_a_store_without_conditions_is_compared_before_every_write(
    master: Master, scripted: ScriptedS3
) -> None:
    """Not only before the first: another writer's object, put there later in the run, stays."""
    names = [f"x{number:03}" for number in range(200)]
    for name in names:
        scripted.put(f"data/{name}", OLD)
    master.write(dict.fromkeys(names, SMALL))

    def refuse(request: Request) -> Reply | None:
        if not request.headers.keys() & {"if-match", "if-none-match"}:
            return None
        scripted.put("data/x199", THEIRS)
        return error(501, "NotImplemented")

    scripted.on(lambda request: request.method == "PUT", refuse)

    run = master.once()

    assert (run.exit_code, run.finished["copied"]) == (PARTIAL, 199)
    assert shown(scripted, "data/x199") == THEIRS


def test_a_key_that_reads_501_does_not_end_the_conditions(
    master: Master, scripted: ScriptedS3
) -> None:
    """A store that is busy while `501` is in a name has said nothing about conditions."""
    master.write({"501 NotImplemented": SMALL})
    key = "data/501 NotImplemented"
    scripted.on(is_put(key), error(503, "SlowDown"), times=7)

    run = master.once()

    assert (run.exit_code, shown(scripted, key)) == (0, SMALL)
    writes = [each for each in scripted.requests if is_put(key)(each)]
    assert all(each.headers.get("if-none-match") == "*" for each in writes)


# --- servers that fail in the middle ---


@BOTH
@pytest.mark.parametrize("status", [500, 503])
def test_trouble_that_passes(
    master: Master, scripted: ScriptedS3, data: bytes, status: int
) -> None:
    """Two failures in a row cost time only."""
    master.write({"x": data})
    scripted.on(is_write, error(status, "SlowDown"), times=2)
    scripted.on(is_part, error(status, "SlowDown"), times=2)

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (0, data, {})


@BOTH
def test_an_answer_that_got_lost(master: Master, scripted: ScriptedS3, data: bytes) -> None:
    """The object was stored and the connection cut: the repetition's refusal is recognised as our own doing."""
    master.write({"x": data})

    def cut(request: Request) -> Reply:
        scripted.answer_correctly(request)
        raise ConnectionResetError

    scripted.on(is_write, cut, times=1)
    scripted.on(is_completion, conditional(scripted))

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (0, data, {})
    assert master.once().finished["copied"] == 0


def test_a_completion_that_failed_with_status_200(
    master: Master, scripted: ScriptedS3
) -> None:
    """`<Error>` in a body of status 200 is no success; when it stays, the old object does too."""
    scripted.put(KEY, OLD)
    master.write({"x": LARGE})
    failure = replace(error(500, "InternalError"), status=200)
    scripted.on(is_completion, failure, times=1)

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (0, LARGE, {})
    master.write({"x": LARGE[::-1]})
    scripted.on(is_completion, failure)
    again = master.once()
    assert (again.exit_code, shown(scripted), scripted.uploads) == (UNAVAILABLE, LARGE, {})


def test_a_part_that_fails_for_good(master: Master, scripted: ScriptedS3) -> None:
    """The upload is aborted, the old object stays, and nothing is deleted."""
    scripted.put(KEY, OLD)
    scripted.put("data/extra", b"extra")
    master.write({"x": LARGE})
    scripted.on(is_part, error(403, "AccessDenied"))

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (DENIED, OLD, {})
    assert shown(scripted, "data/extra") == b"extra"
    assert len(run.named("deletes.withheld")) == 1


def test_an_upload_that_may_not_be_aborted_is_told_until_it_is(
    master: Master, scripted: ScriptedS3
) -> None:
    """Parts that cost money without showing are no secret: every pass says so, and keeps nothing else back."""
    master.write({"x": LARGE})
    scripted.on(is_part, error(403, "AccessDenied"), times=1)
    scripted.on(is_abort, error(403, "AccessDenied"), times=2)
    assert master.once().exit_code == DENIED

    run = master.once()

    (skipped,) = run.named("entry.skipped")
    assert (run.exit_code, skipped["key"], shown(scripted)) == (DENIED, "x", LARGE)
    assert "an upload that was not completed" in skipped["reason"]
    assert len(scripted.uploads) == 1
    assert (master.once().exit_code, scripted.uploads) == (0, {})


def test_a_wrong_etag_is_no_success(master: Master, scripted: ScriptedS3) -> None:
    """When the store says that it holds other bytes the entry fails, and the next pass sends it again."""
    master.write({"x": SMALL})

    def rot(request: Request) -> Reply:
        stored = scripted.put(request.key, SMALL[::-1])
        return Reply(headers={"etag": stored.etag})

    scripted.on(is_put(KEY), rot, times=1)

    run = master.once()

    assert (run.exit_code, len(run.named("entry.failed"))) == (PARTIAL, 1)
    assert (master.once().exit_code, shown(scripted)) == (0, SMALL)


def test_a_part_that_was_damaged_on_the_way_is_sent_again(
    master: Master, scripted: ScriptedS3
) -> None:
    """The ETag of a part tells before the upload is completed, so that no such version ever shows."""
    scripted.put(KEY, OLD)
    master.write({"x": LARGE})
    damaged = Reply(headers={"etag": '"0cc175b9c0f1b6a831c399e269772661"'})
    scripted.on(is_part, damaged, times=1)

    run = master.once()

    assert (run.exit_code, shown(scripted), scripted.uploads) == (0, LARGE, {})
    scripted.on(is_part, damaged)
    master.write({"x": LARGE[::-1]})
    again = master.once()
    assert (again.exit_code, shown(scripted), scripted.uploads) == (PARTIAL, LARGE, {})
    assert "part" in again.named("entry.failed")[0]["error"]


# --- sources that change while they are read ---


def truncate(path: Path) -> None:
    os.truncate(path, 10 * MIB)


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def edit(path: Path) -> None:
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(12 * MIB)
        stream.write(b"edited")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rename_over(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(LARGE[::-1])
    other.replace(path)


CHANGES = pytest.mark.parametrize("change", [truncate, grow, edit, rename_over, Path.unlink])


@CHANGES
@pytest.mark.parametrize("moment", [is_begin, is_list], ids=["reading", "listed"])
def test_a_source_that_changes_never_tears_an_object(
    master: Master,
    scripted: ScriptedS3,
    change: Callable[[Path], None],
    moment: Callable[[Request], bool],
) -> None:
    """Whatever happens to the file after it was seen, S3 keeps a whole version, and no upload stays open."""
    scripted.put(KEY, OLD)
    path = master.source / "x"
    master.write({"x": LARGE, "y": b"y"})
    changed: list[Path] = []

    def interfere(_request: Request) -> None:
        if not changed:
            changed.append(path)
            change(path)

    scripted.on(moment, interfere)

    run = master.once()

    after = path.read_bytes() if path.exists() else None
    assert changed == [path]
    assert shown(scripted) in {OLD, after}
    assert shown(scripted) == OLD or run.exit_code == 0
    # What only grew is sent as it was when it was opened again.
    expected = 0 if change is grow else PARTIAL
    assert (moment is is_list or run.exit_code == expected, scripted.uploads) == (True, {})
    assert (master.once().exit_code, shown(scripted)) == (0, after)


# --- a pass that is killed ---


@pytest.fixture
def slow_master(scripted_master: Master, bucket: Bucket) -> Master:
    """A master of a real bucket, so slow that it can be ended in the middle of the parts."""
    master = scripted_master
    master.bucket, master.put = bucket.name, bucket.put
    master.publish_map(master.mapping())
    master.configure(sync={"max_bandwidth": "4MB"})
    return master


def notes_of(master: Master) -> list[Path]:
    return list((master.agent.state_dir / "uploads").glob("*"))


def uploads_in(bucket: Bucket) -> set[str]:
    found = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    return {each["Key"] for each in found.get("Uploads", [])}


def ended_in_the_middle(master: Master, log: Path, number: int, after: float = 0) -> int:
    """Send a run a signal, so many seconds after it has noted its upload; return its exit status."""
    with master.agent.started(log=log) as process:
        deadline = time.monotonic() + 60
        # What S3 began and we had not heard of, nobody can abort.
        while not any(note.suffix == ".json" for note in notes_of(master)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(after)
        process.send_signal(number)

        return process.wait(30)


def test_a_stopped_upload_is_aborted_by_the_run_itself(
    slow_master: Master, bucket: Bucket, tmp_path: Path
) -> None:
    """SIGTERM in the middle of the parts: nothing that is paid for stays until a next run, which may never come."""
    master = slow_master
    master.write({"x": LARGE, "z": LARGE[::-1]})

    status = ended_in_the_middle(master, tmp_path / "log", signal.SIGTERM, after=0.5)

    assert status == 128 + signal.SIGTERM
    assert (uploads_in(bucket), notes_of(master)) == (set(), [])


def test_a_killed_upload_is_aborted_by_the_next_pass(
    slow_master: Master, bucket: Bucket, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the parts: the next pass aborts our upload and leaves somebody else's alone."""
    master = slow_master
    master.write({"x": LARGE})
    foreign = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="data/foreign")

    status = ended_in_the_middle(master, tmp_path / "log", signal.SIGKILL)

    assert status == -signal.SIGKILL
    assert uploads_in(bucket) == {"data/x", "data/foreign"}
    master.configure()
    (master.source / "x").unlink()
    master.write({"y": b"y"})
    run = master.once()
    assert (run.exit_code, uploads_in(bucket)) == (0, {"data/foreign"})
    assert notes_of(master) == []
    assert foreign["UploadId"]
