"""Every rule of a complete listing, each with what goes wrong without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Kind, Problem
from s32s_agent.stores.s3.listing import Listing, NotAListing, Page, decoded_keys, parse_page

ETAG = "0cc175b9c0f1b6a831c399e269772661"
WHEN = "2026-01-02T03:04:05.000Z"


@dataclass(frozen=True)
class Written:
    """A page, to be written as XML; None leaves a field out."""

    keys: tuple[str, ...] = ("p/a", "p/b")
    name: str | None = "bucket"
    prefix: str | None = "p/"
    truncated: str | None = "false"
    token: str | None = None
    count: str | None = ""
    """"" is the right one."""
    encoding: str | None = None
    size: str = "1"
    etag: str | None = f'"{ETAG}"'
    folded: int = 0
    more: str = ""

    def xml(self) -> bytes:
        counted = str(len(self.keys) + self.folded)
        fields = {
            "Name": self.name,
            "Prefix": self.prefix,
            "KeyCount": counted if self.count == "" else self.count,
            "IsTruncated": self.truncated,
            "NextContinuationToken": self.token,
            "EncodingType": self.encoding,
        }
        text = "".join(
            f"<{name}>{escape(value)}</{name}>"
            for name, value in fields.items()
            if value is not None
        )
        text += "".join(self._row(key) for key in self.keys)
        text += "<CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes>" * self.folded
        return f"<ListBucketResult>{text}{self.more}</ListBucketResult>".encode()

    def _row(self, key: str) -> str:
        etag = "" if self.etag is None else f"<ETag>{escape(self.etag)}</ETag>"
        rest = f"<LastModified>{WHEN}</LastModified><Owner><ID>me</ID></Owner>"
        return f"<Contents><Key>{escape(key)}</Key>{rest}{etag}<Size>{self.size}</Size></Contents>"

    def page(self) -> Page:
        return parse_page(self.xml())


GOOD = Written()


def listing(bucket: str = "bucket", prefix: str = "p/", *, ordered: bool = True) -> Listing:
    return Listing(bucket, prefix, strictly_ordered=ordered)


def read(*pages: Written, by: Listing | None = None) -> list[Entry | Problem]:
    """Read pages as a store does, and end where the last one says so."""
    reader = by or listing()
    found: list[Entry | Problem] = []
    for page in pages:
        parsed = page.page()
        found += reader.take(parsed, decoded_keys(parsed))
        token = reader.next_token(parsed)
        assert (token is None) == (page is pages[-1])
    return found


def keys(found: list[Entry | Problem]) -> list[str]:
    return [each.key for each in found]


def refused(*pages: Written, by: Listing | None = None) -> str:
    """Return the reason for which a listing is not believed."""
    with pytest.raises(ListingInconsistent) as caught:
        read(*pages, by=by)
    return str(caught.value)


# --- what is right ---


def test_a_sound_page() -> None:
    """A page yields its entries below the prefix, with size and normal ETag."""

    assert read(GOOD) == [Entry("a", 1, ETAG), Entry("b", 1, ETAG)]


def test_several_pages_are_one_listing() -> None:
    """Pages follow each other by their tokens, and an empty page is not the end."""
    pages = (
        replace(GOOD, truncated="true", token="1"),
        replace(GOOD, keys=(), truncated="true", token="2"),
        replace(GOOD, keys=("p/c",)),
    )

    assert keys(read(*pages)) == ["a", "b", "c"]


def test_a_really_empty_bucket() -> None:
    """An empty listing that says so in every field is a listing; what it means is judged elsewhere."""

    assert read(replace(GOOD, keys=())) == []


def test_a_whole_bucket() -> None:
    """Without a prefix the keys are the entries, and the page may leave the field out."""
    page = replace(GOOD, keys=("a", "b/c"), prefix=None)

    assert keys(read(page, by=listing(prefix=""))) == ["a", "b/c"]


def test_directory_markers() -> None:
    """An empty object whose key ends in a slash is a directory; the prefix itself is no entry."""
    page = replace(GOOD, keys=("p/", "p/d/"), size="0")

    assert read(page) == [Entry("d/", kind=Kind.DIRECTORY)]


@pytest.mark.parametrize(("key", "relative"), [("p/d/", "d/"), ("p/", "")])
def test_bytes_in_a_directory_marker_are_never_lost_silently(key: str, relative: str) -> None:
    """A key that ends in a slash and has content cannot be mirrored, and is reported."""
    reason = "a key that ends in a slash is a directory, but this object has content"

    assert read(replace(GOOD, keys=(key,), size="5")) == [Problem(relative, reason)]


@pytest.mark.parametrize(
    ("written", "etag", "raw"),
    [
        (f'"{ETAG}"', ETAG, ""),
        (ETAG, ETAG, ETAG),
        (f'W/"{ETAG}"', ETAG, f'W/"{ETAG}"'),
        (f'"{ETAG.upper()}-2"', f"{ETAG}-2", f'"{ETAG.upper()}-2"'),
        (None, f"modified {WHEN}", ""),
        ('""', f"modified {WHEN}", ""),
    ],
)
def test_etags(written: str | None, etag: str, raw: str) -> None:
    """ETags are compared in normal form and sent back as they came; without one the time tells versions apart."""

    assert read(replace(GOOD, keys=("p/a",), etag=written)) == [
        Entry("a", 1, etag, raw_etag=raw)
    ]


# --- what wiped the directories of others ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><head><title>Sign in</title></head></html>",
        b"<html><p>not closed</html>",
        b"<Error><Code>InternalError</Code></Error>",
        b"<ListAllMyBucketsResult/>",
        b"<x><ListBucketResult/></x>",
        b'{"objects": []}',
    ],
)
def test_a_hotel_s_login_page_does_not_empty_the_disk(body: bytes) -> None:
    """An answer that is no listing means an unreachable store, and never an empty bucket."""
    with pytest.raises(NotAListing) as caught:
        parse_page(body)

    assert isinstance(caught.value, StoreUnavailable)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_answer_does_not_delete_what_it_does_not_reach(share: float) -> None:
    """A page that was truncated anywhere is no listing."""
    body = GOOD.xml()

    with pytest.raises(NotAListing, match="not well-formed"):
        parse_page(body[: int(len(body) * share)])


@pytest.mark.parametrize("encoding", ["nonsense", "gbk", "utf-7"])
def test_an_encoding_that_expat_does_not_know_is_no_listing(encoding: str) -> None:
    """Whatever the XML declares, only errors of the agent are raised."""
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode()

    with pytest.raises(NotAListing):
        parse_page(declared + GOOD.xml() + b"<")


def test_a_listing_of_another_bucket_deletes_nothing() -> None:
    """The page must name the requested bucket."""

    assert refused(replace(GOOD, name="other")) == (
        "the listing is of bucket 'other', not 'bucket'"
    )
    assert refused(replace(GOOD, name=None)) == "the listing is of bucket None, not 'bucket'"


def test_an_access_point_may_name_its_bucket() -> None:
    """Pages do not repeat an ARN."""
    reader = listing("arn:aws:s3:eu-west-1:123456789012:accesspoint/x")

    assert keys(read(GOOD, by=reader)) == ["a", "b"]


@pytest.mark.parametrize("prefix", ["p", "q/", "p/a/", "", None])
def test_a_listing_of_another_prefix_deletes_nothing(prefix: str | None) -> None:
    """The page must name the requested prefix, with its slash."""
    page = replace(GOOD, keys=(), prefix=prefix)

    assert refused(page) == f"the listing is of prefix {prefix or ''!r}, not 'p/'"


@pytest.mark.parametrize("asked", ["a b/", "a+b/", "a%20b/", "é/", "a%2Bb/"])
@pytest.mark.parametrize("spell", [quote, quote_plus, str])
def test_a_prefix_may_come_back_encoded_or_not(asked: str, spell: object) -> None:
    """Stores differ in whether they encode the prefix; both spellings name it."""
    assert callable(spell)
    page = replace(GOOD, keys=(), prefix=spell(asked), encoding="url")

    assert read(page, by=listing(prefix=asked)) == []


@pytest.mark.parametrize("truncated", [None, "", "TRUE", "True", "1", "yes", "flase"])
def test_a_page_that_does_not_say_whether_it_is_the_last_deletes_nothing(
    truncated: str | None,
) -> None:
    """`IsTruncated` is literally `true` or `false`."""
    reason = refused(replace(GOOD, truncated=truncated))

    assert reason == (
        f"the listing does not say whether it is complete: IsTruncated is {truncated!r}"
    )


@pytest.mark.parametrize("token", [None, ""])
def test_a_truncated_listing_without_a_token_deletes_nothing(token: str | None) -> None:
    """A truncated listing must have a token for its next page."""
    reason = refused(replace(GOOD, truncated="true", token=token))

    assert reason == "the listing is truncated, but has no continuation token"


def test_a_complete_listing_with_a_token_deletes_nothing() -> None:
    """A token means that there is more, whatever `IsTruncated` says."""
    reason = refused(replace(GOOD, token="1"))

    assert reason == "the listing says that it is complete, but has a continuation token"


@pytest.mark.parametrize("tokens", ["11", "121", "1231"])
def test_a_circle_of_tokens_does_not_run_for_ever(tokens: str) -> None:
    """No token may come twice, in a circle of any length."""
    pages = (replace(GOOD, keys=(), truncated="true", token=token) for token in tokens)

    assert refused(*pages, GOOD) == "the listing repeats a token, so it would never end"


def test_endless_empty_pages_do_not_run_for_ever() -> None:
    """A thousand empty pages in a row are the limit; an entry in between restarts the count."""
    empty = replace(GOOD, keys=(), truncated="true")
    numbered = [replace(empty, token=str(number)) for number in range(2002)]
    filled = replace(numbered[1000], keys=("p/a",))
    broken = [*numbered[:1000], filled, *numbered[1001:]]

    assert refused(*broken, GOOD) == "the listing has more than 1000 empty pages in a row"
    assert keys(read(*broken[:2001], replace(GOOD, keys=("p/b",)))) == ["a", "b"]


@pytest.mark.parametrize(
    ("count", "folded"), [("1", 0), ("3", 0), ("0", 0), ("x", 0), ("", 1)]
)
def test_a_page_with_a_hole_deletes_nothing(count: str, folded: int) -> None:
    """`KeyCount` is the number of entries, and no keys may be folded into prefixes unless requested."""
    reason = refused(replace(GOOD, count=count, folded=folded))

    expected = f"the listing has 2 entries but counts {count}"
    assert reason == (
        "the listing has common prefixes, which were not requested" if folded else expected
    )


def test_a_store_without_key_count() -> None:
    """Without a count there is nothing to compare."""

    assert keys(read(replace(GOOD, count=None))) == ["a", "b"]


def test_uploads_in_progress_in_a_directory_bucket() -> None:
    """Directory buckets list the prefixes of uploads that are in progress."""
    page = replace(GOOD, name="b--x-s3", folded=1)

    assert keys(read(page, by=listing("b--x-s3"))) == ["a", "b"]


@pytest.mark.parametrize("key", ["z/evil", "pa", "p", "../p/x", "P/a"])
def test_a_key_outside_the_prefix_is_not_written(key: str) -> None:
    """Every key begins with the prefix, or the server did not understand the request."""
    reason = refused(replace(GOOD, keys=("p/a", key)), by=listing(ordered=False))

    assert reason == f'"{key}" was listed, which is outside the prefix'


@pytest.mark.parametrize("names", ["ba", "aa", "acb"])
def test_disorder_of_a_store_that_orders_deletes_nothing(names: str) -> None:
    """Where order is promised, disorder and repetition mean that entries may be missing."""
    page = replace(GOOD, keys=tuple(f"p/{name}" for name in names))

    assert "was listed after" in refused(page)
    assert keys(read(page, by=listing(ordered=False))) == list(names)


def test_disorder_over_pages_deletes_nothing() -> None:
    """The order continues from page to page, and a page that comes twice breaks it."""
    first = replace(GOOD, truncated="true", token="1")

    assert refused(first, GOOD) == '"p/a" was listed after "p/b"'


def test_order_is_that_of_code_points() -> None:
    """UTF-8 order is right: U+E000 before U+10000, as UTF-16 servers get wrong."""
    right = replace(GOOD, keys=("p/\ue000", "p/\U00010000"))

    assert keys(read(right)) == ["\ue000", "\U00010000"]
    assert "was listed after" in refused(replace(GOOD, keys=right.keys[::-1]))


@pytest.mark.parametrize(
    "size", ["-1", "big", "", "1.5", " 1", "1e3", "٣", "9" * 19, "9" * 5000]
)
def test_a_size_that_is_none_copies_nothing(size: str) -> None:
    """A size is a number that a file can have."""
    reason = refused(replace(GOOD, keys=("p/a",), size=size))

    assert reason.startswith('"p/a" was listed with the size ')


@pytest.mark.parametrize(
    "row",
    ["<Key></Key><Size>1</Size>", "<Size>1</Size>", "<Key>p/c</Key>", ""],
)
def test_an_entry_without_name_or_size_deletes_nothing(row: str) -> None:
    """An entry that lacks what every entry has may be the one that is missing."""
    page = replace(GOOD, count="3", more=f"<Contents>{row}</Contents>")

    assert refused(page) == "the listing has an entry without key or size"


@pytest.mark.parametrize("field", ["IsTruncated", "Name", "NextContinuationToken"])
def test_a_field_that_comes_twice_deletes_nothing(field: str) -> None:
    """Two values of one field mean that neither can be believed."""
    page = replace(GOOD, token="x", truncated="true", more=f"<{field}>false</{field}>")

    assert refused(page) == f"the listing has <{field}> twice"


# --- how keys are written ---

STRANGE = ("p/ ", "p/%20", "p/+", "p/\x01\x1b\x7f", "p/\r\n", "p/a&<b", "p/é", "p/\U0001f600")


@pytest.mark.parametrize("spell", [quote, quote_plus])
def test_encoded_keys_come_back_exactly(spell: object) -> None:
    """Both ways of encoding preserve every key, control characters and line ends too."""
    assert callable(spell)
    page = replace(GOOD, keys=tuple(map(spell, STRANGE)), prefix=spell("p/"), encoding="url")

    assert keys(read(page, by=listing(ordered=False))) == [key[2:] for key in STRANGE]


def test_a_plus_beside_percent_20_is_a_plus() -> None:
    """A store that writes blanks as %20 leaves a plus as it is, and `a+b` does not become `a b`."""
    page = replace(GOOD, keys=("p/a%20b", "p/a+b"), encoding="url")

    assert keys(read(page)) == ["a b", "a+b"]


def test_a_directory_with_a_blank_does_not_lose_its_files() -> None:
    """SeaweedFS writes blanks as %20 in directories and as a plus in the last part: both are blanks."""
    encoded = ("p/My%20Files/a+b", "p/My%20Files/c%2Bd", "p/x+y")
    page = replace(GOOD, keys=encoded, encoding="url")

    assert keys(read(page)) == ["My Files/a b", "My Files/c+d", "x y"]
    assert keys(read(replace(page, keys=encoded[:1]))) == ["My Files/a b"]


def test_a_plus_alone_is_a_blank() -> None:
    """Without a %20 on the page, a plus is a blank, as at AWS."""
    page = replace(GOOD, keys=("p/a+b", "p/a%2Bb"), encoding="url")

    assert keys(read(page)) == ["a b", "a+b"]


def test_a_page_that_encodes_nothing_is_taken_literally() -> None:
    """Percent and plus are characters where the page names no encoding."""
    page = replace(GOOD, keys=("p/%2e%2e/x", "p/a+b"))

    assert keys(read(page)) == ["%2e%2e/x", "a+b"]


def test_bytes_that_are_no_text_show_as_mangled() -> None:
    """A key that is not UTF-8 gets U+FFFD, which the planner recognises."""
    page = replace(GOOD, keys=("p/a%FFb",), encoding="url")

    assert keys(read(page)) == ["a\ufffdb"]


def test_a_carriage_return_never_becomes_another_key() -> None:
    """XML turns CR into LF, so without encoding such a key puts everything in doubt."""
    page = replace(GOOD, keys=("p/a\rb",))

    assert read(page) == [
        Problem("a\nb", "the store does not encode line ends in keys", scope="")
    ]


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\x0b"])
def test_a_raw_control_character_does_not_hide_the_rest(character: str) -> None:
    """XML cannot carry them: the whole listing is refused."""
    with pytest.raises(NotAListing):
        replace(GOOD, keys=("p/a", f"p/{character}")).page()


# --- what it may cost ---


def test_entities_do_not_fill_the_memory() -> None:
    """A document type is refused where it begins, so that nothing can be expanded."""
    bomb = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>' + GOOD.xml()

    with pytest.raises(NotAListing, match="document type"):
        parse_page(bomb)


def test_no_external_entity_is_fetched() -> None:
    """An answer cannot make the agent read its files."""
    evil = b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + GOOD.xml()

    with pytest.raises(NotAListing, match="document type"):
        parse_page(evil)


def test_depth_is_bounded() -> None:
    """An answer that nests without end is refused early."""
    deep = replace(GOOD, more="<x>" * 100_000)

    with pytest.raises(NotAListing, match="nested too deeply"):
        parse_page(deep.xml())


def test_what_is_nested_where_no_entry_is_counts_for_nothing() -> None:
    """Only a field of the listing itself is one; others may hold anything."""
    inner = "<Contents><Key>p/c</Key><Size>1</Size></Contents><IsTruncated>true</IsTruncated>"
    page = replace(GOOD, more=f"<Extension>{inner}</Extension>")

    assert keys(read(page)) == ["a", "b"]


def test_a_byte_order_mark_and_a_namespace_change_nothing() -> None:
    """XML may be written in more than one way."""
    text = GOOD.xml().decode()
    spaced = text.replace(
        "<ListBucketResult>",
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    )

    assert parse_page(b"\xef\xbb\xbf" + spaced.encode()) == GOOD.page()
    assert parse_page(('<?xml version="1.0" encoding="UTF-16"?>' + text).encode("utf-16")) == (
        GOOD.page()
    )
