"""Listings that no correct server sends, each by name.

Each is used as `server.on(is_list, broken(server, "html"))`. Nothing here changes the objects, so a GET still works.

    for name in BROKEN: ...           a listing that must be refused
    for name in HONEST: ...           unusual listings that are correct
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from support.s3_messages import Page, Replier, Reply, Request, Row, error, token_after
from support.scripted import ScriptedS3

Builder = Callable[[ScriptedS3, Request], Reply]

HTML = (
    b"<html><head><title>Sign in</title></head><body><p>Welcome to the hotel</p></body></html>"
)
ELSEWHERE = "http://127.0.0.1:9/"
"""Where the redirect leads: no program listens on the discard port."""
TOKEN = "again"


def broken(server: ScriptedS3, name: str) -> Replier:
    """Return the reply function of that name for this server."""
    builder = {**BROKEN, **HONEST}[name]
    return lambda request: builder(server, request)


def _changed(change: Callable[[Page], Page]) -> Builder:
    """Return a builder that changes the correct page."""
    return lambda server, request: change(server.page(request)).reply()


def _fixed(reply: Reply) -> Builder:
    return lambda _server, _request: reply


def _with_rows(page: Page, rows: tuple[Row, ...]) -> Page:
    return replace(page, rows=rows, key_count=len(rows))


def _first_row(page: Page, is_truncated: str | None, token: str | None) -> Page:
    """Keep one row and let the rest of the listing depend on these two."""
    page = _with_rows(page, page.rows[:1])
    return replace(page, is_truncated=is_truncated, token=token)


def _with_first(page: Page, change: Callable[[Row], Row]) -> Page:
    return replace(page, rows=(*(change(row) for row in page.rows[:1]), *page.rows[1:]))


def _raw(page: Page, character: str) -> Page:
    """Write a character that XML cannot carry, as a server does that knows no encoding-type."""
    strange = Row(
        f"{page.prefix}s{character}trange", "1", '"0cc175b9c0f1b6a831c399e269772661"'
    )
    return replace(_with_rows(page, (*page.rows, strange)), encoded=False)


def _page_two_fails(server: ScriptedS3, request: Request) -> Reply:
    if "continuation-token" in request.query:
        return error(500, "InternalError")
    return _first_row(server.page(request), is_truncated="true", token=TOKEN).reply()


def _cut_short(server: ScriptedS3, request: Request) -> Reply:
    whole = server.page(request).reply()
    return replace(whole, body=whole.body[: len(whole.body) // 2], length=False)


def _same_token_for_ever(server: ScriptedS3, request: Request) -> Reply:
    return _endless(server, request, TOKEN)


def _token_cycle(server: ScriptedS3, request: Request) -> Reply:
    return _endless(
        server, request, "b" if request.query.get("continuation-token") == "a" else "a"
    )


def _endless(server: ScriptedS3, request: Request, token: str) -> Reply:
    """Return the first row once, then empty pages: those are allowed, so only the token shows the loop."""
    first = replace(
        request, query={k: v for k, v in request.query.items() if "token" not in k}
    )
    page = _first_row(server.page(first), is_truncated="true", token=token)
    follows = "continuation-token" in request.query
    return (_with_rows(page, ()) if follows else page).reply()


def _shouted(page: Page) -> Page:
    """Write the flag in capitals, which no schema allows; a client that follows the token misses nothing."""
    if len(page.rows) < 2:
        return page
    return _first_row(page, is_truncated="TRUE", token=token_after(page.rows[0].key or ""))


def _outside(page: Page) -> Page:
    return _with_rows(
        page, (*page.rows, Row("z/evil", "4", '"4034a346ccee15292d823416f7510a2f"'))
    )


def _entities(page: Page) -> Page:
    """Declare entities and use them in a key: an expansion ten times ten times."""
    declared = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    row = Row(f"{page.prefix}&b;&b;", "1", '"0cc175b9c0f1b6a831c399e269772661"')
    return replace(_with_rows(page, (row,)), doctype=declared, encoded=False)


BROKEN: dict[str, Builder] = {
    "empty body": _fixed(Reply()),
    "html": _fixed(Reply(body=HTML, headers={"content-type": "text/html"})),
    "204": _fixed(Reply(204)),
    "truncated without token": _changed(
        lambda page: _first_row(page, is_truncated="true", token=None)
    ),
    "IsTruncated absent": _changed(
        lambda page: _first_row(page, is_truncated=None, token=None)
    ),
    "IsTruncated TRUE": _changed(_shouted),
    "500 on page 2": _page_two_fails,
    "cut short": _cut_short,
    "200 with an error": _fixed(replace(error(500, "InternalError"), status=200)),
    "keys outside the prefix": _changed(_outside),
    "NoSuchBucket": _fixed(error(404, "NoSuchBucket")),
    "AccessDenied": _fixed(error(403, "AccessDenied")),
    "raw ESC": _changed(lambda page: _raw(page, "\x1b")),
    "raw NUL": _changed(lambda page: _raw(page, "\0")),
    "wrong KeyCount": _changed(lambda page: replace(page, key_count=page.key_count + 1)),
    "wrong Name": _changed(lambda page: replace(page, name="another-bucket")),
    "wrong Prefix": _changed(lambda page: replace(page, prefix="another/")),
    "duplicate keys": _changed(lambda page: _with_rows(page, (*page.rows, *page.rows[-1:]))),
    "repeated token": _same_token_for_ever,
    "token cycle": _token_cycle,
    "negative Size": _changed(
        lambda page: _with_first(page, lambda row: replace(row, size="-" + row.size))
    ),
    "text Size": _changed(
        lambda page: _with_first(page, lambda row: replace(row, size="big"))
    ),
    "missing Key": _changed(
        lambda page: _with_first(page, lambda row: replace(row, key=None))
    ),
    "entities": _changed(_entities),
    "redirect": _fixed(Reply(307, headers={"location": ELSEWHERE})),
}
"""By name. The objects must number three or more, none of them under `z/`, and the prefix must not be empty."""

HONEST: dict[str, Builder] = {
    "really empty": _changed(
        lambda page: _first_row(_with_rows(page, ()), is_truncated="false", token=None)
    ),
    "disorder": _changed(lambda page: replace(page, rows=page.rows[::-1])),
}
"""Not broken: a bucket may be empty, and there are stores that list without order."""
