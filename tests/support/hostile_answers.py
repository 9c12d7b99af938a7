"""What hostile or broken servers answer: each function arranges one kind of misbehaviour."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from support.s3_messages import (
    HTTP_WHEN,
    Match,
    Page,
    Replier,
    Reply,
    Request,
    Row,
    is_get,
    is_head,
    is_list,
)
from support.scripted import ScriptedS3

OLD_PAGE = b"the old version, " * 100
NEW_PAGE = b"the new version! " * 100
PAGE, OTHER, EXTRA, NEW = "page.html", "other.txt", "dir/extra.txt", "dir/new.txt"
BEFORE = {PAGE: OLD_PAGE, OTHER: b"other", EXTRA: b"extra"}
AFTER = {PAGE: NEW_PAGE, OTHER: b"other", NEW: b"new"}

DEAD = "http://127.0.0.1:9/"
"""No program listens on the discard port."""


@dataclass(frozen=True, slots=True)
class MirroredPrefix:
    """A server, and the prefix of it that is mirrored."""

    server: ScriptedS3
    prefix: str = "data/"
    """Ends in a slash."""

    def key(self, name: str) -> str:
        return self.prefix + name

    def prepare(self) -> None:
        """Publish the files that are mirrored first."""
        self.publish(BEFORE)

    def change(self) -> None:
        """Publish the files that the bucket holds when the server misbehaves, and afterwards."""
        self.publish(AFTER)

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Replace the content of the prefix by these files, and remove every rule."""
        self.server.forget_rules()
        for key in self.published():
            del self.server.objects[self.key(key)]
        for key, data in files.items():
            self.server.put(self.key(key), data)

    def published(self) -> dict[str, bytes]:
        """Return the content of the prefix, by key below it."""
        start = self.prefix
        objects = self.server.objects.items()
        return {
            key.removeprefix(start): each.data
            for key, each in objects
            if key.startswith(start)
        }


Arrange = Callable[[MirroredPrefix], None]


# --- misbehaviour ---


def answer(match: Match, reply: Reply | Replier) -> Arrange:
    return lambda mirrored: mirrored.server.on(match, reply)


def of_page(reply: Reply | Replier) -> Arrange:
    """Answer GET of the page with this."""
    return lambda mirrored: mirrored.server.on(is_get(mirrored.key(PAGE)), reply)


def of_head(reply: Reply) -> Arrange:
    """Answer HEAD of the deleted object with this."""
    return lambda mirrored: mirrored.server.on(is_head(mirrored.key(EXTRA)), reply)


def page_changed(change: Callable[[Page], Page]) -> Arrange:
    """Change every page of a listing."""
    return lambda mirrored: mirrored.server.on(
        is_list, lambda request: change(mirrored.server.page(request)).reply()
    )


def page_two(reply: Reply | None) -> Arrange:
    """Answer correctly with one key and a token, then with this; None repeats the first page."""

    def arrange(mirrored: MirroredPrefix) -> None:
        server = mirrored.server
        server.page_size = 1

        def second(request: Request) -> Reply | None:
            if "continuation-token" not in request.query:
                return None
            first = replace(request, query={"list-type": "2", "prefix": mirrored.prefix})
            return reply or replace(server.page(first), token="other").reply()

        server.on(is_list, second)

    return arrange


def with_row(page: Page, *rows: Row) -> Page:
    """Add rows; a key of them is as the server would write it before it is escaped."""
    all_rows = (*page.rows, *rows)
    return replace(page, rows=all_rows, key_count=len(all_rows))


def row_of(key: str, data: bytes = b"evil") -> Row:
    return Row(key, str(len(data)), f'"{hashlib.md5(data).hexdigest()}"')


def edited(old: str, new: str) -> Arrange:
    """Edit the XML of every page."""

    def reply(server: ScriptedS3, request: Request) -> Reply:
        whole = server.page(request).reply()
        return replace(whole, body=whole.body.replace(old.encode(), new.encode()))

    return lambda mirrored: mirrored.server.on(
        is_list, lambda request: reply(mirrored.server, request)
    )


def packed_reply(body: bytes) -> Reply:
    return Reply(body=body, headers={"content-encoding": "gzip"})


def sibling(mirrored: MirroredPrefix) -> None:
    """List a key of the prefix whose name only begins alike."""
    row = row_of(f"{mirrored.prefix.rstrip('/')}0/x")
    mirrored.server.on(
        is_list, lambda request: with_row(mirrored.server.page(request), row).reply()
    )


def without_plus(mirrored: MirroredPrefix) -> None:
    """Encode keys, and leave a plus as it is: `a+b` reads as `a b`."""
    mirrored.server.put(mirrored.key("a+b"), b"plus")

    def reply(request: Request) -> Reply:
        whole = mirrored.server.page(request).reply()
        return replace(whole, body=whole.body.replace(b"%2B", b"+"))

    mirrored.server.on(is_list, reply)


def bad_bytes(mirrored: MirroredPrefix) -> None:
    """List a key that is no UTF-8."""

    def reply(request: Request) -> Reply:
        page = with_row(mirrored.server.page(request), row_of(mirrored.key("zz_bad")))
        whole = page.reply()
        return replace(whole, body=whole.body.replace(b"zz_bad", b"zz%FFbad"))

    mirrored.server.on(is_list, reply)


def good(data: bytes = NEW_PAGE, **headers: str) -> Reply:
    """Return the right answer to GET of the page, or one that only looks like it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    etag = f'"{hashlib.md5(NEW_PAGE).hexdigest()}"'
    return Reply(body=data, headers={"etag": etag, "last-modified": HTTP_WHEN, **named})


def checksums(data: bytes) -> dict[str, str]:
    """Return the checksum headers of S3 for bytes, in the algorithms that the standard library has."""
    digests = {
        "crc32": zlib.crc32(data).to_bytes(4, "big"),
        "sha1": hashlib.sha1(data, usedforsecurity=False).digest(),
        "sha256": hashlib.sha256(data).digest(),
    }
    named = {f"x-amz-checksum-{name}": each for name, each in digests.items()}
    return {name: base64.b64encode(each).decode() for name, each in named.items()}


WRONG_CHECKSUMS = {
    **checksums(b"something else"),
    "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=",
}


def with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return replace(reply, headers={**reply.headers, **headers})


def list_with_wrong_checksums(mirrored: MirroredPrefix) -> None:
    mirrored.server.on(
        is_list,
        lambda request: with_headers(mirrored.server.page(request).reply(), WRONG_CHECKSUMS),
    )


def odd_key_with_lying_checksums(mirrored: MirroredPrefix) -> None:
    """Serve damaged bytes, and checksums of those, for a key that another library asks for."""
    key = mirrored.key("line\nend")
    mirrored.server.put(key, NEW_PAGE)
    damaged = b"T" + NEW_PAGE[1:]
    mirrored.server.on(is_get(key), with_headers(good(damaged), checksums(damaged)))


def changing(mirrored: MirroredPrefix) -> None:
    """Answer every GET with another version than the one that was listed."""

    def reply(_request: Request) -> Reply:
        data = b"version %d of something" % len(mirrored.server.requests)
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        return Reply(body=data, headers={"etag": etag, "last-modified": HTTP_WHEN})

    mirrored.server.on(is_get(mirrored.key(PAGE)), reply)


def unlisted(mirrored: MirroredPrefix) -> None:
    """Keep an object, and leave it out of the listing."""
    mirrored.server.put(mirrored.key(EXTRA), b"extra")

    def reply(request: Request) -> Reply:
        page = mirrored.server.page(request)
        rows = tuple(row for row in page.rows if row.key != mirrored.key(EXTRA))
        return replace(page, rows=rows, key_count=len(rows)).reply()

    mirrored.server.on(is_list, reply)


def ghost(mirrored: MirroredPrefix) -> None:
    """List an object that neither GET nor HEAD finds."""
    row = row_of(mirrored.key("zombie"))
    mirrored.server.on(
        is_list, lambda request: with_row(mirrored.server.page(request), row).reply()
    )


def after(count: int, reply: Reply) -> Arrange:
    """Answer some requests for objects correctly, and all later ones with this."""

    def arrange(mirrored: MirroredPrefix) -> None:
        passed: list[str] = []

        def later(request: Request) -> Reply | None:
            passed.append(request.key)
            return reply if len(passed) > count else None

        mirrored.server.on(lambda request: request.key.startswith(mirrored.prefix), later)

    return arrange


def loop(mirrored: MirroredPrefix) -> None:
    """Redirect to ourselves, for ever."""
    here = mirrored.server.endpoint_url
    mirrored.server.on(
        is_list, lambda request: Reply(307, headers={"location": here + request.path})
    )
