"""What a hostile or broken server answers, case by case: one table for the agent's tests and for other tools.

Every case begins with a mirrored directory; since then one object has changed, one is new, and one was deleted. The
server then does what the case names. Whatever it does, every file must stay or become a complete version that was
published, no file may be deleted that the source has, and the exit status must show the problem.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace

from support.broken_listings import BROKEN, broken
from support.hostile_answers import (
    DEAD,
    NEW_PAGE,
    OLD_PAGE,
    WRONG_CHECKSUMS,
    Arrange,
    MirroredPrefix,
    after,
    answer,
    bad_bytes,
    changing,
    checksums,
    edited,
    ghost,
    good,
    list_with_wrong_checksums,
    loop,
    odd_key_with_lying_checksums,
    of_head,
    of_page,
    packed_reply,
    page_changed,
    page_two,
    sibling,
    unlisted,
    with_headers,
    without_plus,
)
from support.s3_messages import (
    HTTP_WHEN,
    NAMESPACE,
    Reply,
    error,
    is_get,
    is_list,
)

PARTIAL, REFUSED, UNAVAILABLE, DENIED = 1, 3, 69, 77


@dataclass(frozen=True, slots=True)
class Case:
    """One misbehaviour of a server, and what the agent must do."""

    name: str
    arrange: Arrange
    """Makes the server misbehave."""
    status: int
    """The agent's exit status."""
    says: str = ""
    """Words of the cause that error or remedy must contain; "" only with status 0."""
    kind: str = "listing"
    """`listing`, `body`, `head`, `names`, `access` or `ranges`, for the report."""
    deletes: bool = False
    """The deleted object may be removed here: nothing that matters went wrong."""
    for_any_tool: bool = True

    def __post_init__(self) -> None:
        if bool(self.status) != bool(self.says):
            raise ValueError(
                f"{self.name}: expected words of the cause with a status, and only then"
            )


LISTING_STATUS = {
    **dict.fromkeys(BROKEN, REFUSED),
    **dict.fromkeys(
        (
            "empty body", "html", "204", "500 on page 2", "cut short", "200 with an error", "NoSuchBucket",
            "raw ESC", "raw NUL", "entities", "redirect",
        ),
        UNAVAILABLE,
    ),
    "AccessDenied": DENIED,
}  # fmt: skip


SAYS = {
    "NoSuchBucket": "bucket's name",
    "AccessDenied": "AccessDenied",
    "html": "not a listing",
    "empty body": "not a listing",
    "204": "204",
    "truncated without token": "no continuation token",
    "IsTruncated absent": "IsTruncated is None",
    "IsTruncated TRUE": "IsTruncated is 'TRUE'",
    "500 on page 2": "InternalError",
    "cut short": "not well-formed",
    "200 with an error": "InternalError",
    "keys outside the prefix": "outside the prefix",
    "raw ESC": "not well-formed",
    "raw NUL": "not well-formed",
    "wrong KeyCount": "counts 4",
    "wrong Name": "another-bucket",
    "wrong Prefix": "another/",
    "duplicate keys": "listed twice",
    "repeated token": "repeats a token",
    "token cycle": "repeats a token",
    "negative Size": "size '-3'",
    "text Size": "size 'big'",
    "missing Key": "without key",
    "entities": "document type",
    "redirect": "307",
}
"""What an operator must be able to read."""


def _broken(name: str) -> Case:
    return Case(
        name,
        lambda mirrored: mirrored.server.on(is_list, broken(mirrored.server, name)),
        LISTING_STATUS[name],
        SAYS[name],
    )


_XXE = (
    f'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><ListBucketResult xmlns="{NAMESPACE}">'
    "<Key>&f;</Key></ListBucketResult>"
).encode()
LISTINGS = (
    *map(_broken, BROKEN),
    Case("IsTruncated 1", edited("<IsTruncated>false", "<IsTruncated>1"), REFUSED, "IsTruncated"),
    Case("IsTruncated empty", edited("<IsTruncated>false", "<IsTruncated>"), REFUSED, "IsTruncated"),
    Case("IsTruncated False", edited("<IsTruncated>false", "<IsTruncated>False"), REFUSED, "IsTruncated"),
    Case(
        "complete, yet with a token",
        page_changed(lambda page: replace(page, token="more")),
        REFUSED,
        "token",
    ),
    Case(
        "KeyCount too small",
        page_changed(lambda page: replace(page, key_count=1)),
        REFUSED,
        "counts 1",
    ),
    Case("KeyCount no number", edited("<KeyCount>3", "<KeyCount>many"), REFUSED, "counts many"),
    Case("page 2 is HTML", page_two(Reply(body=b"<html><body>Sign in</body></html>")), UNAVAILABLE, "not a listing"),
    Case("page 2 is empty", page_two(Reply()), UNAVAILABLE, "not a listing"),
    Case("page 2 is 204", page_two(Reply(204)), UNAVAILABLE, "204"),
    Case("page 2 is page 1 again", page_two(None), REFUSED, "listed twice"),
    Case(
        "page 2 is cut off",
        page_two(replace(Reply(body=b"<ListBucketResult>"), close_early=9)),
        UNAVAILABLE,
        "bytes missing",
    ),
    Case("page 2: token expired", page_two(error(400, "ExpiredToken")), DENIED, "ExpiredToken"),
    Case("a sibling's keys", sibling, REFUSED, "outside"),
    Case(
        "keys folded into prefixes",
        edited("</ListB", "<CommonPrefixes><Prefix>data/dir/</Prefix></CommonPrefixes></ListB"),
        REFUSED,
        "4 entries but counts 3",
    ),
    Case("other root", edited("ListBucketResult", "ListBucket"), UNAVAILABLE, "not a listing"),
    Case("lower-case root", edited("ListBucketResult", "listbucketresult"), UNAVAILABLE, "not a listing"),
    Case("JSON", answer(is_list, Reply(body=b'{"Contents": []}')), UNAVAILABLE, "not well-formed"),
    Case("no HTTP", answer(is_list, Reply(raw=[b"SSH-2.0-OpenSSH_9.2\r\n"])), UNAVAILABLE, "HTTP/0.9"),
    Case("junk for gzip", answer(is_list, packed_reply(b"\x1f\x8b junk")), UNAVAILABLE, "not well-formed"),
    Case("gzip of nothing", answer(is_list, packed_reply(gzip.compress(b""))), UNAVAILABLE, "not well-formed"),
    Case("external entity", answer(is_list, Reply(body=_XXE)), UNAVAILABLE, "document type"),
    Case("wrong checksums of a listing", list_with_wrong_checksums, 0, deletes=True),
    Case("206", answer(is_list, Reply(206, b"<ListBucketResult/>")), UNAVAILABLE, "206"),
    Case("Size too large for any file", edited("<Size>5", "<Size>99999999999999999999"), REFUSED, "size"),
    Case("a plus that is not encoded", without_plus, PARTIAL, "NoSuchKey", for_any_tool=False),
    Case("a key that is no UTF-8", bad_bytes, PARTIAL, "not valid UTF-8"),
    Case("redirect to itself", loop, UNAVAILABLE, "307"),
    Case("redirect, permanent", answer(is_list, error(301, "PermanentRedirect")), UNAVAILABLE, "s3.region"),
    Case("wrong region", answer(is_list, error(400, "AuthorizationHeaderMalformed")), DENIED, "s3.region"),
    Case("clock skew", answer(is_list, error(403, "RequestTimeTooSkewed")), DENIED, "clock"),
    Case("token expired", answer(is_list, error(400, "ExpiredToken")), DENIED, "ExpiredToken"),
    Case("signature wrong", answer(is_list, error(403, "SignatureDoesNotMatch")), DENIED, "SignatureDoesNotMatch"),
    Case("not implemented", answer(is_list, error(501, "NotImplemented")), UNAVAILABLE, "NotImplemented"),
    Case("slow down", answer(is_list, error(503, "SlowDown")), UNAVAILABLE, "SlowDown"),
    Case("too many requests", answer(is_list, error(429, "TooManyRequests")), UNAVAILABLE, "TooManyRequests"),
    Case("a proxy's login", answer(is_list, Reply(407, b"<html>login</html>")), UNAVAILABLE, "proxy"),
)  # fmt: skip


def _body(name: str, reply: Reply, status: int = PARTIAL, says: str = "") -> Case:
    return Case(name, of_page(reply), status, says, "body")


BODIES = (
    _body("one byte short", good(NEW_PAGE[:-1]), says="got 1699 bytes"),
    _body("one byte long", good(NEW_PAGE + b"!"), says="got 1701 bytes"),
    _body("no bytes", good(b""), says="got 0 bytes"),
    _body("a flipped byte", good(b"T" + NEW_PAGE[1:]), says="MD5"),
    _body(
        "a flipped byte, and its checksums",
        with_headers(good(b"T" + NEW_PAGE[1:]), checksums(b"T" + NEW_PAGE[1:])),
        says="MD5",
    ),
    _body(
        "a flipped byte, and the checksums of the whole",
        with_headers(good(b"T" + NEW_PAGE[1:]), checksums(NEW_PAGE)),
        says="MD5",
    ),
    Case("wrong checksums of the right bytes", of_page(with_headers(good(), WRONG_CHECKSUMS)), 0, "", "body", True),
    Case("an odd key with lying checksums", odd_key_with_lying_checksums, PARTIAL, "MD5", "names"),
    _body("all zeros", good(bytes(len(NEW_PAGE))), says="MD5"),
    _body("the old version", good(OLD_PAGE), says="MD5"),
    _body("wrong ETag", good(etag='"0cc175b9c0f1b6a831c399e269772661"'), says="version"),
    Case("changing ETag", changing, PARTIAL, "version", "body", for_any_tool=False),
    _body(
        "206 to a plain GET",
        replace(good(NEW_PAGE[:100], content_range="bytes 0-99/1700"), status=206),
        says="got bytes 0 to 100",
    ),
    _body("206 without a range", replace(good(NEW_PAGE[:100]), status=206), says="got 100 bytes"),
    _body("412 for ever", error(412, "PreconditionFailed"), says="PreconditionFailed"),
    _body("listed, and 404", error(404, "NoSuchKey"), says="NoSuchKey"),
    _body("403", error(403, "AccessDenied"), DENIED, "AccessDenied"),
    _body("500 for ever", error(500, "InternalError"), UNAVAILABLE, says="InternalError"),
    _body("503 for ever", error(503, "SlowDown"), UNAVAILABLE, says="SlowDown"),
    _body("error with status 200", replace(good(), body=error(500, "InternalError").body), says="bytes, expected 1700"),
    _body("HTML with status 200", good(b"<html>Sign in</html>"), says="got 20 bytes"),
    _body("204 for the object", Reply(204, headers={"etag": good().headers["etag"]}), UNAVAILABLE, "Content-Length"),
    _body("object redirected", Reply(307, headers={"location": DEAD}), UNAVAILABLE, says="307"),
    Case("archived", of_page(error(403, "InvalidObjectState")), PARTIAL, "restore", "body", deletes=True),
    _body("Content-Length too small", replace(good(content_length="1695"), length=False), says="got 1695 bytes"),
    _body("Content-Length too large", replace(good(content_length="1705"), length=False), UNAVAILABLE, "bytes missing"),
    _body("no length, cut", replace(good(NEW_PAGE[:500]), length=False), UNAVAILABLE, says="Content-Length"),
    _body("chunked, one byte short", replace(good(NEW_PAGE[:-1]), chunked=True), UNAVAILABLE, says="Content-Length"),
    _body("connection cut", replace(good(), close_early=700), UNAVAILABLE, says="1000 bytes missing"),
    _body("connection cut at once", replace(good(), close_early=0), UNAVAILABLE, says="1700 bytes missing"),
    _body("object: no HTTP", Reply(raw=[b"220 ftp ready\r\n"]), UNAVAILABLE, says="HTTP/0.9"),
    _body("packed on the way", good(gzip.compress(NEW_PAGE), content_encoding="gzip"), says="bytes, expected 1700"),
    Case("token expires in the middle", after(1, error(400, "ExpiredToken")), DENIED, "ExpiredToken", "access"),
    Case("access denied in the middle", after(1, error(403, "AccessDenied")), DENIED, "AccessDenied", "access"),
)  # fmt: skip

HEADS = (
    Case("not listed, and there", unlisted, REFUSED, "exists", "head"),
    Case("listed, and nowhere", ghost, PARTIAL, "NoSuchKey", "head"),
    Case("HEAD: 400", of_head(Reply(400)), UNAVAILABLE, "400", "head", for_any_tool=False),
    Case("HEAD: 429", of_head(Reply(429)), UNAVAILABLE, "429", "head", for_any_tool=False),
    Case("HEAD: 403", of_head(Reply(403)), DENIED, "403", "head", for_any_tool=False),
    Case("HEAD: 500", of_head(Reply(500)), UNAVAILABLE, "500", "head", for_any_tool=False),
    Case("HEAD: 200 for all", of_head(Reply(headers={"etag": '"0"'})), REFUSED, "exists", "head", for_any_tool=False),
)  # fmt: skip

HOSTILE_KEYS = (
    "../escaped", "a/../../escaped", "..", ".", "a/./b", "a//b", "/tmp/s32s-agent-escaped", "dir/../../../escaped",
    "../data2/escaped", "..\\escaped", "C:\\escaped", "con\x1b[31mtrol", "nul\0l", "line\nend", "x" * 256, "é" * 128,
    "page.html/below", ".s32s/trash/x", ".s32s-tmp.0", "deep/" * 200 + "file", "\u202egpj.exe", "dir",
)  # fmt: skip
"""Keys that a file cannot have, must not have, or that lead a careless client to another path."""


KEY_SAYS = {
    **dict.fromkeys(("a//b", "/tmp/s32s-agent-escaped"), "an empty part"),
    **dict.fromkeys(("x" * 256, "é" * 128), "256 bytes is more than"),
    **dict.fromkeys((".s32s/trash/x", ".s32s-tmp.0"), "the agent's own names"),
    **dict.fromkeys(("page.html/below", "dir"), "is a file, so nothing can be inside it"),
    "nul\0l": "NUL",
}
"""The reasons why there is no such file; for all others, that `..` is no file name."""


def _hostile_key(key: str) -> Case:
    def arrange(mirrored: MirroredPrefix) -> None:
        mirrored.server.put(mirrored.key(key), b"evil")

    harmless = key in {
        "..\\escaped",
        "C:\\escaped",
        "con\x1b[31mtrol",
        "line\nend",
        "\u202egpj.exe",
    }
    shown = key if len(key) < 40 else f"{key[:10]}... ({len(key.encode())} bytes)"
    fits = harmless or key == "deep/" * 200 + "file"
    status, ours = 0 if fits else PARTIAL, key.startswith(".s32s")
    says = "" if fits else KEY_SAYS.get(key, "are not names of files")
    return Case(
        f"key {shown!r}",
        arrange,
        status,
        says,
        "names",
        deletes=True,
        for_any_tool=not ours,
    )


LARGE, LARGE_BYTES = "large.bin", 20 << 20
"""An object that clients fetch in ranges."""


def _range_ignored(mirrored: MirroredPrefix) -> None:
    """Answer every GET of a large object with all of it, and with status 200."""
    # No two blocks are equal, so that bytes at a wrong position are wrong bytes.
    data = b"".join(b"%016d" % number for number in range(LARGE_BYTES // 16))
    stored = mirrored.server.put(mirrored.key(LARGE), data)
    headers = {"etag": stored.etag, "last-modified": HTTP_WHEN}
    mirrored.server.on(is_get(mirrored.key(LARGE)), Reply(body=data, headers=headers))


RANGES = (Case("Range ignored", _range_ignored, 0, kind="ranges", deletes=True),)

NAMES = tuple(map(_hostile_key, HOSTILE_KEYS))
CASES = (*LISTINGS, *BODIES, *HEADS, *NAMES, *RANGES)
