"""A trial of a store touches no object but its own, whatever the store answers."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
from support.s3_messages import Reply, Request, error
from support.scripted import ScriptedS3

from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AccessDenied
from s32s_agent.model import Location
from s32s_agent.plan.keys import PROBES
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.probe import probe
from s32s_agent.stores.s3.timeouts import Timeouts
from s32s_agent.stores.s3.traits import AS_AWS

THEIRS = {"data/a": b"a", "data/small": b"b", "other/c": b"c", "data/.s32s/probe": b"d"}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def connected(scripted: ScriptedS3) -> Connection:
    """Fill the bucket with objects of other people, and connect to it."""
    scripted.in_trials = True
    for key, data in THEIRS.items():
        scripted.put(key, data)
    timeouts = Timeouts(attempts=2, pause_seconds=0.01)
    return Connection(S3Settings(endpoint_url=scripted.endpoint_url), timeouts=timeouts)


def assert_untouched(scripted: ScriptedS3) -> None:
    """Nothing of other people was written or deleted, and nothing of the trial is left."""
    assert {key: each.data for key, each in scripted.objects.items()} == THEIRS
    written = [each for each in scripted.requests if each.method in {"PUT", "DELETE"}]
    assert [each.path for each in written] == []


def test_a_trial_on_a_store_that_ignores_the_prefix_of_a_listing(scripted: ScriptedS3) -> None:
    """It names the objects of other people: none of them is removed at the end."""

    def every_key(request: Request) -> Reply:
        query = {**request.query, "prefix": ""}
        reply = scripted.answer_correctly(replace(request, query=query))
        asked = quote(request.query["prefix"], safe="/")
        return replace(
            reply,
            body=reply.body.replace(
                b"<Prefix></Prefix>", f"<Prefix>{asked}</Prefix>".encode()
            ),
        )

    connection = connected(scripted)
    scripted.on(lambda request: "list-type" in request.query, every_key)

    probe(connection, Location(scripted.bucket, "data"))

    assert_untouched(scripted)


@pytest.mark.parametrize("answered", [0, 1, 5, 20, 35])
def test_a_trial_that_ends_early_leaves_nothing(scripted: ScriptedS3, answered: int) -> None:
    """Whatever it was not allowed to do: what it wrote goes."""
    connection = connected(scripted)
    left = [answered]

    def refuse(request: Request) -> Reply | None:
        left[0] -= 1
        return (
            error(403, "AccessDenied", "no")
            if left[0] < 0 and request.method != "DELETE"
            else None
        )

    scripted.on(lambda request: PROBES in request.path or "list-type" in request.query, refuse)

    with pytest.raises(AccessDenied):
        probe(connection, Location(scripted.bucket, "data"))

    assert_untouched(scripted)


def test_a_server_that_does_what_aws_does_is_found_to_do_so(scripted: ScriptedS3) -> None:
    """But for what the scripted server does not know."""
    found = probe(connected(scripted), Location(scripted.bucket, "data"))

    assert (found.create, found.replace) == (AS_AWS.create, AS_AWS.replace)
    assert (found.lists_etags, found.in_key_order, found.keeps_directories) == (
        True,
        True,
        True,
    )
    assert_untouched(scripted)
