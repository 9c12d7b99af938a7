"""A source in S3 is read, and that is all that can be done with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.model import Location
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source

WRITING = {
    "put", "put_part", "begin_upload", "complete_upload", "abort_upload",
    "publish", "discard", "delete", "remove_leftovers", "free_space", "prune",
}  # fmt: skip


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Source]:
    """A slave's source that has listed its prefix and read an object."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ScriptedS3() as server:
        server.put("data/a", b"alpha")
        settings = S3Settings(
            endpoint_url=server.endpoint_url, region="us-east-1", addressing_style="path"
        )
        found = S3Source(Connection(settings), Location(server.bucket, "data"))
        for entry in found.scan():
            with found.open(entry) as content:  # type: ignore[arg-type]
                assert list(content.chunks()) == [b"alpha"]
        yield found


def test_a_bucket_that_a_slave_overwrites_or_empties(source: S3Source) -> None:
    """Nothing of the agent's that a slave's source leads to has a method that writes or deletes."""
    able = {
        f"{type(each).__qualname__}.{name}"
        for each in reachable(source)
        for name in WRITING & set(dir(each))
    }

    assert {type(each).__name__ for each in reachable(source)} >= {"S3Source", "Connection"}
    assert able == set()


def reachable(thing: object, seen: dict[int, object] | None = None) -> list[object]:
    """Return the agent's own objects that an object leads to, itself included."""
    seen = {} if seen is None else seen
    if id(thing) in seen or not type(thing).__module__.startswith("s32s_agent.stores"):
        return list(seen.values())
    seen[id(thing)] = thing
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [*getattr(thing, "__dict__", {}).values()]
    held += [getattr(thing, name) for name in slots if hasattr(thing, name)]
    for each in held:
        reachable(each, seen)
    return list(seen.values())
