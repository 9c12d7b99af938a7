"""Shows that the scripted server is S3 as long as nobody scripts it otherwise, and then does as it is told."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.exceptions import ClientError
from support.broken_listings import BROKEN, HONEST, broken
from support.buckets import open_client
from support.s3_messages import Reply, Request, error, is_get, is_list, multipart_etag
from support.scripted import ScriptedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STRANGE_KEYS = [
    " ",
    "+",
    "%41",
    "&<>\"'",
    "a/b",
    "a//b",
    "a\nb\r",
    "\x1b[0m",
    "ä",
    "\ue000",
    "\U00010000",
]


@pytest.fixture
def client(scripted: ScriptedS3) -> Iterator[S3Client]:
    with open_client(scripted.endpoint_url) as one:
        yield one


def refusal(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def keys(client: S3Client, **arguments: Any) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", **arguments)
    return [row["Key"] for page in pages for row in page.get("Contents", [])]


def read(client: S3Client, key: str, **arguments: Any) -> bytes:
    with client.get_object(Bucket="bucket", Key=key, **arguments)["Body"] as body:
        return body.read()


def raw(server: ScriptedS3, target: str) -> tuple[int, dict[str, str], bytes]:
    """Ask without an SDK; a body that ends too early is given as far as it came."""
    connection = http.client.HTTPConnection(urlsplit(server.endpoint_url).netloc, timeout=10)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        try:
            body = answer.read()
        except http.client.IncompleteRead as caught:
            body = caught.partial
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body
    finally:
        connection.close()


def test_objects_come_back_as_they_went(scripted: ScriptedS3, client: S3Client) -> None:
    """PUT, HEAD, GET and DELETE keep bytes, ETag, type and metadata."""
    etag = client.put_object(
        Bucket="bucket", Key="a", Body=b"abc", ContentType="text/x", Metadata={"mode": "0644"}
    )["ETag"]
    head = client.head_object(Bucket="bucket", Key="a")

    assert head["ETag"] == etag == '"900150983cd24fb0d6963f7d28e17f72"'
    assert (head["ContentLength"], head["ContentType"]) == (3, "text/x")
    assert head["Metadata"] == {"mode": "0644"}
    assert read(client, "a") == scripted.objects["a"].data == b"abc"
    client.delete_object(Bucket="bucket", Key="a")
    assert refusal(lambda: read(client, "a")) == ("NoSuchKey", 404)
    assert refusal(lambda: client.head_object(Bucket="bucket", Key="a")) == ("404", 404)
    assert scripted.asked("GET") == ["a", "a"]


def test_a_listing_is_paged_in_the_order_of_bytes(
    scripted: ScriptedS3, client: S3Client
) -> None:
    """Pages follow each other without a gap, with keys that XML could not carry."""
    scripted.page_size = 3
    for key in STRANGE_KEYS:
        scripted.put("p/" + key, b"x")
    scripted.put("other", b"x")

    assert keys(client, Prefix="p/") == sorted(
        ("p/" + key for key in STRANGE_KEYS), key=str.encode
    )
    assert len(scripted.requests) == -(-len(STRANGE_KEYS) // 3)


def test_a_listing_obeys_its_limits(scripted: ScriptedS3, client: S3Client) -> None:
    """max-keys and start-after do what they say, and the page says how much it holds."""
    for key in "abcd":
        scripted.put(key, b"x")
    page = client.list_objects_v2(Bucket="bucket", MaxKeys=2, StartAfter="a")

    assert [row["Key"] for row in page["Contents"]] == ["b", "c"]
    assert (page["KeyCount"], page["IsTruncated"]) == (2, True)
    rest = client.list_objects_v2(
        Bucket="bucket", ContinuationToken=page["NextContinuationToken"]
    )
    assert [row["Key"] for row in rest["Contents"]] == ["d"]
    assert rest["IsTruncated"] is False


@pytest.mark.parametrize(
    ("asked", "given"),
    [("bytes=2-3", b"23"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")],
)
def test_ranges(scripted: ScriptedS3, client: S3Client, asked: str, given: bytes) -> None:
    """A range is answered with 206 and the bytes that it names."""
    scripted.put("a", b"0123456789")
    answer = client.get_object(Bucket="bucket", Key="a", Range=asked)
    with answer["Body"] as body:
        assert body.read() == given
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentRange"].endswith("/10")


def test_conditions(scripted: ScriptedS3, client: S3Client) -> None:
    """If-Match and If-None-Match are obeyed by reads and writes."""
    good = scripted.put("a", b"one").etag
    bad = scripted.put("b", b"two").etag
    put = client.put_object

    assert read(client, "a", IfMatch=good) == b"one"
    assert refusal(lambda: read(client, "a", IfMatch=bad)) == ("PreconditionFailed", 412)
    assert refusal(lambda: read(client, "a", IfNoneMatch=good)) == ("304", 304)
    assert refusal(lambda: put(Bucket="bucket", Key="a", IfMatch=bad))[1] == 412
    assert refusal(lambda: put(Bucket="bucket", Key="a", IfNoneMatch="*"))[1] == 412
    put(Bucket="bucket", Key="a", Body=b"new", IfMatch=good)
    assert scripted.objects["a"].data == b"new"


def test_an_upload_in_parts(scripted: ScriptedS3, client: S3Client) -> None:
    """Parts are joined on completion, forgotten on abort, listed in between."""
    where: Any = {"Bucket": "bucket", "Key": "big"}
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    etags = [
        client.upload_part(**upload, PartNumber=number, Body=data)["ETag"]
        for number, data in ((1, b"one"), (2, b"two"))
    ]
    listed = client.list_multipart_uploads(Bucket="bucket")["Uploads"]
    parts: Any = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    done = client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    assert [one["UploadId"] for one in listed] == [upload["UploadId"]]
    assert done["ETag"] == multipart_etag([b"one", b"two"])
    assert read(client, "big") == b"onetwo"
    again = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    client.abort_multipart_upload(**again)
    assert scripted.uploads == {}


def test_another_bucket_is_not_there(client: S3Client) -> None:
    """There is one bucket."""
    assert refusal(lambda: client.list_objects_v2(Bucket="other")) == ("NoSuchBucket", 404)
    client.head_bucket(Bucket="bucket")
    assert [one["Name"] for one in client.list_buckets()["Buckets"]] == ["bucket"]


def test_a_rule_is_used_as_often_as_it_says(scripted: ScriptedS3) -> None:
    """The first rule that matches answers, until it is used up; None passes the request on."""
    scripted.put("a", b"good")
    scripted.on(is_get("a"), lambda _request: None, times=1)
    scripted.on(is_get("a"), Reply(503), times=1)
    scripted.on(is_get("a"), error(403, "AccessDenied"), times=1)

    assert [raw(scripted, "/bucket/a")[0] for _ in range(3)] == [503, 403, 200]
    assert [request.path for request in scripted.requests] == ["/bucket/a"] * 3


@pytest.mark.parametrize(
    ("reply", "length", "body"),
    [
        (Reply(body=b"0123456789"), "10", b"0123456789"),
        (Reply(body=b"0123456789", close_early=4), "10", b"0123"),
        (Reply(body=b"0123456789", length=False, close_early=4), None, b"0123"),
        (Reply(body=b"0123456789", chunked=True), None, b"0123456789"),
        (Reply(body=b"0123456789", chunked=True, close_early=8), None, b"01234"),
        (Reply(body=b"0123", delay=0.05, headers={"content-type": "x/y"}), "4", b"0123"),
    ],
)
def test_bodies_are_sent_as_scripted(
    scripted: ScriptedS3, reply: Reply, length: str | None, body: bytes
) -> None:
    """Length, chunks and an early end are the script's."""
    scripted.on(is_get("a"), reply)
    status, headers, received = raw(scripted, "/bucket/a")

    assert (status, headers.get("content-length"), received) == (200, length, body)


def test_a_request_can_wait_for_another(scripted: ScriptedS3) -> None:
    """A reply function blocks nobody else."""
    scripted.put("a", b"A")
    scripted.put("b", b"B")
    came = threading.Event()
    scripted.on(is_get("a"), lambda _request: None if came.wait(10) else Reply(500))
    waiting = threading.Thread(target=raw, args=(scripted, "/bucket/a"))
    waiting.start()

    assert raw(scripted, "/bucket/b")[2] == b"B"
    came.set()
    waiting.join()


@pytest.mark.parametrize("name", [*BROKEN, *HONEST])
def test_each_listing_is_broken_in_its_own_way(scripted: ScriptedS3, name: str) -> None:
    """Every ready-made listing differs from the right one, and the objects are still there."""
    for key in "abc":
        scripted.put(f"p/{key}", b"x")
    target = f"/bucket?list-type=2&prefix={quote('p/')}&encoding-type=url"
    right = raw(scripted, target)
    scripted.on(is_list, broken(scripted, name))

    assert raw(scripted, target)[::2] != right[::2]
    follow = raw(scripted, target + "&continuation-token=a")
    if name == "500 on page 2":
        assert follow[0] == 500
    if name in {"repeated token", "token cycle"}:
        assert (b"<Contents>" in follow[2], b"IsTruncated>true" in follow[2]) == (False, True)
    assert raw(scripted, "/bucket/p/a")[2] == b"x"


def test_a_token_that_was_never_given_is_refused(scripted: ScriptedS3) -> None:
    """A continuation token is not a place to put anything."""
    assert raw(scripted, "/bucket?list-type=2&continuation-token=x")[0] == 400


def test_a_body_that_breaks_off_is_no_object(scripted: ScriptedS3) -> None:
    """Fewer bytes than were said are refused, and not stored."""
    host, port = urlsplit(scripted.endpoint_url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"PUT /bucket/a HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert b" 400 " in answer.splitlines()[0]
    assert b"IncompleteBody" in answer
    assert (scripted.objects, scripted.requests) == ({}, [])


def test_a_mistake_in_a_script_fails_the_test() -> None:
    """What a reply function raises comes out where the server ends."""

    def mistaken(_request: Request) -> Reply:
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"), ScriptedS3() as server:  # noqa: PT012
        server.on(is_list, mistaken)
        with pytest.raises(http.client.RemoteDisconnected):
            raw(server, "/bucket?list-type=2")


def test_what_cannot_be_said_in_xml_is_said_raw(scripted: ScriptedS3) -> None:
    """A control character goes out as it is, and an entity is left to be expanded."""
    scripted.put("p/a", b"x")
    seen = {}
    for name in ("raw ESC", "raw NUL", "entities"):
        with ScriptedS3() as server:
            server.on(is_list, broken(server, name))
            seen[name] = raw(server, "/bucket?list-type=2&prefix=p/&encoding-type=url")[2]

    assert b"p/s\x1btrange" in seen["raw ESC"]
    assert b"p/s\0trange" in seen["raw NUL"]
    assert b"<!DOCTYPE" in seen["entities"]
    assert b"<Key>p/&b;&b;</Key>" in seen["entities"]
