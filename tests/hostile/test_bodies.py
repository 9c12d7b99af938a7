"""Answers to GET that are not the object: the old file stays whole, and nothing temporary stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.scripted import HTTP_WHEN, Reply, Request, ScriptedS3, error, is_get
from support.slaves import Slave

OLD = b"the old version, " * 100
NEW = b"the new version! " * 100
KEY = "data/page.html"
PARTIAL, UNAVAILABLE, DENIED = 1, 69, 77


def good(data: bytes = NEW) -> Reply:
    headers = {"etag": f'"{hashlib.md5(NEW).hexdigest()}"', "last-modified": HTTP_WHEN}
    return Reply(body=data, headers=headers)


def with_headers(**headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(good(), headers={**good().headers, **named})


LIES: dict[str, tuple[Reply, int]] = {
    "one byte short": (good(NEW[:-1]), PARTIAL),
    "one byte long": (good(NEW + b"!"), PARTIAL),
    "empty": (good(b""), PARTIAL),
    "flipped byte": (good(b"T" + NEW[1:]), PARTIAL),
    "all zeros": (good(bytes(len(NEW))), PARTIAL),
    "the old version": (good(OLD), PARTIAL),
    "wrong ETag": (with_headers(etag='"0cc175b9c0f1b6a831c399e269772661"'), PARTIAL),
    "206 to a plain GET": (
        replace(
            with_headers(content_range=f"bytes 0-99/{len(NEW)}"), status=206, body=NEW[:100]
        ),
        PARTIAL,
    ),
    "206 without a range": (replace(good(NEW[:100]), status=206), PARTIAL),
    "412": (error(412, "PreconditionFailed"), PARTIAL),
    "404": (error(404, "NoSuchKey"), PARTIAL),
    "403": (error(403, "AccessDenied"), DENIED),
    "500 for ever": (error(500, "InternalError"), UNAVAILABLE),
    "503 for ever": (error(503, "SlowDown"), UNAVAILABLE),
    "XML error with status 200": (
        replace(error(500, "InternalError"), status=200, headers=good().headers),
        PARTIAL,
    ),
    "HTML with status 200": (replace(good(), body=b"<html>Sign in</html>"), PARTIAL),
    "redirect": (Reply(307, headers={"location": "http://127.0.0.1:9/"}), UNAVAILABLE),
    "archived": (error(403, "InvalidObjectState"), PARTIAL),
    "Content-Length too small": (
        replace(with_headers(content_length=str(len(NEW) - 5)), length=False),
        PARTIAL,
    ),
    "Content-Length too large": (
        replace(with_headers(content_length=str(len(NEW) + 5)), length=False),
        PARTIAL,
    ),
    "no Content-Length, cut": (replace(good(NEW[:500]), length=False), UNAVAILABLE),
    "chunked, one byte short": (replace(good(NEW[:-1]), chunked=True), UNAVAILABLE),
    "connection cut": (replace(good(), close_early=700), UNAVAILABLE),
    "connection cut at once": (replace(good(), close_early=0), UNAVAILABLE),
}


@pytest.fixture
def mirrored(scripted_slave: Slave) -> Slave:
    """A slave that has the old version, of which the server now lists a new one, and lists an extra no more."""
    scripted_slave.publish({"page.html": OLD, "other": b"other", "extra": b"extra"})
    assert scripted_slave.once().exit_code == 0
    scripted_slave.publish({"page.html": NEW})
    return scripted_slave


@pytest.mark.parametrize("name", LIES)
def test_a_wrong_answer_does_not_replace_a_good_file(
    mirrored: Slave, scripted: ScriptedS3, name: str
) -> None:
    """Whatever comes in place of the bytes, readers keep the old version, other copies go on, and the status tells."""
    reply, exit_code = LIES[name]
    scripted.on(is_get(KEY), reply)
    mirrored.publish({"another": b"another"})

    run = mirrored.once()

    tree = {"page.html": OLD, "other": b"other", "extra": b"extra", "another": b"another"}
    assert (mirrored.tree(), mirrored.temporaries()) == (tree, [])
    assert run.exit_code == exit_code
    failed = run.named("entry.failed") + run.named("entry.skipped")
    assert [each["key"] for each in failed] == ["page.html"]
    scripted._rules.clear()
    assert mirrored.once().exit_code == 0
    assert mirrored.tree() == {**tree, "page.html": NEW}
    assert mirrored.trash() == {}


def test_a_failed_copy_holds_deletes_back(mirrored: Slave, scripted: ScriptedS3) -> None:
    """Who cannot read the source completely does not delete by it."""
    scripted.on(is_get(KEY), good(NEW[:-1]))
    del scripted.objects["data/extra"]

    run = mirrored.once()

    tree = {"page.html": OLD, "other": b"other", "extra": b"extra"}
    assert (run.exit_code, mirrored.tree()) == (1, tree)
    assert [each["count"] for each in run.named("deletes.withheld")] == [1]


def test_an_archived_object_is_skipped(mirrored: Slave, scripted: ScriptedS3) -> None:
    """It is there but cannot be read: its copy here stays, and deletions elsewhere go on."""
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
def test_a_hiccup_is_no_failure(mirrored: Slave, scripted: ScriptedS3, reply: Reply) -> None:
    """Wrong twice, then right: the new version is installed, whole, and the status is 0."""
    scripted.on(is_get(KEY), reply, times=2)

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()["page.html"]) == (0, NEW)
    assert mirrored.temporaries() == []


def test_a_version_that_appears_meanwhile_is_taken(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Changed between LIST and GET: the 412 leads to the version that is there now, never to a mixture."""
    newest = b"the newest version"

    def overtaken(_request: Request) -> Reply | None:
        scripted.put(KEY, newest)
        return None

    scripted.on(is_get(KEY), overtaken, times=1)

    runs = [mirrored.once(), mirrored.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert (mirrored.tree()["page.html"], runs[1].finished["copied"]) == (newest, 0)


def test_an_object_that_vanishes_meanwhile_leaves_the_copy(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Deleted between LIST and GET: the old file stays until a listing lacks it too."""

    def vanish(_request: Request) -> Reply | None:
        scripted.objects.pop(KEY, None)
        return None

    scripted.on(is_get(KEY), vanish)

    runs = [mirrored.once(), mirrored.once()]

    assert [run.exit_code for run in runs] == [1, 0]
    assert mirrored.tree() == {"other": b"other", "extra": b"extra"}


def test_a_digest_that_cannot_be_an_md5_is_no_corruption(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """An ETag that looks like an MD5 but is of encrypted bytes is believed by length, once the store says so."""
    etag = '"0cc175b9c0f1b6a831c399e269772661"'
    encrypted = {"x_amz_server_side_encryption": "aws:kms"}
    scripted.put("data/secret", b"plain text", etag=etag, **encrypted)

    runs = [scripted_slave.once(), scripted_slave.once()]

    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [(0, 1), (0, 0)]
    assert scripted_slave.tree() == {"secret": b"plain text"}
    assert runs[0].named("entry.copied")[0]["verified"] == "length"


MAP_LIES: dict[str, Callable[[bytes], Reply]] = {
    "short": lambda data: replace(good(data), close_early=len(data) - 5),
    "html": lambda _data: Reply(body=b"<html>Sign in</html>"),
    "empty": lambda _data: Reply(),
    "not modified, but of what": lambda _data: Reply(304),
}


@pytest.mark.parametrize(
    ("name", "exit_code"), list(zip(MAP_LIES, (69, 65, 65, 0), strict=True))
)
def test_a_wrong_map_changes_nothing(
    mirrored: Slave, scripted: ScriptedS3, name: str, exit_code: int
) -> None:
    """A map that is cut or no map at all runs no mapping; a 304 stands for the map that was fetched before."""
    data = scripted.objects["maps/site.json"].data
    scripted.on(is_get("maps/site.json"), MAP_LIES[name](data))

    run = mirrored.once()

    assert run.exit_code == exit_code
    assert mirrored.tree()["page.html"] == (OLD if exit_code else NEW)
