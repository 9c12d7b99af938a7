"""What a hostile or broken server answers, case by case: one table for the agent's tests and for its peers.

The world of every case: a directory was mirrored; since then one object has changed, one is new, and one is gone. The
server then does what the case says. Whatever it does, every file must stay, or become a whole version that was
published, nothing may be deleted that should not be, and the status must tell.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from support.broken_listings import BROKEN, broken
from support.scripted import (
    HTTP_WHEN,
    NAMESPACE,
    Match,
    Page,
    Replier,
    Reply,
    Request,
    Row,
    ScriptedS3,
    error,
    is_get,
    is_head,
    is_list,
)

OLD_PAGE = b"the old version, " * 100
NEW_PAGE = b"the new version! " * 100
PAGE, OTHER, EXTRA, NEW = "page.html", "other.txt", "dir/extra.txt", "dir/new.txt"
BEFORE = {PAGE: OLD_PAGE, OTHER: b"other", EXTRA: b"extra"}
AFTER = {PAGE: NEW_PAGE, OTHER: b"other", NEW: b"new"}

PARTIAL, REFUSED, UNAVAILABLE, DENIED = 1, 3, 69, 77
DEAD = "http://127.0.0.1:9/"
"""Nobody listens on the discard port."""


@dataclass(frozen=True, slots=True)
class MirroredPrefix:
    """A server, and the prefix of it that is mirrored."""

    server: ScriptedS3
    prefix: str = "data/"
    """Ends in a slash."""

    def key(self, name: str) -> str:
        return self.prefix + name

    def prepare(self) -> None:
        """Put what was mirrored into the bucket."""
        self.publish(BEFORE)

    def change(self) -> None:
        """Make the bucket what it is when the server begins to misbehave, or has ended to."""
        self.publish(AFTER)

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Make the prefix hold these files and nothing else, and forget everything scripted."""
        self.server.forget_rules()
        for key in self.published():
            del self.server.objects[self.key(key)]
        for key, data in files.items():
            self.server.put(self.key(key), data)

    def published(self) -> dict[str, bytes]:
        """Give what the prefix holds, by key below it."""
        start = self.prefix
        objects = self.server.objects.items()
        return {
            key.removeprefix(start): each.data
            for key, each in objects
            if key.startswith(start)
        }


Arrange = Callable[[MirroredPrefix], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a server does, and what the agent owes."""

    name: str
    arrange: Arrange
    """Makes the server do it."""
    status: int
    """Of the agent."""
    says: str = ""
    """Words that name the cause, which error or remedy must hold: given wherever the status is not 0."""
    kind: str = "listing"
    """`listing`, `body`, `head`, `names`, `access` or `ranges`, for the report."""
    deletes: bool = False
    """The object that is gone may be removed here all the same: nothing that matters went wrong."""
    for_any_tool: bool = True

    def __post_init__(self) -> None:
        if bool(self.status) != bool(self.says):
            raise ValueError(
                f"{self.name}: a cause is to be named where something is wrong, and only there"
            )


# --- ways to misbehave ---


def answer(match: Match, reply: Reply | Replier) -> Arrange:
    return lambda world: world.server.on(match, reply)


def of_page(reply: Reply | Replier) -> Arrange:
    """Answer so to GET of the page."""
    return lambda world: world.server.on(is_get(world.key(PAGE)), reply)


def of_head(reply: Reply) -> Arrange:
    """Answer so to HEAD of the object that is gone."""
    return lambda world: world.server.on(is_head(world.key(EXTRA)), reply)


def page_changed(change: Callable[[Page], Page]) -> Arrange:
    """Change every page of a listing."""
    return lambda world: world.server.on(
        is_list, lambda request: change(world.server.page(request)).reply()
    )


def page_two(reply: Reply | None) -> Arrange:
    """Answer well with one key and a good token, then with this; None is the first page once more."""

    def arrange(world: MirroredPrefix) -> None:
        server = world.server
        server.page_size = 1

        def second(request: Request) -> Reply | None:
            if "continuation-token" not in request.query:
                return None
            first = replace(request, query={"list-type": "2", "prefix": world.prefix})
            return reply or replace(server.page(first), token="other").reply()

        server.on(is_list, second)

    return arrange


def _with_row(page: Page, *rows: Row) -> Page:
    """Add rows; a key of them is as the server would write it before it is escaped."""
    all_rows = (*page.rows, *rows)
    return replace(page, rows=all_rows, key_count=len(all_rows))


def _row(key: str, data: bytes = b"evil") -> Row:
    return Row(key, str(len(data)), f'"{hashlib.md5(data).hexdigest()}"')


def _edited(old: str, new: str) -> Arrange:
    """Edit the XML of every page."""

    def reply(server: ScriptedS3, request: Request) -> Reply:
        whole = server.page(request).reply()
        return replace(whole, body=whole.body.replace(old.encode(), new.encode()))

    return lambda world: world.server.on(is_list, lambda request: reply(world.server, request))


def _packed_reply(body: bytes) -> Reply:
    return Reply(body=body, headers={"content-encoding": "gzip"})


def _sibling(world: MirroredPrefix) -> None:
    """List a key of the prefix whose name only begins alike."""
    row = _row(f"{world.prefix.rstrip('/')}0/x")
    world.server.on(
        is_list, lambda request: _with_row(world.server.page(request), row).reply()
    )


def _without_plus(world: MirroredPrefix) -> None:
    """Encode keys, and leave a plus as it is: `a+b` reads as `a b`."""
    world.server.put(world.key("a+b"), b"plus")

    def reply(request: Request) -> Reply:
        whole = world.server.page(request).reply()
        return replace(whole, body=whole.body.replace(b"%2B", b"+"))

    world.server.on(is_list, reply)


def _bad_bytes(world: MirroredPrefix) -> None:
    """List a key that is no UTF-8."""

    def reply(request: Request) -> Reply:
        page = _with_row(world.server.page(request), _row(world.key("zz_bad")))
        whole = page.reply()
        return replace(whole, body=whole.body.replace(b"zz_bad", b"zz%FFbad"))

    world.server.on(is_list, reply)


def good(data: bytes = NEW_PAGE, **headers: str) -> Reply:
    """Make the right answer to GET of the page, or one that only looks like it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    etag = f'"{hashlib.md5(NEW_PAGE).hexdigest()}"'
    return Reply(body=data, headers={"etag": etag, "last-modified": HTTP_WHEN, **named})


def _checksums(data: bytes) -> dict[str, str]:
    """Make the headers by which S3 vouches for bytes, in those algorithms that the standard library has."""
    digests = {
        "crc32": zlib.crc32(data).to_bytes(4, "big"),
        "sha1": hashlib.sha1(data, usedforsecurity=False).digest(),
        "sha256": hashlib.sha256(data).digest(),
    }
    named = {f"x-amz-checksum-{name}": each for name, each in digests.items()}
    return {name: base64.b64encode(each).decode() for name, each in named.items()}


_WRONG_CHECKSUMS = {
    **_checksums(b"something else"),
    "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=",
}


def _with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return replace(reply, headers={**reply.headers, **headers})


def _list_with_wrong_checksums(world: MirroredPrefix) -> None:
    world.server.on(
        is_list,
        lambda request: _with_headers(world.server.page(request).reply(), _WRONG_CHECKSUMS),
    )


def _odd_key_with_lying_checksums(world: MirroredPrefix) -> None:
    """Serve damaged bytes, and checksums of those, for a key that another library asks for."""
    key = world.key("line\nend")
    world.server.put(key, NEW_PAGE)
    damaged = b"T" + NEW_PAGE[1:]
    world.server.on(is_get(key), _with_headers(good(damaged), _checksums(damaged)))


def _changing(world: MirroredPrefix) -> None:
    """Answer every GET with another version than the one that was listed."""

    def reply(_request: Request) -> Reply:
        data = b"version %d of something" % len(world.server.requests)
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        return Reply(body=data, headers={"etag": etag, "last-modified": HTTP_WHEN})

    world.server.on(is_get(world.key(PAGE)), reply)


def _unlisted(world: MirroredPrefix) -> None:
    """Keep an object, and leave it out of the listing."""
    world.server.put(world.key(EXTRA), b"extra")

    def reply(request: Request) -> Reply:
        page = world.server.page(request)
        rows = tuple(row for row in page.rows if row.key != world.key(EXTRA))
        return replace(page, rows=rows, key_count=len(rows)).reply()

    world.server.on(is_list, reply)


def _ghost(world: MirroredPrefix) -> None:
    """List an object that neither GET nor HEAD finds."""
    row = _row(world.key("zombie"))
    world.server.on(
        is_list, lambda request: _with_row(world.server.page(request), row).reply()
    )


def _after(count: int, reply: Reply) -> Arrange:
    """Let some requests for objects pass, then answer like this for ever."""

    def arrange(world: MirroredPrefix) -> None:
        passed: list[str] = []

        def later(request: Request) -> Reply | None:
            passed.append(request.key)
            return reply if len(passed) > count else None

        world.server.on(lambda request: request.key.startswith(world.prefix), later)

    return arrange


def _loop(world: MirroredPrefix) -> None:
    """Redirect to ourselves, for ever."""
    here = world.server.endpoint_url
    world.server.on(
        is_list, lambda request: Reply(307, headers={"location": here + request.path})
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
        lambda world: world.server.on(is_list, broken(world.server, name)),
        LISTING_STATUS[name],
        SAYS[name],
    )


_XXE = (
    f'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><ListBucketResult xmlns="{NAMESPACE}">'
    "<Key>&f;</Key></ListBucketResult>"
).encode()
LISTINGS = (
    *map(_broken, BROKEN),
    Case("IsTruncated 1", _edited("<IsTruncated>false", "<IsTruncated>1"), REFUSED, "IsTruncated"),
    Case("IsTruncated empty", _edited("<IsTruncated>false", "<IsTruncated>"), REFUSED, "IsTruncated"),
    Case("IsTruncated False", _edited("<IsTruncated>false", "<IsTruncated>False"), REFUSED, "IsTruncated"),
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
    Case("KeyCount no number", _edited("<KeyCount>3", "<KeyCount>many"), REFUSED, "counts many"),
    Case("page 2 is HTML", page_two(Reply(body=b"<html><body>Sign in</body></html>")), UNAVAILABLE, "not a listing"),
    Case("page 2 is empty", page_two(Reply()), UNAVAILABLE, "not a listing"),
    Case("page 2 is 204", page_two(Reply(204)), UNAVAILABLE, "204"),
    Case("page 2 is page 1 again", page_two(None), REFUSED, "listed twice"),
    Case(
        "page 2 is cut off",
        page_two(replace(Reply(body=b"<ListBucketResult>"), close_early=9)),
        UNAVAILABLE,
        "not well-formed",
    ),
    Case("page 2: token expired", page_two(error(400, "ExpiredToken")), DENIED, "ExpiredToken"),
    Case("a sibling's keys", _sibling, REFUSED, "outside"),
    Case(
        "keys folded into prefixes",
        _edited("</ListB", "<CommonPrefixes><Prefix>data/dir/</Prefix></CommonPrefixes></ListB"),
        REFUSED,
        "4 entries but counts 3",
    ),
    Case("other root", _edited("ListBucketResult", "ListBucket"), UNAVAILABLE, "not a listing"),
    Case("lower-case root", _edited("ListBucketResult", "listbucketresult"), UNAVAILABLE, "not a listing"),
    Case("JSON", answer(is_list, Reply(body=b'{"Contents": []}')), UNAVAILABLE, "not well-formed"),
    Case("no HTTP", answer(is_list, Reply(raw=[b"SSH-2.0-OpenSSH_9.2\r\n"])), UNAVAILABLE, "valid response"),
    Case("junk for gzip", answer(is_list, _packed_reply(b"\x1f\x8b junk")), UNAVAILABLE, "not well-formed"),
    Case("gzip of nothing", answer(is_list, _packed_reply(gzip.compress(b""))), UNAVAILABLE, "not well-formed"),
    Case("external entity", answer(is_list, Reply(body=_XXE)), UNAVAILABLE, "document type"),
    Case("wrong checksums of a listing", _list_with_wrong_checksums, 0, deletes=True),
    Case("206", answer(is_list, Reply(206, b"<ListBucketResult/>")), UNAVAILABLE, "206"),
    Case("Size too large for any file", _edited("<Size>5", "<Size>99999999999999999999"), REFUSED, "size"),
    Case("a plus that is not encoded", _without_plus, PARTIAL, "NoSuchKey", for_any_tool=False),
    Case("a key that is no UTF-8", _bad_bytes, PARTIAL, "not valid UTF-8"),
    Case("redirect to itself", _loop, UNAVAILABLE, "307"),
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
        _with_headers(good(b"T" + NEW_PAGE[1:]), _checksums(b"T" + NEW_PAGE[1:])),
        says="MD5",
    ),
    _body(
        "a flipped byte, and the checksums of the whole",
        _with_headers(good(b"T" + NEW_PAGE[1:]), _checksums(NEW_PAGE)),
        says="MD5",
    ),
    Case("wrong checksums of the right bytes", of_page(_with_headers(good(), _WRONG_CHECKSUMS)), 0, "", "body", True),
    Case("an odd key with lying checksums", _odd_key_with_lying_checksums, PARTIAL, "MD5", "names"),
    _body("all zeros", good(bytes(len(NEW_PAGE))), says="MD5"),
    _body("the old version", good(OLD_PAGE), says="MD5"),
    _body("wrong ETag", good(etag='"0cc175b9c0f1b6a831c399e269772661"'), says="version"),
    Case("changing ETag", _changing, PARTIAL, "version", "body", for_any_tool=False),
    _body(
        "206 to a plain GET",
        replace(good(NEW_PAGE[:100], content_range="bytes 0-99/1700"), status=206),
        says="got 100 bytes",
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
    _body("object redirected", Reply(307, headers={"location": DEAD}), UNAVAILABLE, says="error sending request"),
    Case("archived", of_page(error(403, "InvalidObjectState")), PARTIAL, "restore", "body", deletes=True),
    _body("Content-Length too small", replace(good(content_length="1695"), length=False), says="got 1695 bytes"),
    _body("Content-Length too large", replace(good(content_length="1705"), length=False), says="got 1705 bytes"),
    _body("no length, cut", replace(good(NEW_PAGE[:500]), length=False), UNAVAILABLE, says="Content-Length"),
    _body("chunked, one byte short", replace(good(NEW_PAGE[:-1]), chunked=True), UNAVAILABLE, says="Content-Length"),
    _body("connection cut", replace(good(), close_early=700), UNAVAILABLE, says="partial response"),
    _body("connection cut at once", replace(good(), close_early=0), UNAVAILABLE, says="partial response"),
    _body("object: no HTTP", Reply(raw=[b"220 ftp ready\r\n"]), UNAVAILABLE, says="error sending request"),
    _body("packed on the way", good(gzip.compress(NEW_PAGE), content_encoding="gzip"), says="bytes, expected 1700"),
    Case("token expires in the middle", _after(1, error(400, "ExpiredToken")), DENIED, "ExpiredToken", "access"),
    Case("access denied in the middle", _after(1, error(403, "AccessDenied")), DENIED, "AccessDenied", "access"),
)  # fmt: skip

HEADS = (
    Case("not listed, and there", _unlisted, REFUSED, "exists", "head"),
    Case("listed, and nowhere", _ghost, PARTIAL, "NoSuchKey", "head"),
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
"""Keys that a file cannot have, must not have, or that mean another place to a careless client."""


KEY_SAYS = {
    **dict.fromkeys(("a//b", "/tmp/s32s-agent-escaped"), "an empty part"),
    **dict.fromkeys(("x" * 256, "é" * 128), "256 bytes is more than"),
    **dict.fromkeys((".s32s/trash/x", ".s32s-tmp.0"), "the agent's own names"),
    **dict.fromkeys(("page.html/below", "dir"), "is a file, so nothing can be inside it"),
    "nul\0l": "NUL",
}
"""Why there is no such file; for all others, that `..` is no name of one."""


def _hostile_key(key: str) -> Case:
    def arrange(world: MirroredPrefix) -> None:
        world.server.put(world.key(key), b"evil")

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


def _range_ignored(world: MirroredPrefix) -> None:
    """Answer every GET of a large object with the whole of it, and with status 200."""
    # No two blocks are alike: bytes in a wrong place are wrong bytes.
    data = b"".join(b"%016d" % number for number in range(LARGE_BYTES // 16))
    stored = world.server.put(world.key(LARGE), data)
    headers = {"etag": stored.etag, "last-modified": HTTP_WHEN}
    world.server.on(is_get(world.key(LARGE)), Reply(body=data, headers=headers))


RANGES = (Case("Range ignored", _range_ignored, 0, kind="ranges", deletes=True),)

NAMES = tuple(map(_hostile_key, HOSTILE_KEYS))
CASES = (*LISTINGS, *BODIES, *HEADS, *NAMES, *RANGES)
