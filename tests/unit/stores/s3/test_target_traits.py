"""What a target sends to a store, by what the store was found to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.contents import Bytes, entry_of
from support.s3_messages import Reply, Request, error
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import EntryError, SourceChanged
from s32s_agent.model import Copy, Entry, Kind, Location, Why
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.target import S3Target, UploadOptions
from s32s_agent.stores.s3.timeouts import Timeouts
from s32s_agent.stores.s3.traits import AS_AWS, Guard
from s32s_agent.stores.s3.unfinished_uploads import Uploads

LARGE = bytes(9 << 20)


@pytest.fixture
def target(tmp_path: Path, scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> S3Target:
    """A target on the scripted server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    connection = Connection(
        S3Settings(endpoint_url=scripted.endpoint_url), timeouts=Timeouts(pause_seconds=0.01)
    )
    options = UploadOptions(Uploads(tmp_path / "uploads"))
    return S3Target(connection, Location(scripted.bucket, "data"), options)


def put(target: S3Target, data: bytes, replaces: bytes | None = None) -> str:
    """Send one object, in place of a listed version; return the version that the index takes."""
    listed = None if replaces is None else entry_of("k", replaces)
    return target.put(Copy(entry_of("k", data), Why.NEW, listed), Bytes((data,))).etag or ""


def conditions(scripted: ScriptedS3) -> list[tuple[str | None, str | None]]:
    """Return If-Match and If-None-Match of each request that shows an object."""
    return [
        (each.headers.get("if-match"), each.headers.get("if-none-match"))
        for each in scripted.requests
        if (each.method, "partNumber" in each.query) == ("PUT", False)
        or (each.method == "POST" and "uploadId" in each.query)
    ]


def test_a_store_that_refuses_the_quotes_and_keeps_the_old_version_for_ever(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """Ceph 16 wants the ETag of a PUT bare: it is sent bare where that was found out."""

    def as_ceph(request: Request) -> Reply | None:
        quoted = '"' in request.headers.get("if-match", "")
        return error(412, "PreconditionFailed", "no") if quoted else None

    scripted.put("data/k", b"old")
    scripted.on(lambda request: request.method == "PUT", as_ceph)
    with pytest.raises(SourceChanged):
        put(target, b"new", replaces=b"old")

    target.traits = replace(AS_AWS, replace=Guard.BARE)
    put(target, b"new", replaces=b"old")

    assert scripted.objects["data/k"].data == b"new"
    assert conditions(scripted)[-1] == (entry_of("k", b"old").etag, None)


@pytest.mark.parametrize("guard", [Guard.IGNORED, Guard.REFUSED])
@pytest.mark.parametrize("data", [b"new", LARGE], ids=["whole", "parts"])
@pytest.mark.parametrize("old", [None, b"old"], ids=["create", "replace"])
def test_another_writers_object_that_no_condition_protects(
    target: S3Target, scripted: ScriptedS3, guard: Guard, data: bytes, old: bytes | None
) -> None:
    """No condition is sent that would be ignored or refused; the store is compared with what was listed instead."""
    target.traits = replace(
        AS_AWS, create=guard, replace=guard, complete_new=guard, complete_over=guard
    )
    if old is not None:
        scripted.put("data/k", old)
    put(target, data, replaces=old)
    assert conditions(scripted) == [(None, None)]
    assert scripted.objects["data/k"].data == data

    scripted.put("data/k", b"theirs")
    with pytest.raises(SourceChanged):
        put(target, data, replaces=old)
    assert scripted.objects["data/k"].data == b"theirs"


def test_only_what_is_not_protected_is_compared(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """Swift 2.30 knows conditions on PUT and none on completing: each write has what helps it."""
    target.traits = replace(AS_AWS, complete_new=Guard.REFUSED)

    put(target, b"small")
    scripted.objects.clear()
    put(target, LARGE)

    assert conditions(scripted) == [(None, "*"), (None, None)]


def test_a_master_that_sends_everything_in_every_run(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """Where listings have no ETags, the index takes the version as the next listing names it."""
    target.traits = replace(AS_AWS, lists_etags=False)
    scripted.on(
        lambda request: request.method == "GET" and not request.key,
        lambda request: without_etags(scripted.answer_correctly(request)),
    )

    version = put(target, b"data")

    (listed,) = (each for each in target.scan() if isinstance(each, Entry))
    assert (listed.etag, listed.size) == (version, 4)
    assert version.startswith("modified ")
    assert not target.lists_etags


def without_etags(reply: Reply) -> Reply:
    before, _, after = reply.body.partition(b"<ETag>")
    return replace(reply, body=before + after.partition(b"</ETag>")[2])


# --- deletes ---

DELETED = "<Deleted><Key>{}</Key></Deleted>"


def _answers(text: str, status: int = 200) -> Callable[[Request], Reply | None]:
    def answer(request: Request) -> Reply | None:
        if "delete" not in request.query:
            return None
        body = f'<?xml version="1.0"?><DeleteResult xmlns="x">{text}</DeleteResult>'
        return Reply(status, body.encode(), {"content-type": "application/xml"})

    return answer


def deleted(target: S3Target, scripted: ScriptedS3, *keys: str) -> set[str]:
    """Delete these together; return which of them the target believes to be gone."""
    for key in keys:
        scripted.put(f"data/{key}", b"x")
    return target.delete_many([Entry(key) for key in keys])


def test_a_delete_that_the_store_did_not_carry_out_and_nobody_noticed(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """Only what the answer names as deleted is gone; an error, a foreign key, or silence proves nothing."""
    failed = "<Error><Key>data/b</Key><Code>InternalError</Code></Error>"
    named = DELETED.format("data/a") + failed + DELETED.format("other/c")
    scripted.on(lambda request: "delete" in request.query, _answers(named))

    assert deleted(target, scripted, "a", "b", "c") == {"a"}


def test_an_answer_that_names_no_key_proves_no_delete(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """JuiceFS 1.4 answers one empty element for each key."""
    scripted.on(lambda request: "delete" in request.query, _answers("<Deleted></Deleted>" * 2))

    assert deleted(target, scripted, "a", "b") == set()


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "InvalidRequest", "no"),
        error(501, "NotImplemented"),
        error(403, "AccessDenied", "no"),
    ],
    ids=["400", "501", "403"],
)
def test_a_store_that_does_not_delete_together_is_asked_once(
    target: S3Target, scripted: ScriptedS3, refusal: Reply
) -> None:
    """A refusal is remembered, and every entry goes on its own, also where a policy allows only that."""
    scripted.on(lambda request: "delete" in request.query, refusal)

    assert deleted(target, scripted, "a", "b") == set()
    assert target.deletes_at_once == 1


@pytest.mark.parametrize("key", ["a//b", "./a", "a/../b", "new\nline", "\ufffd"])
def test_a_name_that_may_mean_another_object_is_in_no_list(
    target: S3Target, scripted: ScriptedS3, key: str
) -> None:
    """What XML cannot hold, or a store may read as another key, is not deleted together with others."""
    scripted.on(lambda request: "delete" in request.query, _answers(DELETED.format("data/a")))

    deleted(target, scripted, "a", key)

    (body,) = (each.body for each in scripted.requests if "delete" in each.query)
    assert body.count(b"<Key>") == 1


def test_a_marker_that_is_refused_is_no_fault_of_the_network(
    target: S3Target, scripted: ScriptedS3
) -> None:
    """Stores that keep no directories answer 400: that entry fails, with the store's own words."""
    scripted.on(
        lambda request: request.key.endswith("/"), error(400, "InvalidArgument", "no slashes")
    )
    with pytest.raises(EntryError, match="no slashes"):
        target.put(Copy(Entry("d/", kind=Kind.DIRECTORY), Why.NEW), Bytes(()))
