"""The client of S3 against answers of every kind: what is repeated, what is believed, and what the messages say."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.fixed_access import Fixed, client_of
from support.raw_server import RawServer, answer, error

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    EntryError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.stores.s3.answers import NotModified
from s32s_agent.stores.s3.client import Call, S3Client
from s32s_agent.stores.s3.http import Http
from s32s_agent.stores.s3.transport import HttpRequest, Transport

OK = answer(200, b"body", ETag='"e"')
PAGE = answer(404, b"<html><body>Not Found</body></html>", Content_Type="text/html")
GET = Call("GET", "bucket", '"key"', "key")
HEAD = Call("HEAD", "bucket", '"key"', "key")
LIST = Call("GET", "bucket", 'listing "bucket"', query=(("list-type", "2"),))


def refused(call: Call, *answers: bytes | None) -> tuple[AgentError, int]:
    """Return the error that a call ends with, and how often it was made."""
    with RawServer(answers) as server, pytest.raises(AgentError) as caught:
        client_of(server.url).call(call)
    return caught.value, len(server.requests)


@pytest.mark.parametrize(
    "first",
    [
        error(503, "SlowDown"),
        error(500, "InternalError"),
        answer(502, b"<html>", Content_Type="text/html"),
        error(429, "TooManyRequests"),
        error(400, "RequestTimeout"),
        b"",  # the connection ends
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"no http at all\r\n\r\n",
    ],
)
def test_what_may_pass_is_asked_for_again(first: bytes) -> None:
    with RawServer([first, OK]) as server:
        assert client_of(server.url).call(GET).body == b"body"
    assert len(server.requests) == 2


def test_what_does_not_pass_is_asked_for_once() -> None:
    problem, asked = refused(GET, error(403, "AccessDenied", "no"))

    assert isinstance(problem, AccessDenied)
    assert asked == 1


def test_a_page_of_another_server_never_means_that_an_object_is_gone() -> None:
    for call in (GET, HEAD):
        problem, _ = refused(
            call, PAGE if call is GET else PAGE.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
        )
        assert isinstance(problem, StoreUnavailable), call
        assert "not from S3" in str(problem)
        assert "endpoint_url" in problem.remedy


def test_a_wrong_endpoint_is_named_with_its_url() -> None:
    with RawServer([PAGE]) as server, pytest.raises(StoreUnavailable) as caught:
        client_of(server.url).call(LIST)
    assert server.url in str(caught.value)


def test_who_asks_without_a_signature_is_not_sent_to_look_at_credentials() -> None:
    """The bucket is not as public as `s3.anonymous` believes."""

    class Anonymous(Fixed):
        def credentials(self) -> None:  # type: ignore[override]
            return None

    with RawServer([error(403, "AccessDenied", "no")]) as server:
        client = S3Client(Anonymous(server.url), Http(Transport(read_seconds=1)))
        with pytest.raises(AccessDenied, match="AccessDenied: no") as caught:
            client.call(GET)

    assert "s3.anonymous" in caught.value.remedy
    assert "check the credentials" not in caught.value.remedy
    assert b"Authorization" not in server.requests[0]


def test_only_an_answer_of_s3_means_absent() -> None:
    assert isinstance(refused(GET, error(404, "NoSuchKey"))[0], SourceChanged)
    head = answer(404, b"", x_amz_request_id="1", Content_Type="application/xml")
    assert isinstance(refused(HEAD, head)[0], SourceChanged)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "remedy"),
    [
        (403, "AccessDenied", "not authorized to perform: kms:Decrypt", AccessDenied, "KMS"),
        (400, "KMS.DisabledException", "key is disabled", AccessDenied, "KMS"),
        (403, "QuotaExceeded", "quota", EntryError, "quota"),
        (507, "XMinioStorageFull", "full", EntryError, "free space"),
        (
            400,
            "InvalidRequest",
            "Content-MD5 is required for Put with Object Lock",
            EntryError,
            "retention",
        ),
        (400, "InvalidRequest", "because", EntryError, "its message says why"),
        (403, "AccessDenied", "bucket owner mismatch", AccessDenied, "expected_bucket_owner"),
        (400, "ExpiredToken", "expired", AccessDenied, "renew"),
        (404, "NoSuchBucket", "none", StoreUnavailable, "bucket"),
        (400, "AccessControlListNotSupported", "no ACLs", EntryError, "remove `acl`"),
    ],
)
def test_the_store_s_own_words_and_a_remedy_that_fits(
    status: int, code: str, message: str, kind: type[AgentError], remedy: str
) -> None:
    problem, _ = refused(GET, error(status, code, message))

    assert isinstance(problem, kind)
    assert f"{code}: {message}" in str(problem)
    assert remedy in problem.remedy


def test_a_hostile_message_cannot_act_on_a_terminal() -> None:
    problem, _ = refused(GET, error(400, "InvalidArgument", "\x1b[2Jboo" + "x" * 5000))

    assert "\x1b" not in str(problem)
    assert len(str(problem)) < 400


def test_304_says_that_the_known_version_is_current() -> None:
    assert isinstance(refused(GET, answer(304))[0], NotModified)


def test_a_clock_that_is_wrong_by_hours_is_corrected_once() -> None:
    now = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    skewed = error(403, "RequestTimeTooSkewed").replace(
        b"Content-Length", b"Date: " + now.encode() + b"\r\nContent-Length", 1
    )
    with RawServer([skewed, OK]) as server:
        assert client_of(server.url).call(GET).status == 200
    stamps = [
        line
        for head in server.requests
        for line in head.split(b"\r\n")
        if b"amz-date" in line.lower()
    ]
    assert stamps[0] != stamps[1]

    problem, asked = refused(GET, skewed)
    assert isinstance(problem, AccessDenied)
    assert "clock" in problem.remedy
    assert asked == 2


def test_a_bucket_in_another_region_is_followed_at_aws_and_signed_for_it() -> None:
    moved = error(
        301,
        "PermanentRedirect",
        extra="<Endpoint>evil.example</Endpoint><Region>eu-west-3</Region>",
    )
    with RawServer([moved, OK]) as server:
        assert client_of(server.url, follows_regions=True).call(GET).status == 200
    assert b"/eu-west-3/s3/" in server.requests[1]


def test_no_redirect_takes_the_signature_to_another_host() -> None:
    with RawServer([OK]) as elsewhere:
        moved = answer(307, b"", Location=f"{elsewhere.url}/bucket/key")
        problem, _ = refused(GET, moved)
    assert isinstance(problem, StoreUnavailable)
    assert elsewhere.requests == []


def test_an_endless_answer_is_given_up() -> None:
    call = Call("GET", "bucket", "list", limit=1000)
    problem, asked = refused(call, answer(200, b"x" * 5000))

    assert isinstance(problem, StoreUnavailable)
    assert "longer than 1000 bytes" in str(problem)
    assert asked == 1


def test_endless_headers_are_given_up() -> None:
    problem, _ = refused(GET, answer(200, b"", **{f"h{n}": "x" * 1000 for n in range(100)}))

    assert "headers" in str(problem)


def test_a_server_that_falls_silent_is_left() -> None:
    problem, asked = refused(Call("GET", "bucket", '"key"', "key"), None)

    assert isinstance(problem, StoreUnavailable)
    assert asked == 3


def test_a_wait_ends_within_seconds_of_a_cancellation() -> None:
    token = CancelToken()
    with RawServer([None]) as server:
        http = Http(Transport(read_seconds=60), token)
        client = S3Client(Fixed(server.url), http, cancel_token=token)
        threading.Timer(0.3, token.cancel).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            client.call(GET)
    assert time.monotonic() - started < 5


def test_headers_of_other_tools_may_hold_any_text() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Disposition: \xe2\x82\xac\r\nx-amz-meta-a: \xe9\r\n\r\n"
    with RawServer([raw]) as server:
        found = client_of(server.url).call(GET)
    assert found.headers["content-disposition"] == "€"
    assert found.headers["x-amz-meta-a"] == "é"


def test_a_body_comes_in_chunks_and_an_error_does_not_pass_for_one() -> None:
    with RawServer([answer(200, b"x" * 3_000_000), error(404, "NoSuchKey")]) as server:
        client = client_of(server.url)
        with client.stream(Call("GET", "b", "k", "k", limit=3_000_000)) as (head, chunks):
            assert (head.status, sum(map(len, chunks))) == (200, 3_000_000)
        with pytest.raises(SourceChanged), client.stream(GET):
            pass


def test_a_body_that_breaks_off_is_no_whole_one() -> None:
    torn = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000
    with (
        RawServer([torn]) as server,
        client_of(server.url).stream(GET) as (_, chunks),
        pytest.raises(StoreUnavailable),
    ):
        list(chunks)


def test_an_object_is_not_sent_over_another_writer_s_after_a_lost_answer() -> None:
    """A store that ignores conditions would not notice that it changed meanwhile."""
    problem, asked = refused(Call("PUT", "bucket", '"key"', "key", body=b"x"), OK[:20])

    assert isinstance(problem, StoreUnavailable)
    assert asked == 1


def test_a_part_is_sent_whole_and_again_when_its_answer_was_lost() -> None:
    query = (("partNumber", "1"),)
    put = Call("PUT", "bucket", '"key"', "key", query, body=bytes(range(256)) * 8000)
    with RawServer([OK, OK, b"", OK]) as server:
        client = client_of(server.url)
        for _ in range(3):
            assert client.call(put).status == 200
    assert [len(body) for body in server.bodies] == [len(put.body)] * 4


def test_an_error_behind_status_200_is_an_error() -> None:
    late = answer(200, b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>")
    complete = Call("POST", "bucket", '"key"', "key", (("uploadId", "u"),), body=b"<x/>")

    problem, asked = refused(complete, late)

    assert isinstance(problem, StoreUnavailable)
    assert asked == 3


def test_a_key_is_asked_for_exactly() -> None:
    keys: Sequence[str] = ("a/../b", "a//b", "a b+c%", "ä", ".")
    with RawServer([OK]) as server:
        client = client_of(server.url)
        for key in keys:
            client.call(Call("GET", "bucket", "k", key))
    paths = [head.split(b" ")[1] for head in server.requests]
    assert paths == [
        b"/bucket/a/../b",
        b"/bucket/a//b",
        b"/bucket/a%20b%2Bc%25",
        b"/bucket/%C3%A4",
        b"/bucket/.",
    ]


def test_a_proxy_is_named_only_where_one_was_used() -> None:
    with RawServer([OK]) as server:
        direct, proxied = Http(Transport()), Http(Transport(proxy=server.url))
        direct.send(HttpRequest("GET", f"{server.url}/x"))
        proxied.send(HttpRequest("GET", "http://store.invalid/x"))

    assert (direct.through_proxy, proxied.through_proxy) == (False, True)
