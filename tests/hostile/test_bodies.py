"""Answers to GET that are not the object: the old file stays complete, and no temporary file stays."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.contents import md5
from support.forked import forked_once
from support.s3_messages import HTTP_WHEN, Reply, Request, error, is_get, multipart_etag
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.hostile

OLD = b"the old version, " * 100
NEW = b"the new version! " * 100
KEY = "data/page.html"


def good(data: bytes = NEW) -> Reply:
    headers = {"etag": f'"{hashlib.md5(NEW).hexdigest()}"', "last-modified": HTTP_WHEN}
    return Reply(body=data, headers=headers)


@pytest.fixture
def mirrored(scripted_slave: Slave) -> Slave:
    """A slave with the old version; the server lists a new one, and no longer lists an extra."""
    scripted_slave.publish({"page.html": OLD, "other": b"other", "extra": b"extra"})
    assert scripted_slave.once().exit_code == 0
    scripted_slave.publish({"page.html": NEW})
    return scripted_slave


def test_a_failed_copy_withholds_deletes(mirrored: Slave, scripted: ScriptedS3) -> None:
    """A run that cannot read the whole source deletes nothing."""
    scripted.on(is_get(KEY), good(NEW[:-1]))
    del scripted.objects["data/extra"]

    run = mirrored.once()

    tree = {"page.html": OLD, "other": b"other", "extra": b"extra"}
    assert (run.exit_code, mirrored.tree()) == (1, tree)
    assert [each["count"] for each in run.named("deletes.withheld")] == [1]


def test_an_archived_object_is_skipped(mirrored: Slave, scripted: ScriptedS3) -> None:
    """It exists but cannot be read: the local copy stays, and other files are deleted."""
    scripted.on(is_get(KEY), error(403, "InvalidObjectState"))
    del scripted.objects["data/extra"]

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (1, {"page.html": OLD, "other": b"other"})
    assert [each["key"] for each in run.named("entry.skipped")] == ["page.html"]


@pytest.mark.parametrize(
    "reply",
    [
        error(500, "InternalError"),
        error(503, "SlowDown"),
        replace(good(), close_early=700),
        good(b"T" + NEW[1:]),
        good(NEW[:-1]),
    ],
)
def test_a_temporary_error_is_no_failure(
    mirrored: Slave, scripted: ScriptedS3, reply: Reply
) -> None:
    """Wrong twice, then right: the complete new version is installed, and the status is 0."""
    scripted.on(is_get(KEY), reply, times=2)

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()["page.html"]) == (0, NEW)
    assert mirrored.temporaries() == []


def test_a_version_that_appears_during_the_run_is_copied(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Changed between LIST and GET: after the 412 the current version is copied, never a mixture."""
    newest = b"the newest version"

    def overtaken(_request: Request) -> Reply | None:
        scripted.put(KEY, newest)
        return None

    scripted.on(is_get(KEY), overtaken, times=1)

    runs = [mirrored.once(), mirrored.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert (mirrored.tree()["page.html"], runs[1].finished["copied"]) == (newest, 0)


def test_an_object_that_vanishes_during_the_run_leaves_the_local_copy(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Deleted between LIST and GET: the old file stays until a listing lacks it as well."""

    def vanish(_request: Request) -> Reply | None:
        scripted.objects.pop(KEY, None)
        return None

    scripted.on(is_get(KEY), vanish)

    runs = [mirrored.once(), mirrored.once()]

    assert [run.exit_code for run in runs] == [1, 0]
    assert mirrored.tree() == {"other": b"other", "extra": b"extra"}


def test_an_etag_that_only_looks_like_an_md5_is_no_corruption(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """The ETag of encrypted bytes proves nothing: the length is checked, once the store reports the encryption."""
    etag = '"0cc175b9c0f1b6a831c399e269772661"'
    scripted_slave.agent.checker = None  # it takes what looks like an MD5 for one
    encrypted = {"x_amz_server_side_encryption": "aws:kms"}
    scripted.put("data/secret", b"plain text", etag=etag, **encrypted)

    runs = [scripted_slave.once(), scripted_slave.once()]

    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [(0, 1), (0, 0)]
    assert scripted_slave.tree() == {"secret": b"plain text"}
    assert runs[0].named("entry.copied")[0]["verified"] == "length"


LARGE = random.Random(7).randbytes(11 << 20)
PART = 5 << 20


def put_large(server: ScriptedS3, etag: str | None = None) -> None:
    """Store an object that was uploaded in parts."""
    pieces = [LARGE[start : start + PART] for start in range(0, len(LARGE), PART)]
    server.put("data/large", LARGE, etag=etag or multipart_etag(pieces))


def damage(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


def of_large(data: bytes, server: ScriptedS3) -> Reply:
    headers = {"etag": server.objects["data/large"].etag, "last-modified": HTTP_WHEN}
    return Reply(body=data, headers=headers)


def test_a_damaged_object_of_many_parts_is_not_installed(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """One inverted bit does not give the ETag of the parts: the bytes are fetched again."""
    put_large(scripted)
    scripted.on(is_get("data/large"), of_large(damage(LARGE), scripted), times=1)

    run = scripted_slave.once()

    assert (run.exit_code, scripted_slave.tree()) == (0, {"large": LARGE})
    assert [each["verified"] for each in run.named("entry.copied")] == ["multipart"]


def test_an_unprovable_etag_of_parts_needs_the_same_bytes_twice(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """Where no part size gives the ETag, bytes that are received twice are accepted, and damaged ones are not."""
    put_large(scripted, etag=f'"{"0" * 32}-3"')
    scripted.on(is_get("data/large"), of_large(damage(LARGE), scripted), times=1)

    run = scripted_slave.once()

    assert (run.exit_code, scripted_slave.tree()) == (0, {"large": LARGE})
    assert [each["verified"] for each in run.named("entry.copied")] == ["length"]
    assert scripted.asked("GET").count("data/large") == 3


def test_an_answer_that_continues_with_another_version_is_no_mixture(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """The connection breaks, and the server answers the rest from another version, or sends all of it."""
    put_large(scripted)
    cut = replace(of_large(LARGE, scripted), close_early=6 << 20)
    scripted.on(is_get("data/large"), cut, times=1)
    other = Reply(body=LARGE[::-1], headers={"etag": '"another"', "last-modified": HTTP_WHEN})
    scripted.on(is_get("data/large"), other, times=1)
    scripted.on(is_get("data/large"), cut, times=1)
    scripted.on(is_get("data/large"), of_large(LARGE, scripted))

    run = scripted_slave.once()

    assert (run.exit_code, scripted_slave.tree()) == (0, {"large": LARGE})


OTHER = LARGE[::-1]


def of_other(start: int, status: int, **headers: str) -> Reply:
    """Answer with another version of the same length, from a position on."""
    whole = f"bytes {start}-{len(OTHER) - 1}/{len(OTHER)}"
    named = {"last-modified": HTTP_WHEN, **headers}
    if status == 206:
        named["content-range"] = whole
    return Reply(status, OTHER[start:] if status == 206 else OTHER, named)


RESUMED: dict[str, Callable[[int], Reply]] = {
    "206 with another ETag": lambda start: of_other(start, 206, etag='"another"'),
    "206 without an ETag": lambda start: of_other(start, 206),
    "200 with all of another version": lambda start: of_other(start, 200, etag='"another"'),
    "200 with all of it, without an ETag": lambda start: of_other(start, 200),
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("etag", ['"opaque"', f'"{"0" * 32}-3"'])
def test_where_no_digest_helps_two_versions_are_not_mixed(
    scripted_slave: Slave, scripted: ScriptedS3, name: str, etag: str
) -> None:
    """The transfer of an encrypted object breaks, and a store that ignores If-Match continues with another version."""
    encrypted = {"x_amz_server_side_encryption": "aws:kms"}
    scripted.put("data/large", LARGE, etag=etag, **encrypted)
    cut = replace(of_large(LARGE, scripted), close_early=6 << 20)
    scripted.on(is_get("data/large"), cut, times=1)

    def resume(request: Request) -> Reply | None:
        start = re.match(r"bytes=(\d+)-", request.headers.get("range", ""))
        return RESUMED[name](int(start[1])) if start else None

    scripted.on(is_get("data/large"), resume)

    run = forked_once(scripted_slave.agent)

    assert (run.exit_code, scripted_slave.tree() == {"large": LARGE}) == (0, True), run.stderr
    assert [each["verified"] for each in run.named("entry.copied")] == ["length"]


def test_equal_files_do_not_fill_the_trash(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """`--verify` fetches bytes whose ETag is no digest; a file that was equal is not kept in the trash."""
    encrypted = {"x_amz_server_side_encryption": "aws:kms"}
    for name in ("same", "edited"):
        scripted.put(f"data/{name}", b"plain text", etag=f'"opaque-{name}"', **encrypted)
    assert scripted_slave.once().exit_code == 0
    (scripted_slave.target / "edited").write_bytes(b"local edit")

    run = scripted_slave.once("--verify")

    assert (run.exit_code, run.finished["copied"]) == (0, 2)
    assert scripted_slave.trash() == {"edited": b"local edit"}


def damage_map(data: bytes) -> bytes:
    """Invert a bit so that the map stays valid but names another directory."""
    return data.replace(b"/site", b"/siue")


MAP_LIES: dict[str, Callable[[bytes], Reply]] = {
    "short": lambda data: replace(good(data), close_early=len(data) - 5),
    "damaged": lambda data: Reply(body=damage_map(data), headers={"etag": f'"{md5(data)}"'}),
    "html": lambda _data: Reply(body=b"<html>Sign in</html>"),
    "empty": lambda _data: Reply(),
    "not modified, but of what": lambda _data: Reply(304),
}


@pytest.mark.parametrize(
    ("name", "exit_code"), list(zip(MAP_LIES, (69, 69, 65, 65, 0), strict=True))
)
def test_a_wrong_map_changes_nothing(
    mirrored: Slave, scripted: ScriptedS3, name: str, exit_code: int
) -> None:
    """With an incomplete or invalid map no mapping runs; a 304 stands for the map that was fetched before."""
    data = scripted.objects["maps/site.json"].data
    scripted.on(is_get("maps/site.json"), MAP_LIES[name](data))

    run = mirrored.once()

    assert run.exit_code == exit_code
    assert mirrored.tree()["page.html"] == (OLD if exit_code else NEW)
